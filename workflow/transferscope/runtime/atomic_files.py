"""Atomic, durable file writes; errors of the disk are reported with the file and the fix.

A file is written under another name, synced to disk, renamed, and its folder is synced. So what a
later file says of an earlier one holds after a power cut, too.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from transferscope.errors import Problem, UserError

KEPT = "then repeat the command: finished work is kept."
FREE = f"Free some space, or point `results:` at a larger disk; {KEPT}"
ALLOW = f"Let this user write there, or point `results:` at another folder; {KEPT}"
RENAME = "Give another path to write to."
FAULTS = {
    errno.ENOSPC: ("the disk is full", FREE),
    errno.EDQUOT: ("the disk quota of this user is used up", FREE),
    errno.EFBIG: ("the file would be larger than this user may write (ulimit -f)", FREE),
    errno.EROFS: ("the file system is read-only", ALLOW),
    errno.EACCES: ("this user may not write there", ALLOW),
    errno.EPERM: ("this user may not write there", ALLOW),
    errno.ENAMETOOLONG: ("the name is longer than the file system allows", RENAME),
    errno.ELOOP: ("links lead in a circle", RENAME),
    errno.EISDIR: ("a folder is there, not a file", RENAME),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", RENAME),
    errno.EEXIST: ("a file is there, not a folder", RENAME),
    errno.EIO: ("the disk reports an error", f"Check the system log, repair the disk, {KEPT}"),
}
# Files that this process has written.
written: set[Path] = set()
NO_INODES = (
    "the disk has space, but no room for more files (inodes)",
    f"Remove files that are not needed, or point `results:` at another disk; {KEPT}",
)
# Suffix of files that are being written.
ENDING = ".new"
# What torch says where a file could not be written; it does not tell why.
TORCH = re.compile(r"inline_container\.cc.*unexpected pos|PytorchStreamWriter failed writing")
# Libraries written in Rust, such as zarrs, report system errors in this form.
RUST = re.compile(r"\(os error (\d+)\)")


def disk_problem(error: BaseException, path: Path | None = None) -> Problem | None:
    """Describe an error of the disk and its fix; return None for any other error.

    Parameters
    ----------
    error
        The error.
    path
        File that was being written; None: the one named by the error.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := RUST.search(str(error))):
        number = int(found[1])
    if isinstance(error, RuntimeError) and TORCH.search(str(error)):
        number = errno.ENOSPC
    if number not in FAULTS:
        return None
    where = path or getattr(error, "filename", None) or "a file"
    if number == errno.ENOSPC and _has_no_inodes(Path(str(where))):
        return Problem(str(where), *NO_INODES)
    return Problem(str(where), *FAULTS[number])


def _has_no_inodes(path: Path) -> bool:
    """Return whether a disk has room for bytes, but for no more files."""
    with suppress(OSError):
        found = os.statvfs(existing_folder(path))
        return found.f_files > 0 and found.f_favail == 0 and found.f_bavail > 0
    return False


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise errors of the disk as a `UserError` that names the file and the fix.

    Parameters
    ----------
    path
        File or folder that is written in the context.

    Raises
    ------
    UserError
        Instead of an error of the disk.
    """
    try:
        yield
    except Exception as error:  # that of a library written in Rust has no base but this
        if (problem := disk_problem(error, path)) is None:
            raise
        raise UserError(problem) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces a file on success, so that none is ever partial.

    On return, the file and its name are on disk. Temporary files left by killed processes are
    removed.

    Parameters
    ----------
    path
        File to write; its folder is created.

    Raises
    ------
    UserError
        On an error of the disk.
    """
    with writing(path):
        make_folder(path.parent)
        _remove_abandoned(path)
        with _locked_temporary(path) as temporary:
            try:
                yield temporary
                temporary.chmod(0o666 & ~_umask())
                move_into_place(temporary, path)
                written.add(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text file atomically, from one string or several parts."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)


def move_into_place(written: Path, path: Path) -> None:
    """Give a file its name, or take the place of the one that has it, once its content is on disk.

    Parameters
    ----------
    written
        The file, on the same file system.
    path
        Its name.
    """
    sync(written)
    written.replace(path)
    sync(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents where they are missing, and sync their names to disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def remove_durably(path: Path) -> None:
    """Remove a file, if it is there; it stays removed after a power cut."""
    if path.exists():
        path.unlink()
        sync(path.parent)


def _umask() -> int:
    """Return which rights new files of this process do not get."""
    # It can be read only by setting it; Linux also tells it.
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    found = os.umask(0o077)
    os.umask(found)
    return found


def sync(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems have no sync of folders.
        if not (path.is_dir() and error.errno in {errno.EINVAL, errno.ENOTSUP}):
            raise
    finally:
        os.close(handle)


@contextmanager
def _locked_temporary(path: Path) -> Iterator[Path]:
    """Create a temporary file with a lock that the system frees when the process ends."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=ENDING)
        try:
            # Without support for locks no file is ever considered abandoned, either.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Before the lock was held, another process may have removed the file as abandoned.
            if Path(name).exists():
                yield Path(name)
                return
        finally:
            os.close(handle)


def _remove_abandoned(path: Path) -> None:
    for found in path.parent.glob(f".{glob.escape(path.name)}.*{ENDING}"):
        # Another process may have removed it already, or may still be writing it.
        with suppress(OSError), found.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.unlink()


def existing_folder(folder: Path) -> Path:
    """Return a folder, or its nearest existing parent."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def require_writable(folder: Path) -> None:
    """Check that a file can be written in a folder, or in its nearest existing parent.

    Raises
    ------
    UserError
        If not.
    """
    existing = existing_folder(folder)
    with writing(existing), tempfile.NamedTemporaryFile(dir=existing, prefix=".trial-") as trial:
        trial.write(b"trial")
        trial.flush()

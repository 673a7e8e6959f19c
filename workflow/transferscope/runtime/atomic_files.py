"""Files that are whole or absent, and a disk that refuses them: told with the file and the fix."""

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

KEPT = "then give the same command again: what is finished is kept."
FREE = f"Free some space, or point `results:` at a larger disk; {KEPT}"
ALLOW = f"Let this user write there, or point `results:` at another folder; {KEPT}"
FAULTS = {
    errno.ENOSPC: ("the disk is full", FREE),
    errno.EDQUOT: ("the disk quota of this user is used up", FREE),
    errno.EFBIG: ("the file would be larger than this user may write (ulimit -f)", FREE),
    errno.EROFS: ("the file system is read-only", ALLOW),
    errno.EACCES: ("this user may not write there", ALLOW),
    errno.EPERM: ("this user may not write there", ALLOW),
    errno.EIO: ("the disk reports an error", f"Look at the system's log, repair the disk, {KEPT}"),
}
# Of files that are being written.
ENDING = ".new"
# How libraries written in Rust, such as that beneath the stores, report an error of the system.
RUST = re.compile(r"\(os error (\d+)\)")


def disk_problem(error: BaseException, path: Path | None = None) -> Problem | None:
    """Return what a user can do about an error of the disk; None where it is another error.

    Parameters
    ----------
    error
        The error.
    path
        File that was being written; None: the one that the error names.
    """
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, RuntimeError) and (found := RUST.search(str(error))):
        number = int(found[1])
    if number not in FAULTS:
        return None
    where = path or getattr(error, "filename", None) or "a file"
    return Problem(str(where), *FAULTS[number])


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name a file, and what to do, where the disk refuses it.

    Parameters
    ----------
    path
        What is written inside.

    Raises
    ------
    UserError
        In place of an error of the disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if (problem := disk_problem(error, path)) is None:
            raise
        raise UserError(problem) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file that becomes a file at the end: that is whole, old, or absent.

    What a killed process has left of an earlier attempt is removed.

    Parameters
    ----------
    path
        File to write; its folder is made.

    Raises
    ------
    UserError
        Where the disk refuses it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with _locked_temporary(path) as temporary:
            try:
                yield temporary
                temporary.chmod(0o644)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text file, given as a whole or in parts, by rename: it is whole or absent."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)


@contextmanager
def _locked_temporary(path: Path) -> Iterator[Path]:
    """Make a file next to another, with a lock that the system frees when the process ends."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=ENDING)
        try:
            # File systems without locks refuse: nothing is then found abandoned, either.
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            # Another process may have come before the lock, and taken the file for abandoned.
            if Path(name).exists():
                yield Path(name)
                return
        finally:
            os.close(handle)


def _remove_abandoned(path: Path) -> None:
    for found in path.parent.glob(f".{glob.escape(path.name)}.*{ENDING}"):
        # Another process may be faster, or still write.
        with suppress(OSError), found.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.unlink()


def existing_folder(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())


def require_writable(folder: Path) -> None:
    """Write a trial file into a folder, or into the nearest one above it that exists.

    Raises
    ------
    UserError
        Where the disk refuses it.
    """
    existing = existing_folder(folder)
    with writing(existing), tempfile.NamedTemporaryFile(dir=existing, prefix=".trial-") as trial:
        trial.write(b"trial")
        trial.flush()

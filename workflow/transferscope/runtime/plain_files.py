"""Whether a path is a file that can be read, or a place that can be written, before it is opened.

To open a pipe or a device may wait for ever, or give bytes without end.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from transferscope.errors import Problem, UserError

CHECK = "Check the path."
NOT_PLAIN = "Copy what it gives into a file, and give that file."
ALLOW_READ = "Let this user read it, or copy it to where this user may."
SHORTEN = "Give a shorter name."
# In bytes. File systems allow 255; a file is first written under its name and 14 characters more.
LONGEST_NAME = 240
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# What the system says of paths, in other words.
FAULTS = {
    errno.ENAMETOOLONG: ("the name is longer than the file system allows", SHORTEN),
    errno.ELOOP: ("links lead in a circle", "Remove the link, or give the file itself."),
    errno.EACCES: ("this user may not read it", ALLOW_READ),
    errno.EPERM: ("this user may not read it", ALLOW_READ),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", CHECK),
    errno.EINVAL: ("is no path", CHECK),
}


def name_problem(text: str) -> Problem | None:
    """Return why a text is no path that every library here understands; None if it is."""
    if not text:
        return Problem("a path", "is empty", "Give a path.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return Problem(text, "the name is not UTF-8 text", "Rename it, or give it a link.")
    return None


def file_problem(path: Path) -> Problem | None:
    """Return why a path is not a file that this user can read; None if it is.

    Nothing is opened that may block.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Problem(str(path), "the file does not exist", CHECK)
    except (OSError, ValueError) as error:
        return _problem(path, error)
    if not stat.S_ISREG(mode):
        what = f"is {KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file"
        return Problem(str(path), what, CHECK if stat.S_ISDIR(mode) else NOT_PLAIN)
    return _closed(path)


def folder_problem(path: Path) -> Problem | None:
    """Return why a path is not a folder that this user can read; None if it is."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Problem(str(path), "the folder does not exist", CHECK)
    except (OSError, ValueError) as error:
        return _problem(path, error)
    if not stat.S_ISDIR(mode):
        return Problem(str(path), "is a file, not a folder", "Give the folder.")
    return _closed(path)


def output_problem(path: Path, *, folder: bool = False) -> Problem | None:
    """Return why no file, or no folder, can be written at a path; None if one can.

    Parameters
    ----------
    path
        Where something is to be written; its folder need not exist.
    folder
        Whether it will be a folder.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return _new_name_problem(path)
    except PermissionError:
        fix = "Let this user write there, or give another place."
        return Problem(str(path), "this user may not write there", fix)
    except (OSError, ValueError) as error:
        return _problem(path, error)
    wanted = stat.S_ISDIR if folder else stat.S_ISREG
    if wanted(mode):
        return None
    found = "a file" if folder else KINDS.get(stat.S_IFMT(mode), "no file")
    what = f"is {found}, not a {'folder' if folder else 'file'}"
    return Problem(str(path), what, "Give another path to write to.")


def require_file(path: Path) -> Path:
    """Return a path of a file that can be read.

    Raises
    ------
    UserError
        If it is none: missing, a folder, a pipe or device, or closed to this user.
    """
    if problem := file_problem(path):
        raise UserError(problem)
    return path


def read_bounded(path: Path, most: int, what: str) -> bytes:
    """Return the content of a file, unless it is larger than such a file ever is.

    Parameters
    ----------
    path
        The file.
    most
        Largest size in bytes.
    what
        What it should be, such as "a card", for the message.

    Raises
    ------
    UserError
        If it cannot be read, or is larger.
    """
    with require_file(path).open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        fault = f"is larger than {most / 2**20:.0f} MiB, which {what} never is"
        raise UserError(Problem(str(path), fault, "Give the right file."))
    return content


def odd_files(folder: Path) -> Iterator[Problem]:
    """Yield the problem of each pipe, socket and device below a folder: to open one may not end."""
    waiting = [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False) and (
                    kind := _odd_kind(Path(entry.path))
                ):
                    remove = f"Remove it: {shlex.join(['rm', entry.path])}"
                    yield Problem(entry.path, f"is {kind}, not a file", remove)


def _odd_kind(path: Path) -> str | None:
    """Return what a path is that is neither file nor folder, links followed."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None
    return None if kind in (stat.S_IFREG, stat.S_IFDIR) else KINDS.get(kind, "no file")


def _problem(path: Path, error: OSError | ValueError) -> Problem:
    number = error.errno if isinstance(error, OSError) else errno.EINVAL
    what, fix = FAULTS.get(number or 0, (f"cannot be used: {error}", CHECK))
    return Problem(str(path), what, fix)


def _closed(path: Path) -> Problem | None:
    """Return the problem of a path that this user may not read."""
    # The effective user, as `open` asks for it.
    if os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        return None
    return Problem(str(path), *FAULTS[errno.EACCES])


def _new_name_problem(path: Path) -> Problem | None:
    """Return why a file that is not there cannot be written: by its name, or the link it is."""
    if path.is_symlink():
        return Problem(str(path), "is a link to nothing", "Remove the link, or give another path.")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        return Problem(str(path), *FAULTS[errno.ENAMETOOLONG])
    return None

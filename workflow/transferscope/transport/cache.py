"""Cache of files shared by jobs and studies, such as weights: one folder, one file per URL.

Only one process fetches a file; the others wait. Without a network the error says which file to
fetch on another machine and where to put it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from contextlib import suppress
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from transferscope.errors import Problem, UnreachableError, UserError, user_error
from transferscope.runtime.atomic_files import write_atomically
from transferscope.transport.checksums import Checksum
from transferscope.transport.patience import Patience
from transferscope.transport.urls import file_name, https_url, is_remote, local_path

FOLDER_VARIABLE = "TRANSFERSCOPE_CACHE"
OFFLINE_VARIABLES = ("TRANSFERSCOPE_OFFLINE", "HF_HUB_OFFLINE")
OFF = ("", "0", "false", "no", "off")
URL_DIGITS = 10
LONGEST_NAME = 120

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return the folder of shared files.

    `TRANSFERSCOPE_CACHE`, else `transferscope/weights` in `XDG_CACHE_HOME`, else in `~/.cache`.
    """
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "transferscope" / "weights"


def is_offline() -> bool:
    """Return whether the environment forbids the network."""
    return any(os.environ.get(name, "").lower() not in OFF for name in OFFLINE_VARIABLES)


def cached_path(url: str, sha256: str | None) -> Path:
    """Return the cache path of a URL, without using the network.

    Parameters
    ----------
    url
        An http(s)://, s3:// or file:// URL. A file:// URL is used in place.
    sha256
        Its checksum, 64 hexadecimal digits; part of the cache key. None: unknown.

    Returns
    -------
    pathlib.Path
        The URL's file name with a short digest of URL and checksum.
    """
    if not is_remote(url):
        return local_path(url, Path())
    name = PurePath(re.sub(r"[^A-Za-z0-9._-]", "_", file_name(url)) or urlsplit(url).netloc)
    digest = hashlib.sha256("\n".join([url, (sha256 or "").lower()]).encode()).hexdigest()
    return cache_folder() / f"{name.stem[:LONGEST_NAME]}-{digest[:URL_DIGITS]}{name.suffix}"


def cached_file(url: str, sha256: str | None, patience: Patience | None = None) -> Path:
    """Return the file of a URL, and fetch it if it is not in the cache.

    Parameters
    ----------
    url
        An http(s)://, s3:// or file:// URL.
    sha256
        Its checksum, 64 hexadecimal digits. None: not checked.
    patience
        Retries and timeouts.

    Raises
    ------
    UserError
        If it cannot be fetched; says what to fetch and where to put it. `UnreachableError` if
        there is no network or the server fails.
    """
    path = cached_path(url, sha256)
    if path.is_file():
        return _verified(path, url, sha256)
    if not is_remote(url):
        raise user_error(url, "the file does not exist", "Check the path.")
    if is_offline():
        reason = f"the network is switched off ({' or '.join(OFFLINE_VARIABLES)})"
        raise UserError(_how_to_get(url, sha256, path, reason))
    _fetch(url, sha256, path, patience)
    return path


def _how_to_get(url: str, sha256: str | None, path: Path, reason: str) -> Problem:
    check = f" Its sha256 is {sha256}." if sha256 else ""
    fix = f"Fetch {url} on a machine with a network and put it at {path}.{check}"
    return Problem(url, f"the file is not on this machine, and {reason}", fix)


def _fetch(url: str, sha256: str | None, path: Path, patience: Patience | None) -> None:
    """Fetch a file under a lock, unless another process fetched it meanwhile."""
    # Imported here: commands that use only `cached_path` must start fast.
    from transferscope.runtime.locks import exclusive
    from transferscope.runtime.progress import progress_bar
    from transferscope.transport.download import Download, DownloadError, download

    wanted = Download(https_url(url), path, checksum=Checksum.sha256(sha256))
    try:
        with exclusive(path.with_name(f".{path.name}.lock"), f"fetching {url}"):
            if path.is_file():
                return
            logger.info("fetching %s", url)
            with progress_bar(file_name(url), None, "bytes") as bar:
                download(wanted, patience, advance=bar.update)
    except DownloadError as error:
        kind = UnreachableError if error.passing else UserError
        raise kind(_how_to_get(url, sha256, path, error.reason)) from None
    except OSError as error:
        fix = f"Set {FOLDER_VARIABLE} to a writable folder."
        raise user_error(path.parent, f"cannot be written: {error}", fix) from None


def _own_text(path: Path) -> str | None:
    """Return the text of a small file that this user, or the system, has written; else None."""
    with suppress(OSError, UnicodeDecodeError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_uid in (os.geteuid(), 0):
            return path.read_text(encoding="utf-8")
    return None


def _verified(path: Path, url: str, sha256: str | None) -> Path:
    """Compare a cached file with its checksum, once per version of the file."""
    wanted = Checksum.sha256(sha256)
    if wanted is None:
        return path
    status = path.stat()
    # The time of the last change of content or rights, unlike the date, cannot be set back.
    stamp = f"{wanted} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    seen = cache_folder() / f".{path.name}.verified"
    if _own_text(seen) == stamp:
        return path
    if (found := wanted.of(path)) != wanted:
        what = f"the checksum is {found}, not the expected {wanted}"
        raise user_error(path, what, f"Delete it; it belongs to {url}.")
    # Without this note the file is only compared again next time.
    with suppress(OSError, UserError):
        write_atomically(seen, stamp)
    return path

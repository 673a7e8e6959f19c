"""Download one file over HTTP: resumed after interruptions, verified, and renamed at the end.

Bytes go into a hidden `.part` file next to the destination. Its name is fixed, unlike those of
`atomic_files.replacing`, so that a later process finds it. The ETag or date of the file is saved
next to it, so that a later process resumes only the same version (`If-Range`). The file is renamed
to its destination after size and checksum were compared. urllib3 counts the attempts and computes
the waits between them.
"""

from __future__ import annotations

import email.utils
import gzip
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import exceptions
from urllib3.exceptions import (
    ConnectTimeoutError,
    InvalidHeader,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from transferscope.runtime.atomic_files import make_folder, move_into_place, replacing
from transferscope.transport.checksums import Checksum
from transferscope.transport.logins import HOW, LoginSession
from transferscope.transport.patience import Patience
from transferscope.transport.reach import knock

CHUNK_BYTES = 1 << 15
PARTIAL, WHOLE_ALREADY = 206, 416
RETRIED_STATUS = frozenset({408, 425, 429, *range(500, 600)})

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Parameters
    ----------
    url
        Its http(s):// address.
    path
        Destination.
    size
        Its length in bytes, if known.
    checksum
        Of the bytes that are transferred, if known.
    unpack
        Whether to decompress it (gzip) before the rename.
    """

    url: str
    path: Path
    size: int | None = None
    checksum: Checksum | None = None
    unpack: bool = False


class DownloadError(Exception):
    """A file that could not be fetched.

    Parameters
    ----------
    url
        Its http(s):// address.
    reason
        Why it could not be fetched.
    passing
        Whether a later attempt may succeed: no network, or a busy server.
    """

    def __init__(self, url: str, reason: str, *, passing: bool = False) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason
        self.passing = passing


class NoConnectionError(DownloadError):
    """The server cannot be reached, so its other files need not be tried."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason, passing=True)


@dataclass(eq=False)
class _TryFailedError(Exception):
    """An attempt failed; another one may succeed."""

    reason: str
    answer: BaseHTTPResponse | None = None
    connected: bool = True


Advance = Callable[[int], object]


def new_session() -> requests.Session:
    """Return an HTTP session with a user agent and the user's logins; use one per thread."""
    session = LoginSession()
    session.headers["User-Agent"] = f"transferscope/{version('transferscope')}"
    # Compressed in transfer, a file would differ in length from its Content-Length.
    session.headers["Accept-Encoding"] = "identity"
    return session


def download(
    wanted: Download,
    patience: Patience | None = None,
    session: requests.Session | None = None,
    advance: Advance | None = None,
) -> None:
    """Fetch one file; on return it is complete and verified.

    Parameters
    ----------
    wanted
        The file.
    patience
        Retries and timeouts.
    session
        A session of this thread; None: a new one.
    advance
        Called with the number of bytes received; negative if some are discarded.

    Raises
    ------
    DownloadError
        If it cannot be fetched; `NoConnectionError` if the server was never reached.
    """
    patience = patience or Patience()
    make_folder(wanted.path.parent)
    part = _Part(wanted, advance or (lambda _: None))
    try:
        knock(wanted.url, patience.connect_timeout_s)
    except TimeoutError as error:
        raise NoConnectionError(wanted.url, str(error)) from None
    except OSError as error:
        # Told, and tried again, by the attempts themselves.
        logger.debug("%s: %s", wanted.url, error)
    with nullcontext(session) if session else new_session() as used:
        tries, best = _tries(patience), part.size
        while (failed := part.try_once(used, patience)) is not None:
            if part.size > best:
                # An attempt that received new bytes resets the count.
                tries, best = _tries(patience), part.size
            tries = _counted(tries, failed, wanted.url)
            seconds = _wait_s(tries, failed.answer)
            logger.info("%s: %s; again in %.1f s", wanted.url, failed.reason, seconds)
            time.sleep(seconds)
    part.put_in_place()


def _tries(patience: Patience) -> Retry:
    return Retry(
        total=patience.attempts - 1,
        connect=patience.connect_attempts - 1,
        backoff_factor=patience.backoff_s,
        backoff_jitter=patience.backoff_s,
        backoff_max=patience.longest_wait_s,
    )


def _counted(tries: Retry, failed: _TryFailedError, url: str) -> Retry:
    """Return the attempts left after a failure; raise an error if none is."""
    error = None if failed.connected else ConnectTimeoutError(failed.reason)
    try:
        return tries.increment("GET", url, failed.answer, error)
    except MaxRetryError:
        if not failed.connected:
            raise NoConnectionError(url, failed.reason) from None
        count = len(tries.history) + 1
        tried = f" ({count} tries in a row)" if count > 1 else ""
        raise DownloadError(url, f"{failed.reason}{tried}", passing=True) from None


def _wait_s(tries: Retry, answer: BaseHTTPResponse | None) -> float:
    """Return the wait in s: at least as long as the server requests, up to `backoff_max`."""
    requested = None
    if answer is not None:
        with suppress(InvalidHeader, ValueError, OverflowError):
            requested = tries.get_retry_after(answer)
    return min(max(requested or 0.0, tries.get_backoff_time()), tries.backoff_max)


class _Part:
    """The bytes of a file that have arrived so far."""

    def __init__(self, wanted: Download, advance: Advance) -> None:
        self._wanted = wanted
        self._advance = advance
        self._path = wanted.path.with_name(f".{wanted.path.name}.part")
        self._version = wanted.path.with_name(f".{wanted.path.name}.version")
        self._last_modified = ""
        self._resumed = False
        advance(self.size)

    @property
    def size(self) -> int:
        """Size of the part in bytes; 0 if there is none."""
        return self._path.stat().st_size if self._path.exists() else 0

    def try_once(self, session: requests.Session, patience: Patience) -> _TryFailedError | None:
        """Try to fetch the missing bytes; return None if the file is complete and verified."""
        try:
            with self._open(session, patience) as response:
                whole = response.status_code == WHOLE_ALREADY
                total = self._whole_already(response) if whole else self._receive(response)
            self._last_modified = response.headers.get("Last-Modified", "")
            self._check(total)
        except _TryFailedError as failed:
            return failed
        except requests.RequestException as error:
            return _failed(self._wanted.url, error)
        return None

    def put_in_place(self) -> None:
        """Rename the verified part to the destination, with the server's date."""
        if self._wanted.unpack:
            self._unpack()
        _set_date(self._path, self._last_modified)
        self._version.unlink(missing_ok=True)
        move_into_place(self._path, self._wanted.path)

    def _open(self, session: requests.Session, patience: Patience) -> requests.Response:
        response = session.get(
            self._wanted.url,
            headers=self._range_headers(),
            stream=True,
            timeout=(patience.connect_timeout_s, patience.read_timeout_s),
        )
        status = response.status_code
        if status in (requests.codes.ok, PARTIAL, WHOLE_ALREADY):
            return response
        response.close()
        reason = f"the server answered {status} {response.reason}"
        if status == requests.codes.unauthorized:
            reason += f" ({HOW})"
        if status in RETRIED_STATUS:
            raise _TryFailedError(reason, answer=response.raw)
        raise DownloadError(self._wanted.url, reason)

    def _range_headers(self) -> dict[str, str]:
        """Request only the missing bytes, if version or checksum tie them to the part."""
        start, version_read = self.size, self._read_version()
        self._resumed = start > 0 and bool(version_read or self._wanted.checksum)
        if not self._resumed:
            self._discard()
            return {}
        condition = {"If-Range": version_read} if version_read else {}
        return {"Range": f"bytes={start}-", **condition}

    def _read_version(self) -> str:
        try:
            url, _, found = self._version.read_text(encoding="utf-8").partition("\n")
        except FileNotFoundError:
            return ""
        return found if url == self._wanted.url else ""

    def _write_version(self, response: requests.Response) -> None:
        etag = response.headers.get("ETag", "")
        # A weak ETag promises no equal bytes and must not stand in If-Range (RFC 9110, 13.1.5).
        found = etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
        self._version.write_text(f"{self._wanted.url}\n{found}", encoding="utf-8")

    def _discard(self) -> None:
        self._advance(-self.size)
        self._path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def _receive(self, response: requests.Response) -> int | None:
        """Write the received bytes; return the length of the whole file, if known."""
        total = self._total(response)
        if self._wanted.size is not None and total not in (None, self._wanted.size):
            self._discard()
            reason = f"the server has {total} bytes, not the {self._wanted.size} expected"
            raise DownloadError(self._wanted.url, reason)
        if response.status_code == requests.codes.ok:
            self._discard()
            self._resumed = False
            self._write_version(response)
        with self._path.open("ab") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                self._advance(len(chunk))
        return total

    def _total(self, response: requests.Response) -> int | None:
        if response.status_code == requests.codes.ok:
            length = response.headers.get("Content-Length", "")
            plain = response.headers.get("Content-Encoding", "identity") == "identity"
            return int(length) if length.isdecimal() and plain else None
        unit_and_range, _, total = response.headers.get("Content-Range", "").partition("/")
        if not unit_and_range.replace("=", " ").startswith(f"bytes {self.size}-"):
            self._discard()
            raise _TryFailedError("the server sent a different part of the file than requested")
        return int(total) if total.isdecimal() else None

    def _whole_already(self, response: requests.Response) -> int | None:
        """Accept a complete part, left by a process that died before the rename."""
        total = response.headers.get("Content-Range", "").partition("/")[2]
        if total != str(self.size):
            self._discard()
            raise _TryFailedError("the earlier part belongs to another version of the file")
        return int(total)

    def _check(self, total: int | None) -> None:
        if total is not None and self.size < total:
            raise _TryFailedError(f"the connection ended after {self.size} of {total} bytes")
        expected = self._wanted.size if self._wanted.size is not None else total
        if expected is not None and self.size != expected:
            self._refuse(f"{self.size} bytes arrived, not the {expected} expected")
        wanted = self._wanted.checksum
        if wanted is not None and (found := wanted.of(self._path)) != wanted:
            self._refuse(f"the checksum is {found}, not the expected {wanted}")

    def _refuse(self, reason: str) -> None:
        """Discard the part; try again only if it came from two attempts."""
        self._discard()
        if self._resumed:
            raise _TryFailedError(reason)
        raise DownloadError(self._wanted.url, reason)

    def _unpack(self) -> None:
        try:
            with (
                gzip.open(self._path) as packed,
                replacing(self._path) as unpacked,
                unpacked.open("wb") as file,
            ):
                shutil.copyfileobj(packed, file)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            self._discard()
            raise DownloadError(self._wanted.url, f"not a whole gzip file: {error}") from None


def _set_date(path: Path, last_modified: str) -> None:
    """Set a file's date to the server's, so that fetching it again outdates no result."""
    if date := email.utils.parsedate_tz(last_modified):
        with suppress(ValueError, OverflowError, OSError):
            seconds = email.utils.mktime_tz(date)
            os.utime(path, (seconds, seconds))


def _failed(url: str, error: requests.RequestException) -> _TryFailedError:
    """Describe an error of requests; raise if another attempt cannot help."""
    cause: Any = error.args[0] if error.args else error
    if isinstance(cause, MaxRetryError):
        cause = cause.reason
    match error:
        case exceptions.SSLError():
            raise DownloadError(url, f"no trusted connection: {cause}") from None
        case exceptions.ConnectTimeout():
            return _TryFailedError("no connection in time", connected=False)
        case exceptions.ProxyError():
            inner = getattr(cause, "original_error", cause)
            reason = getattr(inner, "__cause__", None) or inner
            return _TryFailedError(f"the proxy: {reason}", connected=False)
    match cause:
        case NameResolutionError():
            host = urlsplit(url).hostname
            raise NoConnectionError(url, f"the name {host} cannot be resolved") from None
        case NewConnectionError(__cause__=ConnectionRefusedError()):
            return _TryFailedError("the server refuses connections", connected=False)
        case NewConnectionError():
            return _TryFailedError(f"no connection: {cause.__cause__}", connected=False)
        case ReadTimeoutError():
            return _TryFailedError("the server stopped sending")
    if isinstance(error, exceptions.ConnectionError | exceptions.ChunkedEncodingError):
        return _TryFailedError("the connection was cut")
    raise DownloadError(url, str(error)) from None

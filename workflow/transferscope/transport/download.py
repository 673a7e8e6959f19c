"""One file over HTTP: resumed where an earlier try stopped, verified, and put in place at once.

Bytes go into a hidden `.part` file beside the destination. What the server said of the file's
version is kept beside it, so that a later process goes on only with the same version (`If-Range`).
The destination appears by rename, after size and checksum were compared.
"""

from __future__ import annotations

import email.utils
import gzip
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import requests
import urllib3

from transferscope.transport.checksums import Checksum
from transferscope.transport.patience import Patience

CHUNK_BYTES = 1 << 15
RETRIED_STATUS = (408, 425, 429)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Download:
    """A file to fetch.

    Parameters
    ----------
    url
        Its http(s):// address.
    path
        Where it goes.
    size
        Its length in bytes, where it is known beforehand.
    checksum
        Of the bytes that are transferred, where it is known beforehand.
    unpack
        Whether to gunzip it before it is put in place.
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
        Where it was looked for.
    reason
        Why it could not be fetched, in words.
    passing
        Whether it may be had another time: no network, or a busy server.
    """

    def __init__(self, url: str, reason: str, *, passing: bool = False) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason
        self.passing = passing


class UnreachableError(DownloadError):
    """No connection to the server could be made: other files of it need not be tried."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason, passing=True)


class _TryFailedError(Exception):
    """One try failed; another one may succeed."""

    def __init__(
        self, reason: str, *, retry_after: str | None = None, connected: bool = True
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.connected = connected


Advance = Callable[[int], None]


def new_session() -> requests.Session:
    """Return an HTTP session that says who asks; one a thread."""
    session = requests.Session()
    session.headers["User-Agent"] = f"transferscope/{version('transferscope')}"
    # Compressed on the way, a file would have another length than it says.
    session.headers["Accept-Encoding"] = "identity"
    return session


def download(
    wanted: Download,
    patience: Patience | None = None,
    session: requests.Session | None = None,
    advance: Advance | None = None,
) -> None:
    """Fetch one file; where it returns, the file is whole and in place.

    Parameters
    ----------
    wanted
        The file.
    patience
        How often and how long to try.
    session
        A session of this thread; None: a new one.
    advance
        Called with the number of bytes that arrived; negative where some are thrown away.

    Raises
    ------
    DownloadError
        Where it cannot be fetched. `UnreachableError` where the server was never reached.
    """
    patience = patience or Patience()
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(wanted, advance or (lambda _: None))
    with nullcontext(session) if session else new_session() as used:
        failures, best = 0, part.size
        while not part.try_once(used, patience):
            # A try that brought something new does not count: slow, but it gets there.
            failures, best = (failures + 1 if part.size <= best else 1), max(best, part.size)
            part.raise_if_hopeless(failures, patience)
            part.wait(failures, patience)
    part.put_in_place()


class _Part:
    """The bytes of a file that have arrived so far."""

    def __init__(self, wanted: Download, advance: Advance) -> None:
        self._wanted = wanted
        self._advance = advance
        self._path = wanted.path.with_name(f".{wanted.path.name}.part")
        self._version = wanted.path.with_name(f".{wanted.path.name}.version")
        self._last_modified = ""
        self._resumed = False
        self._failed: _TryFailedError | None = None
        advance(self.size)

    @property
    def size(self) -> int:
        """Bytes that are there, 0 where there is no file."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def try_once(self, session: requests.Session, patience: Patience) -> bool:
        """Try to fetch what is missing; return whether all is there and verified."""
        try:
            self._fetch(session, patience)
        except _TryFailedError as failed:
            self._failed = failed
            return False
        return True

    def raise_if_hopeless(self, failures: int, patience: Patience) -> None:
        """Give up after too many failures in a row."""
        url, failed = self._wanted.url, self._failed
        if failed is None:
            return
        if not failed.connected and failures >= patience.connect_attempts:
            raise UnreachableError(url, failed.reason)
        if failures >= patience.attempts:
            tried = f" ({failures} tries in a row)" if failures > 1 else ""
            raise DownloadError(url, f"{failed.reason}{tried}", passing=True)

    def wait(self, failures: int, patience: Patience) -> None:
        """Wait before the next try."""
        if self._failed is None:
            return
        seconds = patience.wait_s(failures, self._failed.retry_after)
        logger.info("%s: %s; again in %.1f s", self._wanted.url, self._failed.reason, seconds)
        time.sleep(seconds)

    def _fetch(self, session: requests.Session, patience: Patience) -> None:
        """Fetch the bytes that are missing, and compare size and checksum."""
        total: int | None
        with _connection_errors(self._wanted.url), self._open(session, patience) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                total = self._whole_already(response)
            else:
                total = self._receive(response)
        self._last_modified = response.headers.get("Last-Modified", "")
        self._check(total)

    def put_in_place(self) -> None:
        """Rename the verified bytes to the destination, dated as the server dates them."""
        if self._wanted.unpack:
            self._unpack()
        _set_date(self._path, self._last_modified)
        self._version.unlink(missing_ok=True)
        self._path.replace(self._wanted.path)

    def _open(self, session: requests.Session, patience: Patience) -> requests.Response:
        response = session.get(
            self._wanted.url,
            headers=self._range_headers(),
            stream=True,
            timeout=(patience.connect_timeout_s, patience.read_timeout_s),
        )
        status = response.status_code
        if status in (200, 206, 416):
            return response
        reason = f"the server answered {status} {response.reason}"
        retry_after = response.headers.get("Retry-After")
        response.close()
        if status in RETRIED_STATUS or status >= 500:
            raise _TryFailedError(reason, retry_after=retry_after)
        raise DownloadError(self._wanted.url, reason)

    def _range_headers(self) -> dict[str, str]:
        """Ask for the missing bytes only, where it is sure that they belong to the others."""
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
        """Write what arrives; return the length of the whole file, if the server says it."""
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
            raise _TryFailedError("the server sent another part of the file than was asked for")
        return int(total) if total.isdecimal() else None

    def _whole_already(self, response: requests.Response) -> int | None:
        """Accept a part that has every byte, as a process leaves it that dies before the rename."""
        total = response.headers.get("Content-Range", "").partition("/")[2]
        if total != str(self.size):
            self._discard()
            raise _TryFailedError("what was fetched before is of another version of the file")
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
        """Throw the bytes away; only bytes of two tries may fit another time."""
        resumed = self._resumed
        self._discard()
        if resumed:
            raise _TryFailedError(reason)
        raise DownloadError(self._wanted.url, reason)

    def _unpack(self) -> None:
        unpacked = self._path.with_suffix(".unpacked")
        try:
            with gzip.open(self._path) as packed, unpacked.open("wb") as file:
                shutil.copyfileobj(packed, file)
        except (OSError, EOFError) as error:
            unpacked.unlink(missing_ok=True)
            self._discard()
            raise DownloadError(self._wanted.url, f"not a whole gzip file: {error}") from None
        unpacked.replace(self._path)


def _set_date(path: Path, last_modified: str) -> None:
    """Date a file as its server does, so that fetched twice it looks the same.

    Otherwise everything that was made of it would be made again.
    """
    if date := email.utils.parsedate_tz(last_modified):
        with suppress(ValueError, OverflowError, OSError):
            seconds = email.utils.mktime_tz(date)
            os.utime(path, (seconds, seconds))


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Turn the library's errors into those that are tried again and those that are not."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise DownloadError(url, f"no trusted connection: {_root_of(error)}") from None
    except requests.exceptions.ConnectTimeout:
        raise _TryFailedError("no connection in time", connected=False) from None
    except requests.exceptions.ProxyError as error:
        raise _TryFailedError(f"the proxy: {_root_of(error)}", connected=False) from None
    except requests.exceptions.ConnectionError as error:
        if _caused_by(error, urllib3.exceptions.NameResolutionError):
            host = urllib3.util.parse_url(url).host
            raise UnreachableError(url, f"the name {host} cannot be resolved") from None
        connected = not _caused_by(error, urllib3.exceptions.NewConnectionError)
        raise _TryFailedError(_sentence(error), connected=connected) from None
    except (requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _TryFailedError(_sentence(error)) from None
    except requests.exceptions.RequestException as error:
        raise DownloadError(url, str(error)) from None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps, whichever way the libraries wrapped it."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [getattr(current, "reason", None), current.__cause__, current.__context__]
        waiting += [e for e in (*inner, *current.args) if isinstance(e, BaseException)]


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    return any(isinstance(inner, kind) for inner in _chain(error))


def _root_of(error: BaseException) -> str:
    return str(list(_chain(error))[-1])


def _sentence(error: BaseException) -> str:
    """Say what happened to a connection, without the library's nesting."""
    if _caused_by(error, TimeoutError) or isinstance(error, requests.exceptions.Timeout):
        return "the server fell silent"
    if _caused_by(error, ConnectionRefusedError):
        return "the server refuses connections"
    if _caused_by(error, urllib3.exceptions.NewConnectionError):
        return f"no connection: {_root_of(error)}"
    return "the connection was cut"

"""A local HTTP server with a bucket's listing and the faults of real servers."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LAST_MODIFIED = 1_600_000_000


@dataclass(frozen=True)
class Status:
    """Answer with this status."""

    code: int
    retry_after: str | None = None


@dataclass(frozen=True)
class Cut:
    """Promise the whole file, send so many bytes, and close the connection."""

    after: int


@dataclass(frozen=True)
class Silence:
    """Send so many bytes, then nothing for so long."""

    after: int
    seconds: float


@dataclass(frozen=True)
class Damage:
    """Send other bytes of the same length."""


@dataclass
class FileServer:
    """What is served, which faults come first, and what was asked for."""

    files: dict[str, bytes]
    ranges: bool = True
    etags: bool = True
    faults: dict[str, list[Any]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    bytes_sent: int = 0
    page_size: int = 1000
    url: str = ""

    def paths(self) -> list[str]:
        """Return the paths that were asked for, without queries."""
        return [path for path, _ in self.requests]

    def etag(self, path: str) -> str:
        return f'"{hashlib.md5(self.files[path]).hexdigest()}"'


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    """Serve on a free port of this machine."""
    handler = type("Handler", (_Handler,), {"shared": server})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        # Clients that hang up are part of the tests.
        http.handle_error = lambda *_: None
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shared: FileServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        self.shared.requests.append((path, self.headers.get("Range")))
        waiting = self.shared.faults.get(path) or []
        fault = waiting.pop(0) if waiting else None
        if isinstance(fault, Status):
            self._status(fault)
        elif "list-type" in query:
            self._listing(path.strip("/"), query)
        elif path not in self.shared.files:
            self._status(Status(404))
        else:
            self._file(path, fault)

    def _status(self, status: Status) -> None:
        self.send_response(status.code)
        if status.retry_after is not None:
            self.send_header("Retry-After", status.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _file(self, path: str, fault: Any) -> None:
        content = self.shared.files[path]
        start = self._start(path, len(content))
        if start >= len(content) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.shared.etags:
            self.send_header("ETag", self.shared.etag(path))
            self.send_header("Last-Modified", formatdate(LAST_MODIFIED, usegmt=True))
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self._send(content[start:], fault)

    def _start(self, path: str, length: int) -> int:
        asked = self.headers.get("Range")
        condition = self.headers.get("If-Range")
        if not asked or not self.shared.ranges:
            return 0
        if condition is not None and condition != self.shared.etag(path):
            return 0
        return int(asked.removeprefix("bytes=").partition("-")[0])

    def _send(self, content: bytes, fault: Any) -> None:
        if isinstance(fault, Damage):
            content = bytes(byte ^ 255 for byte in content)
        if isinstance(fault, Cut | Silence):
            content = content[: fault.after]
        self.wfile.write(content)
        self.wfile.flush()
        self.shared.bytes_sent += len(content)
        if isinstance(fault, Silence):
            time.sleep(fault.seconds)
        if isinstance(fault, Cut | Silence):
            self.close_connection = True

    def _listing(self, bucket: str, query: dict[str, list[str]]) -> None:
        lead = f"/{bucket}/" if bucket else "/"
        prefix = query.get("prefix", [""])[0]
        keys = sorted(p.removeprefix(lead) for p in self.shared.files if p.startswith(lead))
        keys = [key for key in keys if key.startswith(prefix)]
        first = int(query.get("continuation-token", ["0"])[0])
        page = keys[first : first + self.shared.page_size]
        entries = "".join(self._entry(lead, key) for key in page)
        after = first + len(page)
        more = (
            f"<NextContinuationToken>{after}</NextContinuationToken>" if after < len(keys) else ""
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{entries}"
            "</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _entry(self, lead: str, key: str) -> str:
        content = self.shared.files[f"{lead}{key}"]
        etag = escape(self.shared.etag(f"{lead}{key}"), {'"': "&quot;"})
        return (
            f"<Contents><Key>{escape(key)}</Key><ETag>{etag}</ETag>"
            f"<Size>{len(content)}</Size></Contents>"
        )

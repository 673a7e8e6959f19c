"""A server that cannot be reached is known within seconds; one that can is not doubted again."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from file_server import FileServer, Silence, serving
from transferscope.transport import reach
from transferscope.transport.download import Download, NoConnectionError, download
from transferscope.transport.patience import Patience


@pytest.fixture(autouse=True)
def _nothing_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_reached", set())


@pytest.fixture
def silent() -> Iterator[str]:
    """Address of a server that takes no connection: its queue is full."""
    with socket.socket() as server, socket.socket() as first:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        first.connect(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def slow_names(*_: object, **__: object) -> list[object]:
    time.sleep(5)
    return []


def test_silence_is_no_connection(silent: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(NoConnectionError, match=r"does not answer within 0\.5 s"):
        download(Download(f"{silent}/a", tmp_path / "a"), Patience(connect_timeout_s=0.5))
    assert time.monotonic() - start < 3


def test_a_search_for_a_name_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", slow_names)
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        reach.knock("http://example.invalid/", 0.3)
    assert time.monotonic() - start < 3


def test_a_server_that_connects_may_be_slow(tmp_path: Path) -> None:
    with serving(FileServer({"/a": b"content" * 100})) as server:
        server.faults["/a"] = [Silence(10, 1.5)]
        hasty = Patience(connect_timeout_s=0.3, read_timeout_s=5)
        download(Download(f"{server.url}/a", tmp_path / "a"), hasty)
    assert (tmp_path / "a").read_bytes() == b"content" * 100


def test_a_proxy_is_asked_in_place_of_the_server(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", silent)
    with pytest.raises(TimeoutError, match=r"127\.0\.0\.1"):
        reach.knock("http://example.invalid/", 0.3)

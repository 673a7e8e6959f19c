"""Logins of ~/.netrc go to the server that they name, and nowhere else; they are never said."""

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command_tree import run
from factories import TINY_NETWORK, write_yaml
from transferscope.errors import UserError
from transferscope.transport import logins
from transferscope.transport.download import Download, DownloadError, download
from transferscope.transport.logins import login_of
from transferscope.transport.patience import Patience

SECRET = "q7-Zx9pL2"
HASTY = Patience(attempts=1)


class _Asking(BaseHTTPRequestHandler):
    """Serves a file to who logs in; sends who asks for /moved to the same file on localhost."""

    seen: list[tuple[str, str | None]]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        login, host = self.headers.get("Authorization"), self.headers["Host"].partition(":")[0]
        self.seen.append((host, login))
        body = b"content" if login or self.path == "/open" else b""
        self.send_response(302 if self.path == "/moved" else 200 if body else 401)
        if self.path == "/moved":
            self.send_header("Location", f"http://localhost:{self.server.server_port}/open")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    with _serving() as found:
        yield found


@contextmanager
def _serving() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    handler = type("Handler", (_Asking,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", handler.seen  # type: ignore[attr-defined]
        http.shutdown()
        thread.join()


@pytest.fixture
def login_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    logins._logins.cache_clear()
    path = tmp_path / ".netrc"
    path.touch(0o600)
    return path


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_login_reaches_its_server_and_is_written_nowhere(server, login_file: Path) -> None:
    url, seen = server
    login_file.write_text(f"machine 127.0.0.1 login mé password {SECRET}\n", encoding="utf-8")
    wanted = Download(f"{url}/a.bin", login_file.parent / "to" / "a.bin")
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == b"content"
    assert seen == [("127.0.0.1", basic("mé", SECRET))]
    assert [path.name for path in wanted.path.parent.iterdir()] == ["a.bin"]


@pytest.mark.parametrize(
    "text",
    ["", "default login me password {}\n", "machine other.org login me password {}\n"],
)
def test_no_other_server_gets_one(server, login_file: Path, text: str) -> None:
    url, seen = server
    login_file.write_text(text.format(SECRET))
    with pytest.raises(DownloadError, match=r"401.*asks for a login: add it to ~/\.netrc"):
        download(Download(f"{url}/a.bin", login_file.parent / "a.bin"), HASTY)
    assert seen == [("127.0.0.1", None)]


@pytest.mark.parametrize("second", ["", "machine localhost login you password p2\n"])
def test_a_redirection_takes_no_login_along(server, login_file: Path, second: str) -> None:
    url, seen = server
    login_file.write_text(
        f"machine 127.0.0.1 login me password {SECRET}\n{second}default login me password x\n"
    )
    wanted = Download(f"{url}/moved", login_file.parent / "a.bin")
    download(wanted, HASTY)
    own = basic("you", "p2") if second else None
    assert seen == [("127.0.0.1", basic("me", SECRET)), ("localhost", own)]


@settings(max_examples=50)
@given(
    host=st.sampled_from(["a.org", "b.org:8443", "127.0.0.1", "[::1]:80", "x.a.org", "A.ORG"]),
    named=st.sampled_from(["a.org", "b.org", "127.0.0.1", "::1", "org", "default"]),
    scheme=st.sampled_from(["http", "https", "ftp", "HTTPS"]),
)
def test_only_by_name_and_encrypted(
    tmp_path_factory: pytest.TempPathFactory, host: str, named: str, scheme: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"netrc-{named.replace(':', '-')}"
    path.write_text(f"machine {named} login me password {SECRET}\n")
    path.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETRC", str(path))
        found = login_of(f"{scheme}://{host}/a.bin")
    bare = host.lower().strip("[").partition("]")[0]
    bare = bare if bare == "::1" else bare.partition(":")[0]
    is_safe = scheme.lower() == "https" or bare in ("127.0.0.1", "::1")
    assert found == (("me", SECRET) if bare == named and is_safe else None)


@pytest.mark.parametrize(
    "content", [f"machine a {SECRET} x", f"{SECRET} x", f"machine a login b {SECRET}"]
)
def test_a_damaged_file_is_named_without_what_it_holds(
    login_file: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    login_file.write_text(f"machine a.org login me password {SECRET}\n{content}\n")
    with pytest.raises(UserError) as caught:
        login_of("https://a.org/x")
    assert str(login_file) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_command_says_neither_login_nor_password(
    server, login_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = server
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("TRANSFERSCOPE_CACHE", str(login_file.parent / "cache"))
    login_file.write_text(f"machine 127.0.0.1 login someone password {SECRET}\n")
    card = {"name": "tiny", **TINY_NETWORK, "source": "url", "url": f"{url}/weights.pth"}
    card.pop("pretrained")
    path = write_yaml(login_file.parent / "tiny.yaml", card)
    ended = run(["backbone", "fetch", str(path)])
    assert seen, ended.err
    assert SECRET not in ended.out + ended.err
    assert "someone" not in ended.out + ended.err
    for folder, _, names in os.walk(login_file.parent / "cache"):
        for name in names:
            assert SECRET.encode() not in (Path(folder) / name).read_bytes()

import errno
import hashlib
import os
import subprocess
import sys
import time

import pytest

from file_server import FileServer, Silence, Status, serving
from transferscope.errors import UserError
from transferscope.transport.cache import cached_file, cached_path
from transferscope.transport.patience import Patience

CONTENT = b"weights" * 50_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HASTY = Patience(attempts=2, backoff_s=0.01)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    for name in ("TRANSFERSCOPE_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRANSFERSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server():
    with serving(FileServer({"/v1/vit.pth": CONTENT, "/v2/vit.pth": CONTENT[:-1]})) as running:
        yield running


def test_a_file_is_fetched_once(server):
    url = f"{server.url}/v1/vit.pth"
    path = cached_file(url, SHA256)
    assert path.read_bytes() == CONTENT
    assert path == cached_path(url, SHA256) == cached_file(url, SHA256)
    assert len(server.requests) == 1


def test_names_are_readable_and_do_not_meet(server, folder):
    first = cached_path(f"{server.url}/v1/vit.pth?download=1", None)
    second = cached_path(f"{server.url}/v2/vit.pth", None)
    assert first.parent == folder
    assert first != second
    assert first.name.startswith("vit-")
    assert first.suffix == second.suffix == ".pth"


@pytest.mark.parametrize("url", ["https://a.org/..", "https://a.org/x/%2e%2e%2fb.pth", "s3://b/k"])
def test_a_file_never_leaves_the_folder(url, folder):
    assert cached_path(url, None).resolve().parent == folder.resolve()


def test_without_the_variable_the_cache_is_the_users(tmp_path, monkeypatch):
    monkeypatch.delenv("TRANSFERSCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cached_path("https://a.org/b", None).parent == tmp_path / "transferscope/weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cached_path("https://a.org/b", None).parent == tmp_path / ".cache/transferscope/weights"


@pytest.mark.parametrize("variable", ["TRANSFERSCOPE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_it_says_what_to_fetch_and_where_to_put_it(server, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    url = f"{server.url}/v1/vit.pth"
    with pytest.raises(UserError) as caught:
        cached_file(url, SHA256)
    for part in (url, str(cached_path(url, SHA256)), SHA256, variable):
        assert part in str(caught.value)
    assert server.requests == []


def test_a_file_that_the_user_put_there_is_used_offline(monkeypatch, folder):
    monkeypatch.setenv("TRANSFERSCOPE_OFFLINE", "1")
    path = cached_path("https://a.org/vit.pth", SHA256)
    folder.mkdir()
    path.write_bytes(CONTENT)
    assert cached_file("https://a.org/vit.pth", SHA256) == path


def test_a_wrong_file_that_the_user_put_there_is_refused(folder):
    path = cached_path("https://a.org/vit.pth", SHA256)
    folder.mkdir()
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="not the expected"):
        cached_file("https://a.org/vit.pth", SHA256)


def test_a_file_is_not_read_again_until_it_changes(server, folder):
    url = f"{server.url}/v1/vit.pth"
    path = cached_file(url, SHA256)
    cached_file(url, SHA256)
    (mark,) = folder.glob(".*.verified")
    before = mark.stat().st_mtime_ns
    cached_file(url, SHA256)
    assert mark.stat().st_mtime_ns == before
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="not the expected"):
        cached_file(url, SHA256)


def test_a_cache_that_cannot_be_written_is_read(monkeypatch, folder):
    path = cached_path("https://a.org/vit.pth", SHA256)
    folder.mkdir()
    path.write_bytes(CONTENT)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("transferscope.runtime.atomic_files.tempfile.mkstemp", refuse)
    assert cached_file("https://a.org/vit.pth", SHA256) == path


def test_no_connection_gives_the_same_message_soon():
    began = time.monotonic()
    with pytest.raises(UserError, match="cannot be resolved") as caught:
        cached_file("https://no-such-host.invalid/vit.pth", SHA256)
    assert str(cached_path("https://no-such-host.invalid/vit.pth", SHA256)) in str(caught.value)
    assert time.monotonic() - began < 20


def test_a_server_that_fails_is_named(server):
    server.faults["/v1/vit.pth"] = [Status(500)] * 5
    with pytest.raises(UserError, match="500"):
        cached_file(f"{server.url}/v1/vit.pth", None, HASTY)


def test_a_wrong_checksum_is_refused(server, folder):
    with pytest.raises(UserError, match="not the expected"):
        cached_file(f"{server.url}/v2/vit.pth", SHA256, HASTY)
    assert not [path for path in folder.iterdir() if path.suffix == ".pth"]


def test_a_file_url_is_used_in_place(tmp_path):
    path = tmp_path / "local weights.pth"
    path.write_bytes(CONTENT)
    assert cached_file(path.as_uri(), SHA256) == path
    with pytest.raises(UserError, match="does not exist"):
        cached_file((tmp_path / "none.pth").as_uri(), None)


def test_of_two_processes_only_one_downloads(server, folder):
    # The first answer takes long enough for the second process to come.
    server.faults["/v1/vit.pth"] = [Silence(len(CONTENT), 1.0)]
    program = "import sys; from transferscope.transport.cache import cached_file;"
    program += "print(cached_file(sys.argv[1], sys.argv[2]))"
    command = [sys.executable, "-c", program, f"{server.url}/v1/vit.pth", SHA256]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(said) == 1
    assert len(server.requests) == 1


def test_a_note_of_another_user_is_not_trusted(folder):
    if os.geteuid():
        pytest.skip("only root can give a file to another user")
    sha256 = hashlib.sha256(b"right").hexdigest()
    url = "https://host/w.pth"
    path = cached_path(url, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"right")
    cached_file(url, sha256)
    (mark,) = folder.glob(".*.verified")
    text = mark.read_text()
    path.write_bytes(b"wrong")
    status = path.stat()
    mine = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    mark.write_text(" ".join([text.split()[0], *map(str, mine)]))
    os.chown(mark, 65534, 65534)
    with pytest.raises(UserError, match="checksum"):
        cached_file(url, sha256)


def test_a_date_that_was_set_back_is_noticed(folder):
    sha256 = hashlib.sha256(b"right").hexdigest()
    url = "https://host/w.pth"
    path = cached_path(url, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"right")
    cached_file(url, sha256)
    before = path.stat()
    path.write_bytes(b"wrong")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match="checksum"):
        cached_file(url, sha256)

import hashlib
import threading
import time

import pytest

from file_server import Cut, Damage, FileServer, Status, serving
from transferscope.transport import batch
from transferscope.transport.batch import FAILED, RECORD, as_problems, download_all
from transferscope.transport.checksums import Checksum
from transferscope.transport.download import Download
from transferscope.transport.patience import Patience

HASTY = Patience(attempts=3, backoff_s=0.01, longest_wait_s=0.02)
CONTENT = {f"/{number}.tif": bytes([number]) * 50_000 for number in range(8)}


@pytest.fixture
def server():
    with serving(FileServer(dict(CONTENT))) as running:
        yield running


@pytest.fixture
def wanted(server, tmp_path):
    return [
        Download(
            f"{server.url}{path}",
            tmp_path / path[1:],
            len(content),
            Checksum("md5", hashlib.md5(content).hexdigest()),
        )
        for path, content in CONTENT.items()
    ]


def fetch(wanted, folder):
    return download_all(wanted, folder, "test", 3, HASTY)


def test_all_files_arrive_through_faults(server, wanted, tmp_path):
    server.faults = {"/1.tif": [Status(500)] * 2, "/2.tif": [Cut(40_000)], "/3.tif": [Status(429)]}
    assert fetch(wanted, tmp_path) == []
    assert {f"/{p.name}": p.read_bytes() for p in tmp_path.glob("*.tif")} == CONTENT
    assert any(path == "/2.tif" and asked for path, asked in server.requests)


def test_all_failures_are_listed_and_the_second_run_fetches_only_those(server, wanted, tmp_path):
    server.faults = {"/1.tif": [Status(404)], "/4.tif": [Damage()], "/6.tif": [Status(500)] * 3}
    failures = fetch(wanted, tmp_path)
    assert [failure.path.name for failure in failures] == ["1.tif", "4.tif", "6.tif"]
    for failure, reason in zip(failures, ("404", "checksum", "500"), strict=True):
        assert reason in failure.reason
    lines = (tmp_path / FAILED).read_text().splitlines()
    assert len(lines) == 4
    assert lines[1].split("\t")[:2] == ["1.tif", f"{server.url}/1.tif"]
    text = "\n".join(map(str, as_problems(failures, tmp_path)))
    assert f"{server.url}/6.tif" in text
    server.requests.clear()
    assert fetch(wanted, tmp_path) == []
    assert sorted(server.paths()) == ["/1.tif", "/4.tif", "/6.tif"]
    assert not (tmp_path / FAILED).exists()


def test_a_third_run_asks_for_nothing(server, wanted, tmp_path):
    fetch(wanted, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.tif")}
    record = (tmp_path / RECORD).read_text()
    server.requests.clear()
    assert fetch(wanted, tmp_path) == []
    assert server.requests == []
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.tif")} == before
    assert (tmp_path / RECORD).read_text() == record


def test_truncated_changed_and_unrecorded_files(server, wanted, tmp_path):
    fetch(wanted, tmp_path)
    server.requests.clear()
    (tmp_path / "0.tif").write_bytes(b"short")
    server.files["/5.tif"] = b"\xff" * 50_000
    new = Checksum("md5", hashlib.md5(server.files["/5.tif"]).hexdigest())
    wanted[5] = Download(wanted[5].url, wanted[5].path, 50_000, new)
    assert fetch(wanted, tmp_path) == []
    assert sorted(server.paths()) == ["/0.tif", "/5.tif"]
    (tmp_path / RECORD).unlink()
    (tmp_path / "7.tif").write_bytes(b"\0" * 50_000)
    server.requests.clear()
    assert fetch(wanted, tmp_path) == []
    assert server.paths() == ["/7.tif"]


def test_without_sizes_and_sums_what_is_there_is_kept(server, wanted, tmp_path):
    plain = [Download(one.url, one.path) for one in wanted]
    assert fetch(plain, tmp_path) == []
    server.requests.clear()
    (tmp_path / "3.tif").write_bytes(b"short")
    assert fetch(plain, tmp_path) == []
    assert server.paths() == ["/3.tif"]


def test_a_host_that_is_out_of_reach_is_not_asked_for_every_file(tmp_path):
    wanted = [Download(f"http://no-such-host.invalid/{n}", tmp_path / str(n)) for n in range(50)]
    failures = fetch(wanted, tmp_path)
    assert len(failures) == 50
    assert "not tried" in failures[-1].reason
    problems = as_problems(failures, tmp_path)
    assert "30 more" in problems[-1].what
    assert len((tmp_path / FAILED).read_text().splitlines()) == 51


def test_few_connections_at_a_time(server, wanted, tmp_path, monkeypatch):
    running, most = set(), []

    def slow(*_):
        running.add(threading.get_ident())
        most.append(len(running))
        time.sleep(0.02)
        running.discard(threading.get_ident())

    monkeypatch.setattr(batch, "download", slow)
    monkeypatch.setattr(batch.Record, "note", lambda *_: None)
    assert fetch(wanted, tmp_path) == []
    assert 1 < max(most) <= 3

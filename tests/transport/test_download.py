import gzip
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from file_server import LAST_MODIFIED, Cut, Damage, FileServer, Silence, Status, serving
from transferscope.transport.checksums import Checksum
from transferscope.transport.download import (
    Download,
    DownloadError,
    NoConnectionError,
    download,
)
from transferscope.transport.patience import Patience

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())
HASTY = Patience(attempts=4, backoff_s=0.01, longest_wait_s=0.02, read_timeout_s=0.4)


@pytest.fixture
def server():
    with serving(FileServer({"/a.bin": CONTENT})) as running:
        yield running


@pytest.fixture
def wanted(server, tmp_path):
    return Download(f"{server.url}/a.bin", tmp_path / "to" / "a.bin")


def leftovers(wanted):
    return sorted(path.name for path in wanted.path.parent.iterdir())


def test_a_file_arrives_whole_and_dated_as_the_server_dates_it(wanted):
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert wanted.path.stat().st_mtime == LAST_MODIFIED
    assert leftovers(wanted) == ["a.bin"]


def test_bytes_are_counted_once(server, wanted):
    server.faults["/a.bin"] = [Cut(200_000)]
    counted = []
    download(wanted, HASTY, advance=counted.append)
    assert sum(counted) == len(CONTENT)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_fault_of_the_server_is_tried_again(server, wanted, status):
    server.faults["/a.bin"] = [Status(status), Status(status)]
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_fault_of_the_client_is_not(server, wanted, status):
    server.faults["/a.bin"] = [Status(status)] * 9
    with pytest.raises(DownloadError, match=str(status)):
        download(wanted, HASTY)
    assert len(server.requests) == 1
    assert leftovers(wanted) == []


def test_a_server_that_stays_broken_is_given_up(server, wanted):
    server.faults["/a.bin"] = [Status(500)] * 9
    with pytest.raises(DownloadError, match=r"500.*4 tries"):
        download(wanted, HASTY)
    assert len(server.requests) == HASTY.attempts


def test_a_cut_connection_goes_on_where_it_was_cut(server, wanted):
    server.faults["/a.bin"] = [Cut(200_000)]
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT
    (_, first), (_, second) = server.requests
    assert first is None
    start = int(second.removeprefix("bytes=").removesuffix("-"))
    assert 150_000 < start <= 200_000
    assert server.bytes_sent < len(CONTENT) + 50_001


def test_tries_that_bring_something_do_not_count(server, wanted):
    server.faults["/a.bin"] = [Cut(40_000)] * 6
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert len(server.requests) == 7 > HASTY.attempts


def test_a_silent_server_is_asked_again(server, wanted):
    server.faults["/a.bin"] = [Silence(100_000, 1.5)]
    began = time.monotonic()
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert time.monotonic() - began < 1.4
    assert server.requests[1][1] is not None


def test_a_server_without_ranges_sends_all_of_it_again(server, wanted):
    server.ranges = False
    server.faults["/a.bin"] = [Cut(200_000)]
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT


def test_without_a_version_nothing_is_resumed_unless_a_checksum_tells(server, wanted):
    server.etags = False
    server.faults["/a.bin"] = [Cut(200_000)]
    download(wanted, HASTY)
    assert [asked for _, asked in server.requests] == [None, None]
    wanted.path.unlink()
    server.faults["/a.bin"] = [Cut(200_000)]
    download(Download(wanted.url, wanted.path, checksum=SHA256), HASTY)
    assert server.requests[-1][1] is not None
    assert wanted.path.read_bytes() == CONTENT


def test_a_file_that_changed_in_between_is_begun_anew(server, wanted):
    server.faults["/a.bin"] = [Cut(200_000), *[Status(500)] * 9]
    with pytest.raises(DownloadError):
        download(wanted, HASTY)
    assert ".a.bin.part" in leftovers(wanted)
    server.faults.clear()
    server.files["/a.bin"] = CONTENT[::-1]
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT[::-1]
    assert server.requests[-1][1] is not None


def test_a_wrong_checksum_is_refused_and_nothing_stays(server, wanted):
    server.faults["/a.bin"] = [Damage()]
    with pytest.raises(DownloadError, match="checksum is sha256:"):
        download(Download(wanted.url, wanted.path, checksum=SHA256), HASTY)
    assert leftovers(wanted) == []
    assert len(server.requests) == 1


def test_damage_in_a_resumed_file_is_repaired_by_fetching_all_of_it(server, wanted):
    server.faults["/a.bin"] = [Cut(200_000), Damage()]
    download(Download(wanted.url, wanted.path, checksum=SHA256), HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert [bool(asked) for _, asked in server.requests] == [False, True, False]


def test_another_size_than_expected_is_refused_before_it_is_fetched(server, wanted):
    with pytest.raises(DownloadError, match="300000 bytes, not the 7"):
        download(Download(wanted.url, wanted.path, size=7), HASTY)
    assert not wanted.path.exists()


def test_a_part_with_every_byte_needs_no_more(server, wanted):
    wanted.path.parent.mkdir()
    (wanted.path.parent / ".a.bin.part").write_bytes(CONTENT)
    download(Download(wanted.url, wanted.path, checksum=SHA256), HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert server.bytes_sent == 0


def test_a_part_that_is_too_long_is_thrown_away(server, wanted):
    wanted.path.parent.mkdir()
    (wanted.path.parent / ".a.bin.part").write_bytes(CONTENT + b"more")
    download(Download(wanted.url, wanted.path, checksum=SHA256), HASTY)
    assert wanted.path.read_bytes() == CONTENT


def test_an_empty_file_is_a_file(server, wanted):
    server.files["/a.bin"] = b""
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == b""


def test_a_packed_file_is_unpacked(server, wanted):
    server.files["/a.bin"] = gzip.compress(CONTENT)
    download(Download(wanted.url, wanted.path, unpack=True), HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert leftovers(wanted) == ["a.bin"]


DAMAGED = bytearray(gzip.compress(CONTENT))
DAMAGED[5_000:5_100] = bytes(100)


@pytest.mark.parametrize("content", [CONTENT, gzip.compress(CONTENT)[:-9], bytes(DAMAGED)])
def test_what_is_no_whole_gzip_is_refused(server, wanted, content):
    server.files["/a.bin"] = content
    with pytest.raises(DownloadError, match="gzip"):
        download(Download(wanted.url, wanted.path, unpack=True), HASTY)
    assert leftovers(wanted) == []


def test_an_unknown_host_is_not_tried_twice(tmp_path):
    with pytest.raises(NoConnectionError, match="no-such-host"):
        download(Download("http://no-such-host.invalid/a", tmp_path / "a"), Patience())


def test_a_closed_port_is_given_up_soon(tmp_path, server):
    with pytest.raises(NoConnectionError, match="refuses"):
        download(Download("http://127.0.0.1:9/a", tmp_path / "a"), HASTY)


def test_a_server_without_tls_is_not_trusted(server, wanted):
    url = wanted.url.replace("http:", "https:")
    with pytest.raises(DownloadError, match=r"no trusted connection: .*SSL") as caught:
        download(Download(url, wanted.path), HASTY)
    assert not caught.value.passing


@pytest.mark.parametrize(
    ("proxy", "said"),
    [("http://127.0.0.1:9", "Connection refused"), (None, "Tunnel connection failed: 501")],
)
def test_a_proxy_that_fails_is_named(server, wanted, monkeypatch, proxy, said):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", proxy or server.url)
    with pytest.raises(NoConnectionError, match=f"the proxy: .*{said}"):
        download(Download("https://example.org/a", wanted.path), HASTY)


def test_a_killed_download_goes_on(server, wanted):
    server.faults["/a.bin"] = [Silence(200_000, 5)]
    program = (
        "import sys; from pathlib import Path;"
        "from transferscope.transport.download import Download, download;"
        "download(Download(sys.argv[1], Path(sys.argv[2])))"
    )
    process = subprocess.Popen([sys.executable, "-c", program, wanted.url, str(wanted.path)])
    part = wanted.path.parent / ".a.bin.part"
    for _ in range(500):
        if part.exists() and part.stat().st_size > 150_000:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not wanted.path.exists()
    before = server.bytes_sent
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT
    assert server.requests[-1][1] is not None
    assert server.bytes_sent - before < 150_001


def waits(monkeypatch):
    """Return the list that takes every wait, in s, in place of waiting."""
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def test_waits_grow_stay_bounded_and_differ(server, wanted, monkeypatch):
    waited = waits(monkeypatch)
    server.faults["/a.bin"] = [Status(503)] * 7
    download(wanted, Patience(attempts=8, backoff_s=1, longest_wait_s=30))
    assert waited[0] <= 1
    for wait, least in zip(waited[1:5], (2, 4, 8, 16), strict=True):
        assert least <= wait <= least + 1
    assert waited[5:] == [30, 30]
    assert len({wait % 1 for wait in waited[1:5]}) > 1


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [("7", 7, 7), ("9999", 30, 30), ("9" * 5000, 0, 30), ("soon", 0, 1), ("-5", 0, 1)],
)
def test_a_wait_is_as_long_as_the_server_asks_within_bounds(
    server, wanted, monkeypatch, retry_after, least, most
):
    waited = waits(monkeypatch)
    server.faults["/a.bin"] = [Status(429, retry_after)]
    download(wanted, Patience(backoff_s=1, longest_wait_s=30))
    (wait,) = waited
    assert least <= wait <= most
    assert wanted.path.read_bytes() == CONTENT


def test_a_server_may_name_the_time(server, wanted, monkeypatch):
    waited = waits(monkeypatch)
    in_ten = format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)
    server.faults["/a.bin"] = [Status(503, in_ten)]
    download(wanted, Patience())
    assert 8 < waited[0] <= 10


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126))
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} [\d:]{8} GMT", fullmatch=True)
)
@example("Wed, 99 Foo 99999 25:61:61 GMT")
def test_whatever_a_server_asks_for_the_wait_is_bounded(retry_after):
    content = {"/a.bin": b"a"}
    faults = {"/a.bin": [Status(503, retry_after)]}
    with (
        serving(FileServer(content, faults=faults)) as server,
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        waited = waits(patch)
        path = Path(folder) / "a.bin"
        download(Download(f"{server.url}/a.bin", path), Patience(longest_wait_s=30))
        assert path.read_bytes() == b"a"
    assert all(0 <= wait <= 30 for wait in waited)


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 99 Foo 99999 25:61:61 GMT"])
def test_an_odd_date_is_not_taken_over(server, wanted, monkeypatch, date):
    monkeypatch.setattr("file_server.formatdate", lambda *_, **__: date)
    download(wanted, HASTY)
    assert wanted.path.read_bytes() == CONTENT

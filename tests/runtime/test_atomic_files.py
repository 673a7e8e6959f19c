"""Files are whole, old or absent, and killed processes leave none behind for good."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError

from transferscope.errors import UserError
from transferscope.runtime.atomic_files import (
    disk_problem,
    remove_durably,
    replacing,
    write_atomically,
    writing,
)

WRITER = """
import sys, time
from pathlib import Path
from transferscope.runtime.atomic_files import replacing

with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """Return a process that is in the middle of writing `table.csv`."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "table.csv")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def write(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "table.csv"
    write(path, "old")
    with pytest.raises(TypeError):
        write(path, 1)
    assert path.read_text() == "old"
    assert names(path.parent) == ["table.csv"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_a_killed_process_has_left_is_removed(tmp_path, writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(names(tmp_path)) == 1
    write(tmp_path / "table.csv", "whole")
    assert names(tmp_path) == ["table.csv"]


def test_what_another_process_is_writing_is_left_alone(tmp_path, writer):
    write(tmp_path / "table.csv", "whole")
    assert len(names(tmp_path)) == 2
    assert (tmp_path / "table.csv").read_text() == "whole"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files have no names here")
def test_a_file_is_on_disk_before_it_gets_its_name_and_its_name_before_it_is_done(
    tmp_path, monkeypatch
):
    path, synced = tmp_path / "new/deep/table.csv", []
    sync = os.fsync

    def noted(handle):
        place = Path(f"/proc/self/fd/{handle}").resolve()
        name = "temporary" if place.suffix == ".new" else str(place.relative_to(tmp_path))
        synced.append((name, path.exists()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    write(path, "text")
    # The names of new folders as well.
    folders = [(".", False), ("new", False)]
    assert synced == [*folders, ("temporary", False), ("new/deep", True)]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files have no names here")
def test_folders_that_cannot_be_synced_are_no_error(tmp_path, monkeypatch):
    def sync(handle):
        if Path(f"/proc/self/fd/{handle}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", sync)
    remove_durably(tmp_path / "absent")
    (tmp_path / "there").write_text("text")
    remove_durably(tmp_path / "there")
    with pytest.raises(UserError, match="the disk reports an error"):
        write(tmp_path / "table.csv", "text")
    assert names(tmp_path) == []


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077, 0o027])
def test_the_umask_is_respected(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a.txt", "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_weights_on_a_full_disk_are_told_as_any_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the disk is full") as caught, writing(tmp_path / "w.pt"):
        torch.save({"weight": torch.zeros(1_000_000)}, "/dev/full")
    assert "w.pt" in str(caught.value)
    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    with pytest.raises(UserError, match="the disk is full"), writing(tmp_path / "w.safetensors"):
        raise SafetensorError(text)
    with pytest.raises(RuntimeError, match="shapes"), writing(tmp_path / "w.pt"):
        raise RuntimeError("shapes do not fit")


def test_a_disk_without_inodes_is_told_from_a_full_one(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "a"))
    assert "the disk is full" in str(disk_problem(full))
    room = os.statvfs(tmp_path)
    values = {"f_files": 10, "f_favail": 0, "f_bavail": room.f_bavail or 1}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**values))
    assert "inodes" in str(disk_problem(full))

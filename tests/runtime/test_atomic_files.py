"""Files are whole, old or absent, and killed processes leave none behind for good."""

import signal
import subprocess
import sys

import pytest

from transferscope.runtime.atomic_files import replacing

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

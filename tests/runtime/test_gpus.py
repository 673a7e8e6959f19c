"""Jobs on one machine get distinct devices. The devices are pretended: only their names matter."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from transferscope.runtime import devices
from transferscope.runtime.gpus import allot

PROGRAM = """
import sys, time
from pathlib import Path
from transferscope.runtime.gpus import allot
taken = allot(sys.argv[2:], Path(sys.argv[1]))
print(taken.index, flush=True)
time.sleep(600)
"""
GPUS = ["GPU-aa", "GPU-bb"]


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a process which takes a device and keeps it."""
    processes = []

    def run(*identities):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), *identities]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def index_of(process):
    return int(process.stdout.readline())


def test_jobs_get_distinct_devices_and_a_killed_one_gives_its_own_back(start):
    first, second = start(*GPUS), start(*GPUS)
    assert {index_of(first), index_of(second)} == {0, 1}
    third = start(*GPUS)
    time.sleep(1.5)
    assert third.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = index_of(third)
    fourth = start(*GPUS)
    second.kill()
    assert {before, index_of(fourth)} == {0, 1}


def test_a_device_is_known_by_its_identity_and_not_by_its_place(tmp_path):
    taken = allot(GPUS, tmp_path, {})
    other = allot(GPUS[::-1], tmp_path, {})
    assert (taken.index, other.index) == (0, 0)
    taken.release()
    assert allot(GPUS[:1], tmp_path, {}).index == 0


def test_the_one_device_of_a_scheduler_is_used_as_it_is(tmp_path):
    assigned = {"SLURM_JOB_GPUS": "3"}
    held = allot(GPUS[:1], tmp_path, {})
    assert allot(GPUS[:1], tmp_path, assigned).lock is None
    # Jobs of one allocation with several devices still have to share them out.
    assert allot(GPUS, tmp_path, assigned).index == 1
    held.release()


def test_a_job_takes_a_gpu_that_is_free(tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(devices, "visible_gpus", lambda: GPUS)
    monkeypatch.setattr("transferscope.runtime.gpus.default_folder", lambda: tmp_path)
    first, second = devices.allotted_device("auto"), devices.allotted_device("cuda")
    assert [first.device.index, second.device.index] == chosen == [0, 1]
    first.release()
    assert devices.allotted_device("auto").device.index == 0
    assert devices.allotted_device("cpu").device.type == "cpu"


def test_no_device_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no device"):
        allot([], tmp_path)

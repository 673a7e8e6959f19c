"""DINO's centre is one of the whole batch, however many processes share it."""

import os
import subprocess
import sys
from pathlib import Path

import torch

TESTS = Path(__file__).resolve().parents[1]


def result_of(folder, processes):
    output = folder / f"{processes}.result"
    program = [sys.executable, str(Path(__file__).with_name("dino_program.py"))]
    path = f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [*program, str(output), str(processes)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return torch.load(output, weights_only=True)


def test_two_processes_have_the_gradients_and_the_centre_of_one(tmp_path):
    one, two = (result_of(tmp_path, processes) for processes in (1, 2))
    assert len(one["gradients"]) == len(two["gradients"]) > 10
    for wanted, found in zip(one["gradients"], two["gradients"], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-4, atol=1e-5)
    [(name, centre)] = one["buffers"].items()
    assert centre.abs().max() > 0
    torch.testing.assert_close(two["buffers"][name], centre, rtol=1e-3, atol=1e-6)

"""Killing a running study at random moments, and comparing what it ends with."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from factories import environment, kill_group, run_command

# Times are in them: records of how a run went, not results.
# Checksums go with times of the raw files, which two copies do not share.
RECORDS = ("logs/", "benchmarks/", "figures/training/", "checksums/", ".run")
COSTS = re.compile(b"<!-- costs -->.*<!-- end of costs -->", re.DOTALL)
HISTORY = (".history.parquet", ".history.timing.parquet")
VICTIMS = ("snakemake", "worker", "everything")
STEP = "transferscope"


@dataclass(frozen=True)
class Kill:
    """One kill: how many seconds after the start of its run, of what, and what a worker did."""

    seconds: float
    victim: str
    jobs: tuple[str, ...]


def results_of(root: Path) -> dict[str, bytes]:
    """Return the content of every result of a study by its name, without records of the run."""
    files = {
        path.relative_to(root).as_posix(): path
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    return {
        name: COSTS.sub(b"", path.read_bytes()) if name == "report.html" else path.read_bytes()
        for name, path in files.items()
        if not name.startswith(RECORDS)
        and not name.endswith((*HISTORY, ".lock", ".claims"))
        # The log of a tile store: times of the raw files, and measures to the last bit, which
        # depends on where in memory a field came to lie; the quality table rounds them.
        and path.parent.suffix != ".blocks"
    }


def assert_equal_results(found: Path, expected: Path) -> None:
    """Assert that two folders of studies hold the same results, byte by byte."""
    ours, theirs = results_of(found), results_of(expected)
    assert not set(ours) ^ set(theirs)
    different = [name for name in ours if ours[name] != theirs[name]]
    assert not different, different


def run_killed(
    command: Sequence[str], root: Path, *, kills: int, jobs: int, longest: float, seed: int
) -> list[Kill]:
    """Run a study to its end, killing a part of it at random moments all the way.

    After each kill, the study is unlocked and the same command is given again, as a user does.

    Parameters
    ----------
    command, root
        The command of Snakemake, and the folder of the study's results, in `results` where it runs.
    kills
        How often to kill: once in each of so many equal parts of the study.
    jobs
        Number of jobs of the whole study, by their logs.
    longest
        Longest time in seconds from the beginning of such a part, or of the run, to the kill.
    seed
        Of the moments and victims.
    """
    chance, done = random.Random(seed), []
    folder, process = root.parents[1], None
    for number in range(kills):
        victim, seconds = VICTIMS[number % len(VICTIMS)], chance.uniform(0, longest)
        # A run that has lost a worker does what is left to do, and ends with an error: once.
        for _ in range(2):
            if process is None or process.poll() is not None:
                process = _start(command, folder)
            kill = _kill_after(process, root, number * jobs // kills, seconds, victim)
            if kill or process.returncode == 0:
                break
        if kill is None:
            break
        done.append(kill)
    if process is not None:
        process.wait()
    run_command([*command, "--unlock"], folder)
    run_command(command, folder)
    return done


def _start(command: Sequence[str], folder: Path) -> "subprocess.Popen[str]":
    run_command([*command, "--unlock"], folder)
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def count_logs(root: Path) -> int:
    """Return how many jobs of a study have begun."""
    return sum(path.is_file() for path in (root / "logs").rglob("*.log"))


def _kill_after(
    process: "subprocess.Popen[str]", root: Path, jobs: int, seconds: float, victim: str
) -> Kill | None:
    """Kill once a job runs, so many have begun and the seconds are over; None where all ended."""
    begin, start = None, time.monotonic()
    while process.poll() is None:
        workers = _workers(process)
        if begin is None and workers and count_logs(root) >= jobs:
            begin = time.monotonic()
        if begin and time.monotonic() - begin >= seconds and (workers or victim != "worker"):
            running = tuple(sorted(set(filter(None, map(_job, workers)))))
            _kill(process, victim, workers)
            return Kill(time.monotonic() - start, victim, running)
        time.sleep(0.05)
    return None


def _kill(process: "subprocess.Popen[str]", victim: str, workers: list[psutil.Process]) -> None:
    if victim == "worker":
        with suppress(psutil.NoSuchProcess):
            workers[0].send_signal(signal.SIGKILL)
        return
    if victim == "everything":
        kill_group(process)
    else:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def _workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if _job(child)]
    except psutil.Error:
        return []


def _job(process: psutil.Process) -> str:
    """Return the log of a job, relative to the study, which tells the job; empty: it is none."""
    try:
        line = process.cmdline()
    except psutil.Error:
        return ""
    if not any(Path(part).name == STEP for part in line[:2]) or "--log" not in line:
        return ""
    return line[line.index("--log") + 1].partition("/logs/")[2].removesuffix(".log")

"""A process on standby, from which the jobs of a run are forked with their modules loaded.

Loading torch, timm and scikit-learn takes a short job longer than its work. A run of many jobs on
one machine therefore keeps one process that has loaded them. A command that Snakemake starts hands
over its arguments, working folder, environment and streams, waits, forwards signals, and ends as
the forked process ends. The forked process ends when the command that asked for it is killed.

Commands whose environment differs in more than what is set per job, or whose interpreter or package
is another one, run by themselves, as they do where there is no such process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

# Where the process on standby listens, for the commands of the run.
ADDRESS = "TRANSFERSCOPE_STANDBY"
OFF = "off"
# What Snakemake and the shell set for each job; the forked process applies it.
THREADS = (
    *("OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
OF_A_JOB = {*THREADS, "TMPDIR", "TMP", "TEMPDIR", "TEMP", "PWD", "OLDPWD", "SHLVL", "_"}
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
# Loading the modules costs as much as this number of short jobs wins.
WORTH_JOBS = 6
# Paths of sockets may have about a hundred characters.
LONGEST_PATH = 100


def identity() -> dict[str, Any]:
    """Return what must be equal of a command and of the process on standby."""
    environment = {key: value for key, value in os.environ.items() if key not in OF_A_JOB}
    environment.pop(ADDRESS, None)
    package = str(Path(__file__).resolve().parent)
    return {"python": [sys.version, sys.prefix], "package": package, "environment": environment}


def start(jobs: int) -> subprocess.Popen[bytes] | None:
    """Start the process for a run that has jobs to do on this machine; it ends with this one.

    Parameters
    ----------
    jobs
        Number of jobs to do.

    Returns
    -------
    Popen or None
        None where it is switched off (`TRANSFERSCOPE_STANDBY=off`), hardly worth it, or not
        possible: on systems other than Linux, libraries may not survive a fork.
    """
    if jobs < WORTH_JOBS or os.environ.get(ADDRESS) == OFF or not sys.platform.startswith("linux"):
        return None
    try:
        folder = Path(tempfile.mkdtemp(prefix="transferscope-"))
    except OSError:
        # Jobs that need a temporary folder say so.
        return None
    address = str(folder / "standby")
    if len(address) > LONGEST_PATH:
        folder.rmdir()
        return None
    process = subprocess.Popen(
        # -P: nothing of the working folder is taken for a module.
        [sys.executable, "-P", "-m", "transferscope.commands.standby_server", address],
        # At the end of this process, however it ends, the other one reads the end of this pipe.
        stdin=subprocess.PIPE,
        # A module that cannot be loaded is told by the jobs that need it.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # One thread, so that nothing but this one runs when it forks.
        env={**os.environ, **dict.fromkeys(THREADS, "1")},
        # Keys pressed on the terminal are for the commands, which forward them.
        start_new_session=True,
    )
    os.environ[ADDRESS] = address
    return process


def hand_over(arguments: list[str]) -> None:
    """Let the process on standby run this command, and end as it ends; return if it does not.

    Parameters
    ----------
    arguments
        `sys.argv`.
    """
    address = os.environ.get(ADDRESS)
    if address is None or address == OFF:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(address)
            _ask(connection, arguments)
            lines = connection.makefile("r")
            answer = lines.readline().split()
        except OSError:
            # Still loading, or gone.
            return
        if not answer:
            return
        _forward_signals(int(answer[0]))
        ended = lines.readline()
    if not ended:
        print("transferscope: the process on standby was killed; run again", file=sys.stderr)
        sys.exit(1)
    _end_as(int(ended))


def _ask(connection: socket.socket, arguments: list[str]) -> None:
    job = {key: value for key, value in os.environ.items() if key in OF_A_JOB}
    umask = os.umask(0)
    os.umask(umask)
    request = {
        **identity(),
        "job": job,
        "arguments": arguments,
        "folder": str(Path.cwd()),
        "umask": umask,
    }
    text = json.dumps(request).encode()
    socket.send_fds(connection, [len(text).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(text)


def _forward_signals(process: int) -> None:
    def forward(number: int, _: FrameType | None) -> None:
        os.kill(process, number)

    for number in FORWARDED:
        # What a parent ignores (nohup) stays ignored.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)


def _end_as(code: int) -> None:
    """End as another process has ended: by an exit code, or if negative, by a signal."""
    if code >= 0:
        sys.exit(code)
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)


def limited(environment: Mapping[str, str]) -> int:
    """Return the number of threads that a job's environment allows, 1 where it says nothing."""
    given = environment.get(THREADS[0], "")
    return int(given) if given.isdecimal() and int(given) else 1

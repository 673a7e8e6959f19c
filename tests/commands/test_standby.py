"""Commands that a process on standby runs end as they would by themselves."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from transferscope.commands import standby
from transferscope.runtime.locks import exclusive

COMMAND = [sys.executable, "-c", "from transferscope.commands.entry import main; main()"]
PATIENCE_S = 60


def wait_until(condition):
    """Wait until something holds; fail if it never does."""
    end = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def ready():
    """Return a process on standby that is ready, with the environment of its run."""
    with pytest.MonkeyPatch.context() as patch:
        # Forgotten afterwards.
        patch.setenv(standby.ADDRESS, "")
        patch.delenv(standby.ADDRESS)
        process = standby.start(standby.WORTH_JOBS)
        environment = dict(os.environ)
    wait_until(Path(environment[standby.ADDRESS]).exists)
    return process, environment


@pytest.fixture(scope="module")
def started():
    process, environment = ready()
    yield process, environment
    process.stdin.close()
    process.wait(PATIENCE_S)
    assert not Path(environment[standby.ADDRESS]).parent.exists()


@pytest.fixture
def forked(started):
    """Return a function that returns the processes that are forked now."""
    return lambda: psutil.Process(started[0].pid).children()


def begin(environment, folder, *arguments, **added):
    """Begin a command of a run."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env={**environment, "OMP_NUM_THREADS": "1", **added},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def waiting(environment, folder, **added):
    """Return a command that waits for a lock, once it does."""
    (folder / "out").mkdir(exist_ok=True)
    command = begin(environment, folder, "--log", "log.txt", "schemas", "--output", "out", **added)
    assert "an earlier run" in command.stderr.readline()
    return command


@pytest.fixture
def lock(tmp_path):
    """Hold the lock that a command waits for."""
    with exclusive(tmp_path / ".log.txt.lock", "a test"):
        yield


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["study", "check", "nothing.yaml"],
        ["schemas", "--output", "new"],
        ["schemas", "--output", "nowhere/\udcff"],
        ["unknown"],
        [],
    ],
)
def test_a_command_ends_as_by_itself(started, tmp_path, arguments):
    ends = []
    for address in (started[1][standby.ADDRESS], standby.OFF):
        folder = tmp_path / str(len(ends))
        folder.mkdir()
        command = begin(started[1], folder, *arguments, **{standby.ADDRESS: address})
        texts = command.communicate(timeout=PATIENCE_S)
        files = sorted(path.relative_to(folder) for path in folder.rglob("*"))
        modes = [oct((folder / name).stat().st_mode) for name in files]
        ends.append((command.returncode, texts, files, modes))
    assert ends[0] == ends[1]


def test_a_killed_command_takes_its_process_along(started, forked, tmp_path, lock):
    command = waiting(started[1], tmp_path)
    [process] = wait_until(forked)
    command.kill()
    command.communicate()
    process.wait(PATIENCE_S)
    wait_until(lambda: not forked())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_process(started, forked, tmp_path, lock, number):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("the tests ignore this signal, and so does what they start")
    command, alone = (
        waiting(started[1], tmp_path, **{standby.ADDRESS: address})
        for address in (started[1][standby.ADDRESS], standby.OFF)
    )
    wait_until(forked)
    for each in (command, alone):
        each.send_signal(number)
        each.communicate(timeout=PATIENCE_S)
    assert command.returncode == alone.returncode != 0
    wait_until(lambda: not forked())


@pytest.mark.parametrize("added", [{"SOME": "thing"}, {standby.ADDRESS: "/nowhere/standby"}])
def test_a_command_of_another_environment_runs_by_itself(started, forked, tmp_path, lock, added):
    command = waiting(started[1], tmp_path, **added)
    assert not forked()
    command.kill()
    command.communicate()


def test_what_runs_goes_on_when_the_run_has_ended(tmp_path):
    process, environment = ready()
    with exclusive(tmp_path / ".log.txt.lock", "a test"):
        command = waiting(environment, tmp_path)
        process.stdin.close()
        wait_until(lambda: psutil.Process(process.pid).children())
        assert process.poll() is None
    command.communicate(timeout=PATIENCE_S)
    assert command.returncode == 0
    assert list((tmp_path / "out").iterdir())
    process.wait(PATIENCE_S)


LOADING = """
import importlib, os, torch
def asked(*_, **__):
    raise AssertionError("a GPU is asked for")
torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = asked
torch._C._cuda_init = torch._C._cuda_getDeviceCount = asked
from transferscope.commands.standby_server import MODULES
for module in MODULES:
    importlib.import_module(module)
tasks = os.listdir("/proc/self/task")
threads = [open(f"/proc/self/task/{task}/comm").read().strip() for task in tasks]
print(len(threads) - threads.count("jemalloc_bg_thd"))
"""


def test_loading_asks_for_no_gpu_and_starts_no_thread():
    one = {**os.environ, **dict.fromkeys(standby.THREADS, "1")}
    done = subprocess.run(
        [sys.executable, "-c", LOADING], env=one, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_forked_process_can_be_inspected_and_spawns_workers(tmp_path):
    """As torch's compiler looks for the module of each frame."""
    (tmp_path / "main.py").write_text(
        "import inspect, multiprocessing, sys\n"
        "from transferscope.commands.standby_server import forget_main_module\n"
        "forget_main_module()\n"
        "inspect.getframeinfo(sys._getframe())\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "    print(pool.apply(abs, (-3,)))\n"
    )
    command = [sys.executable, "-P", "-m", "main"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("3\n", "")


def test_few_jobs_are_not_worth_it(monkeypatch):
    monkeypatch.delenv(standby.ADDRESS, raising=False)
    assert standby.start(standby.WORTH_JOBS - 1) is None
    monkeypatch.setenv(standby.ADDRESS, standby.OFF)
    assert standby.start(1000) is None


@pytest.mark.parametrize("name", ["missing", "long" * 30])
def test_without_a_place_to_listen_jobs_run_by_themselves(monkeypatch, tmp_path, name):
    monkeypatch.delenv(standby.ADDRESS, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    if name != "missing":
        (tmp_path / name).mkdir()
    assert standby.start(standby.WORTH_JOBS) is None
    assert standby.ADDRESS not in os.environ
    assert not list(tmp_path.glob("*/*"))

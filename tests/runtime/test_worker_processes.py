"""Worker processes end with the step that started them."""

import os
import signal
import subprocess
import sys

import psutil

from transferscope.runtime.worker_processes import process_pool

STEP = """
import os, time
from transferscope.runtime.worker_processes import process_pool

if __name__ == "__main__":
    with process_pool(2) as pool:
        list(pool.map(abs, range(8)))
        print(os.getpid(), flush=True)
        time.sleep(60)
"""


def test_the_work_is_done_elsewhere():
    with process_pool(1) as pool:
        assert pool.submit(os.getpid).result() != os.getpid()


def test_no_worker_outlives_a_step_that_is_killed(tmp_path):
    script = tmp_path / "step.py"
    script.write_text(STEP)
    step = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert step.stdout is not None
    step.stdout.readline()
    workers = psutil.Process(step.pid).children(recursive=True)
    assert len(workers) >= 2
    step.send_signal(signal.SIGKILL)
    step.wait()
    step.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []

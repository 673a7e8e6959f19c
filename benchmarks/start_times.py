"""Notes when commands begin, and what they load; put on the path of a run as `sitecustomize`.

Each line: what, the log of the job (the process on standby: `STANDBY`), seconds. `start` is when
the process of a command began and `main` when its command line did, in itself or in the process
forked for it, both in seconds since the machine began; `import` is what one import statement took.
"""

from __future__ import annotations

import builtins
import functools
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

NOTES = "TRANSFERSCOPE_BENCH_NOTES"
STANDBY = "standby"
APP, EMBEDDER = "transferscope.commands.app", "transferscope.backbones.network_embedder"
# Of others, each of which is a look-up of what is loaded, there are many.
LEAST_S = 2e-4


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_start() -> float:
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def note(what: str, seconds: float) -> None:
    line = f"{what}\t{_job()}\t{seconds:.6f}\n".encode()
    file = os.open(os.environ[NOTES], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


def _job() -> str:
    words = getattr(sys, "argv", sys.orig_argv)
    words = words if "--log" in words else sys.orig_argv
    if "--log" in words:
        return words[words.index("--log") + 1]
    return STANDBY if "transferscope.commands.standby_server" in words else ""


def _noted_first(owner: Any, name: str, what: str) -> None:
    """Note when a function ends for the first time; of `main`, when it begins."""
    plain = getattr(owner, name)

    @functools.wraps(plain)
    def noted(*arguments: Any, **named: Any) -> Any:
        if what == "main":
            note(what, now())
            return plain(*arguments, **named)
        result = plain(*arguments, **named)
        if not done:
            done.append(what)
            note(what, now())
        return result

    done: list[str] = []
    setattr(owner, name, noted)


def _watch() -> None:
    plain = builtins.__import__
    inside = threading.local()
    wanted = {APP: (None, "main", "main"), EMBEDDER: ("NetworkEmbedder", "_batch", "image")}

    def noted(name: str, *arguments: Any, **named: Any) -> Any:
        outermost = not getattr(inside, "any", False)
        inside.any = True
        begin = time.perf_counter()
        try:
            return plain(name, *arguments, **named)
        finally:
            seconds = time.perf_counter() - begin
            if outermost:
                inside.any = False
                if seconds > LEAST_S and threading.current_thread() is threading.main_thread():
                    note("import", seconds)
            for module in [one for one in wanted if one in sys.modules]:
                owner, function, what = wanted[module]
                found = vars(sys.modules[module])
                if owner is None and function in found:
                    _noted_first(sys.modules[module], function, what)
                    del wanted[module]
                elif owner is not None and owner in found:
                    _noted_first(found[owner], function, what)
                    del wanted[module]

    builtins.__import__ = noted


if NOTES in os.environ and _job():
    note("start", process_start())
    _watch()

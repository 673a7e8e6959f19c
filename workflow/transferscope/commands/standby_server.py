"""The process on standby: loads modules once, and forks a process for each command handed over.

It runs no job itself, has no thread but that of pyarrow's allocator, which expects forks, and never
asks for a GPU: a forked process could not use one then.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import multiprocessing
import os
import random
import select
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from transferscope.commands import app
from transferscope.commands.standby import ADDRESS, OF_A_JOB, identity, limited

FORK = multiprocessing.get_context("fork")
# What most jobs load, a job's own modules and what these need.
MODULES = (
    "transferscope.backbones.networks",
    "transferscope.compare.study",
    "transferscope.probes.halves",
    "transferscope.probes.heads",
    "transferscope.probes.knn",
    "transferscope.stores.embedding_store",
    "transferscope.tiles.tiling",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "scipy.stats",
    "threadpoolctl",
)
# A command sends its request at once; one that does not is no command.
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Request:
    """A command to run.

    Parameters
    ----------
    streams
        File descriptors of its standard streams.
    asked
        What it says of itself: `identity`, `job`, `arguments`, `folder`, `umask`.
    connection
        Ends when the command is killed.
    """

    streams: list[int]
    asked: Mapping[str, Any]
    connection: socket.socket

    @classmethod
    def read(cls, connection: socket.socket) -> Request:
        """Read a request.

        Raises
        ------
        OSError, ValueError
            If it is none.
        """
        connection.settimeout(PATIENCE_S)
        head, streams, _, _ = socket.recv_fds(connection, 8, 3)
        try:
            asked = json.loads(_read(connection, int.from_bytes(head, "big")))
        except (OSError, ValueError):
            cls(streams, {}, connection).close()
            raise
        connection.settimeout(None)
        return cls(streams, asked, connection)

    def is_of(self, own: Mapping[str, Any]) -> bool:
        """Say whether the command would run in this process as it would by itself."""
        return len(self.streams) == 3 and own.items() <= self.asked.items()

    def close(self) -> None:
        """Close its streams, in this process."""
        for stream in self.streams:
            os.close(stream)

    def become(self) -> None:
        """Make this process, just forked, what the command's own would be."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        self.close()
        _open_streams()
        for key in OF_A_JOB:
            os.environ.pop(key, None)
        os.environ.update(self.asked["job"])
        os.environ.pop(ADDRESS, None)
        tempfile.tempdir = None
        os.umask(self.asked["umask"])
        os.chdir(self.asked["folder"])
        sys.argv = self.asked["arguments"]
        forget_main_module()
        _seed()
        _limit_threads(limited(self.asked["job"]))
        threading.Thread(target=self._end_with_command, daemon=True).start()

    def _end_with_command(self) -> None:
        with contextlib.suppress(OSError):
            if self.connection.recv(1):
                return
        # As the command was killed, without a chance to tell.
        os.kill(os.getpid(), signal.SIGKILL)


def _read(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise ConnectionError("the request has no end")
        parts += part
    return bytes(parts)


def _open_streams() -> None:
    """Open the standard streams anew, as Python does when it starts."""
    for number, (name, mode, errors) in enumerate(
        [("stdin", "r", "strict"), ("stdout", "w", "strict"), ("stderr", "w", "backslashreplace")]
    ):
        former = getattr(sys, f"__{name}__")
        line_buffering = mode == "w" and (name == "stderr" or os.isatty(number))
        stream = io.TextIOWrapper(
            open(number, f"{mode}b", closefd=False),  # noqa: SIM115
            encoding=former.encoding if former else "utf-8",
            errors=errors,
            line_buffering=line_buffering,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def forget_main_module() -> None:
    """Let the main module be without a file: workers that this process spawns do not need it.

    One whose file is None is something that `inspect` fails at, and with it torch's compiler.
    """
    main_module = sys.modules["__main__"]
    main_module.__spec__ = None
    vars(main_module).pop("__file__", None)


def _seed() -> None:
    import numpy as np

    random.seed()
    np.random.seed()  # noqa: NPY002


def _limit_threads(threads: int) -> None:
    """Give the libraries the threads of the job, which they read of the environment when loaded."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(threads)
    torch.set_num_threads(threads)


class Standby:
    """Forks a process per request, and tells each command how its process has ended.

    Parameters
    ----------
    listener
        Where commands ask.
    own
        `identity` of this process.
    """

    def __init__(self, listener: socket.socket, own: Mapping[str, Any]) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, self._leave)
        self._listener = listener
        self._own = own
        self._commands: set[socket.socket] = set()
        self._left = False

    def serve(self) -> None:
        """Serve until the run has ended, and every forked process, too."""
        while not self._left or self._commands:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        try:
            request = Request.read(connection)
        except (OSError, ValueError):
            connection.close()
            return
        if not request.is_of(self._own):
            request.close()
            connection.close()
            return
        self._commands.add(connection)
        # It ends without freeing each object, which would copy the memory that is shared.
        process = FORK.Process(target=self._run, args=(request,))
        process.start()
        request.close()
        _tell(connection, process.pid)
        reap = partial(self._reap, process, connection)
        self._selector.register(process.sentinel, selectors.EVENT_READ, reap)

    def _run(self, request: Request) -> None:
        """Run a command, in a process of its own."""
        self._listener.close()
        for connection in self._commands - {request.connection}:
            connection.close()
        self._selector.close()
        request.become()
        app.main()

    def _reap(self, process: ForkProcess, connection: socket.socket) -> None:
        self._selector.unregister(process.sentinel)
        process.join()
        _tell(connection, process.exitcode)
        process.close()
        self._commands.remove(connection)
        connection.close()

    def _leave(self) -> None:
        """End with the run: standard input has ended."""
        self._selector.unregister(0)
        self._selector.unregister(self._listener)
        self._listener.close()
        self._left = True


def _tell(connection: socket.socket, number: int | None) -> None:
    # The command may have been killed.
    with contextlib.suppress(OSError):
        connection.sendall(f"{number}\n".encode())


@contextlib.contextmanager
def _listening(address: Path) -> Iterator[socket.socket]:
    """Listen at an address whose folder is gone afterwards."""
    # Commands find the address when they can be served.
    early = address.with_suffix(".early")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(early))
        listener.listen(128)
        early.rename(address)
        yield listener


def _load() -> bool:
    """Load the modules of most jobs; give up when the run has ended meanwhile."""
    for module in MODULES:
        if select.select([0], [], [], 0)[0]:
            return False
        importlib.import_module(module)
    # What is loaded stays: no collection in a forked process writes to its pages.
    gc.collect()
    gc.freeze()
    return True


def main() -> None:
    """Load modules and serve a run, at the address that is given."""
    address = Path(sys.argv[1])
    # Before libraries add to the environment.
    own = identity()
    try:
        if _load():
            with _listening(address) as listener:
                Standby(listener, own).serve()
    finally:
        shutil.rmtree(address.parent, ignore_errors=True)


if __name__ == "__main__":
    main()

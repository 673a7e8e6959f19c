"""Measure the speed of transferscope against the plain way, and write it into a page.

Every figure is a ratio within one run on one machine; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cosines
import decoders
import embedding
import growth
import heads
import memory
import neighbours
import one_pass
import starting
import store_read
import tile_read
import widths
from results import Part
from timing import OtherLoad

import cells
import finetuning
import training
from transferscope.runtime.allocator import keep_freed_memory

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
PARTS: dict[str, Callable[[Path], Part]] = {
    "embedding": embedding.run,
    "heads": heads.run,
    "neighbours": neighbours.run,
    "cosines": cosines.run,
    "widths": widths.run,
    "tiles": tile_read.run,
    "strategies": one_pass.run,
    "store": store_read.run,
    "training": training.run,
    "finetuning": finetuning.run,
    "decoders": decoders.run,
    "cells": cells.run,
    "memory": memory.run,
    "growth": growth.run,
    "starting": starting.run,
}
LIBRARIES = ("torch", "timm", "zarr", "scikit-learn", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="page that holds the tables")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS), help="parts")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    keep_freed_memory()  # as every command does
    warnings.filterwarnings("ignore", category=UserWarning)
    page = arguments.output.read_text(encoding="utf-8")
    blocks = _blocks(page) | {"machine": machine()}
    for number, name in enumerate(arguments.only, start=1):
        print(f"[{number}/{len(arguments.only)}] {name} ...", file=sys.stderr, flush=True)
        start = time.perf_counter()
        blocks[name] = _measured(PARTS[name])
        seconds = time.perf_counter() - start
        print(f"[{number}/{len(arguments.only)}] {name}: {seconds:.0f} s", file=sys.stderr)
        arguments.output.write_text(_with_blocks(page, blocks), encoding="utf-8")


def _measured(part: Callable[[Path], Part]) -> str:
    others = OtherLoad()
    with tempfile.TemporaryDirectory(prefix="transferscope-bench-") as folder:
        found = part(Path(folder))
    share = f"Other programs took {others.share():.0%} of the processor during this part."
    found.remark = f"{found.remark}\n{share}".strip()
    return found.markdown()


def machine() -> str:
    """Return a line about processor, memory and versions; no names of hosts or users."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"Measured on {processor()}, {cores} cores, without a GPU; "
        f"Python {platform.python_version()}, {versions}."
    )


def processor() -> str:
    """Return the processor's model and the number formats that it multiplies."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = named[1] if named else platform.machine()
    formats = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in text]
    return f"{name} ({', '.join(formats)})" if formats else name


def _blocks(page: str) -> dict[str, str]:
    """Return the parts that an earlier run left in the page."""
    inside = page.split(BEGIN)[1].split(END)[0]
    found = re.split(r"<!-- bench:part (\w+) -->\n", inside)[1:]
    return dict(zip(found[::2], (text.strip() for text in found[1::2]), strict=True))


def _with_blocks(page: str, blocks: dict[str, str]) -> str:
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    ordered = [name for name in ("machine", *PARTS) if name in blocks]
    parts = [f"<!-- bench:part {name} -->\n{blocks[name]}\n" for name in ordered]
    return f"{before}{BEGIN}\n" + "\n".join(parts) + f"{END}{after}"


if __name__ == "__main__":
    main()

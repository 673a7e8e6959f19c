"""Segmentation and single-cell tiles: fields and cells a second, and peak memory at N and 4 N.

The fields are a few simulated ones, turned and mirrored. A thousand fields of 1,024 px with 100,000
cells take long: set TRANSFERSCOPE_BENCH_FIELDS to measure more than the default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile
import yaml
from memory import LAUNCHER, UNITS_A_MIB
from results import Part, Table

from transferscope.simulate import simulate_dataset

FIELDS = int(os.environ.get("TRANSFERSCOPE_BENCH_FIELDS", "8"))
FACTOR = 4
SIDE = 1024
CROP = 96
SIMULATED = 4
TARGET_FIELDS = 1000
WORKERS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
CHANNELS = ["microtubules", "protein", "nucleus", "er"]
METHODS: dict[str, dict[str, Any]] = {
    "provided": {"method": "provided"},
    "watershed": {"method": "watershed", "cytoplasm": ["er", "microtubules"]},
}
USAGE = """
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_utime + usage.ru_stime)
"""


@dataclass(frozen=True)
class Found:
    """What one run took."""

    fields: int
    cells: int
    seconds: float
    busy: float
    peak: float


def run(folder: Path) -> Part:
    simulated = _simulated(folder / "simulated")
    rows = []
    for method in METHODS:
        runs = [
            _measured(folder / f"{method}{count}", method, simulated, count)
            for count in (FIELDS, FACTOR * FIELDS)
        ]
        rows += [_cells(method, found) for found in runs]
    header = ["segmentation", "fields", "cells", "fields/s", "cells/s", "cores busy", "peak MiB"]
    title = f"Single cells from fields of {len(CHANNELS)} x {SIDE} x {SIDE} px"
    remark = (
        f"{WORKERS} workers, cut to {CROP} px, masked, imports included; the fields "
        f"are {SIMULATED} simulated ones, turned and mirrored. Scaled up, {TARGET_FIELDS:,} fields "
        f"take {TARGET_FIELDS:,} / (fields/s) seconds."
    )
    return Part(title, tables=[Table(header, rows)], remark=remark)


def _cells(method: str, found: Found) -> list[str]:
    rates = [f"{found.fields / found.seconds:.1f}", f"{found.cells / found.seconds:,.0f}"]
    cores = f"{found.busy / found.seconds:.1f} of {WORKERS}"
    return [method, f"{found.fields:,}", f"{found.cells:,}", *rates, cores, f"{found.peak:.0f}"]


def _simulated(folder: Path) -> list[tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]]:
    sheet = simulate_dataset("hpa", folder, SIMULATED, 1, SIDE, workers=1, masks=True)
    table = pd.read_csv(sheet, sep="\t")
    columns = [f"path_{channel}" for channel in CHANNELS]
    return [
        (
            np.stack([tifffile.imread(folder / row[column]) for column in columns]),
            tifffile.imread(folder / row["mask"]),
        )
        for _, row in table.iterrows()
    ]


def _turned(simulated: list[Any], count: int) -> Iterator[tuple[Any, Any]]:
    for number in range(count):
        field, mask = simulated[number % len(simulated)]
        turn = number // len(simulated) % 8
        step = -1 if turn >= 4 else 1
        yield (
            np.rot90(field, turn % 4, axes=(1, 2))[:, :, ::step],
            np.rot90(mask, turn % 4)[:, ::step],
        )


def _measured(folder: Path, method: str, simulated: list[Any], count: int) -> Found:
    """Run the step in a process of its own."""
    folder.mkdir(parents=True)
    rows = []
    for number, (field, mask) in enumerate(_turned(simulated, count)):
        name = f"f{number:05d}"
        tifffile.imwrite(
            folder / f"{name}.tif", np.ascontiguousarray(field), photometric="minisblack"
        )
        tifffile.imwrite(folder / f"{name}_mask.tif", np.ascontiguousarray(mask))
        row = {"tile_id": name, "path": f"{name}.tif", "group": name, "labels": "a"}
        rows.append({**row, "mask": f"{name}_mask.tif"})
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    crop = {"size": CROP, "border_cells": "keep"}
    section = {"segmentation": METHODS[method], "crop": crop}
    card = {"name": "bench", "channels": CHANNELS, "labels": ["a", "b"], "pixel_size_um": 0.45}
    text = yaml.safe_dump({**card, "sheet": "samples.tsv", "cells": section, "duplicates": "warn"})
    (folder / "card.yaml").write_text(text, encoding="utf-8")
    outputs = {
        "manifest": "bench.json", "table": "bench.parquet", "quality": "quality.csv",
        "skipped": "skipped.tsv", "plausibility": "plausibility.csv", "overlays": "overlays",
    }  # fmt: skip
    options = [part for key, name in outputs.items() for part in (f"--{key}", str(folder / name))]
    step = [str(Path(sys.executable).parent / "transferscope"), "cells", "--workers", str(WORKERS)]
    step += ["--sheet", str(folder / "samples.tsv"), "--card", str(folder / "card.yaml"), *options]
    # The launcher's last line ends it: what is measured beside memory comes before.
    launcher = LAUNCHER.replace("sys.exit(code)", f"{USAGE}sys.exit(code)")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", launcher, *step], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"transferscope cells failed:\n{done.stderr}")
    peak, busy = (float(value) for value in done.stdout.split()[-2:])
    made = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
    return Found(count, int(made["shape"][0]), seconds, busy, peak / UNITS_A_MIB)

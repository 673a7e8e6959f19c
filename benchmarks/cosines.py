"""Counting the cosines of all pairs of entities, against the product of the whole matrix."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from memory import LAUNCHER, UNITS_A_MIB
from results import Part, Row
from threadpoolctl import threadpool_limits
from timing import Timed, in_turns, ratio

from transferscope.relations.cosines import count_cosines, unit_vectors
from transferscope.runtime.arrays import Floats, Floats32

ENTITIES = {10_000: 4.0, 20_000: 8.0}  # and the GiB that they may take
WIDTH = 384
ROUNDS = 3
# As the workflow relates: one core a job.
THREADS = 1
COUNT = """
import sys
import numpy as np
from transferscope.relations.cosines import count_cosines, unit_vectors
vectors = np.random.default_rng(0).normal(size=(int(sys.argv[1]), int(sys.argv[2])))
count_cosines(unit_vectors(vectors))
"""


def run(folder: Path) -> Part:
    with threadpool_limits(THREADS):
        rows = [row for n_entities in ENTITIES for row in _rows(n_entities)]
    remark = (
        "A ratio of 0.5 is half the rate of the plain product, which neither sorts nor counts. "
        "Memory is the peak of a process of its own, libraries included."
    )
    return Part(f"Cosines of all pairs of entities ({WIDTH} features; one core)", rows, [], remark)


def _rows(n_entities: int) -> list[Row]:
    vectors = np.random.default_rng(0).normal(size=(n_entities, WIDTH))
    units = unit_vectors(vectors)
    single = units.astype(np.float32)
    timed = in_turns(
        {"plain": lambda: _shape(single @ single.T), "ours": lambda: _n_pairs(units)}, ROUNDS
    )
    plain, ours = timed["plain"], timed["ours"]
    whole = n_entities**2 * 4 / 2**30
    peak = _peak(n_entities)
    return [
        _seconds(n_entities, plain, ours),
        Row(
            f"{n_entities:,} entities: peak memory",
            f"{whole:.2f} GiB for its result alone",
            f"{peak:.2f} GiB",
            peak,
            f"<= {ENTITIES[n_entities]:g}",
            "ratio: GiB",
        ),
    ]


def _seconds(n_entities: int, plain: Timed, ours: Timed) -> Row:
    seconds = f"{plain.median:.2f} s", f"{ours.median:.2f} s"
    note = "float32 product of the whole matrix; float64, each pair once, counted"
    return Row(f"{n_entities:,} entities", *seconds, ratio(plain, ours), ">= 0.5", note)


def _shape(product: Floats32) -> tuple[int, ...]:
    return product.shape


def _n_pairs(units: Floats) -> int:
    return count_cosines(units).n_pairs


def _peak(n_entities: int) -> float:
    """Return the peak memory in GiB of a process that counts the cosines."""
    program = [sys.executable, "-c", COUNT, str(n_entities), str(WIDTH)]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *program], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / UNITS_A_MIB / 1024

"""Heads and k-NN on a GPU against the same job on one core, which is what a study gives them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from results import Part, Table
from synthetic import folds_and_seeds, one_division, probe_data
from threadpoolctl import threadpool_limits

from transferscope.config.probes import HeadSettings, KnnSettings
from transferscope.probes.evaluation import ProbeData, ResultTables
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn

ROWS, WIDTH, QUERIES = 20_000, 768, 2_000
FOLDS, SEEDS, EPOCHS = 5, 2, 4
# Heads that the core trains, to stay in time: a head does not depend on those trained with it.
HEADS_ON_CORE = 1
SEPARATION = 3.0
KS = [1, 5, 10, 20, 50]
START = """
import time, torch
start = time.perf_counter()
values = torch.ones(8, 8, device="{device}")
float((values @ values).sum())
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Job:
    """A probe, and the data of the GPU and of the core: of heads, the core has fewer."""

    name: str
    run: Callable[..., ResultTables]
    data: ProbeData
    n_on_core: int

    def seconds(self, n_divisions: int, device: torch.device | None) -> tuple[float, pd.DataFrame]:
        """Return the seconds of the job per division, and its predictions."""
        data = replace(self.data, divisions=self.data.divisions[:n_divisions])
        start = time.perf_counter()
        found = self.run(data, device=device).predictions()
        return (time.perf_counter() - start) / n_divisions, found


def probes(device: str, share: float = 1.0) -> Part:
    """Return the table of one device; fewer rows for a trial."""
    place = torch.device(device)
    rows = [_row(job, place) for job in _jobs(share)]
    header = ["probe", "divisions", "one core, s each", "device, s each", "ratio"]
    header += ["same predictions", "largest difference of a score"]
    title = f"Heads and k-NN: {round(ROWS * share):,} rows of {WIDTH}"
    remark = (
        f"The core trains {HEADS_ON_CORE} of the heads, in bf16 where it multiplies that; a GPU "
        f"trains all in fp32. A process starts to use the device in {_start(device):.1f} s, which "
        "counts once per job."
    )
    return Part(title, tables=[Table(header, rows)], remark=remark)


def _jobs(share: float) -> list[Job]:
    n_rows, n_queries = round(ROWS * share), round(QUERIES * share)
    divisions = folds_and_seeds(n_rows, FOLDS, SEEDS)
    of_heads = probe_data(n_rows, WIDTH, "multi-label", SEPARATION, divisions)
    searched = [one_division(n_rows - n_queries, n_queries)]
    of_knn = probe_data(n_rows, WIDTH, "single-label", SEPARATION, searched)
    jobs = []
    for kind in ("linear", "mlp", "logreg"):
        settings = HeadSettings(kinds=[kind], epochs=EPOCHS, patience=EPOCHS)
        run = partial(run_heads, settings=settings)
        jobs.append(Job(kind, run, of_heads, HEADS_ON_CORE))
    for metric in ("cosine", "euclidean"):
        run = partial(run_knn, settings=KnnSettings(k=KS, metrics=[metric]))
        jobs.append(Job(f"k-NN, {metric}", run, of_knn, 1))
    return jobs


def _row(job: Job, device: torch.device) -> list[str]:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        core, wanted = job.seconds(job.n_on_core, None)
    job.seconds(1, device)  # the first one loads kernels, and chooses algorithms
    n_divisions = len(job.data.divisions)
    seconds, found = job.seconds(n_divisions, device)
    print(f"{job.name}: {core / seconds:.1f} times a core", file=sys.stderr, flush=True)
    same, difference = _agreement(wanted, found)
    counts = str(n_divisions), f"{core:.2f}", f"{seconds:.3f}", f"{core / seconds:.1f}"
    return [job.name, *counts, f"{same:.2%}", f"{difference:.1g}"]


def _agreement(wanted: pd.DataFrame, found: pd.DataFrame) -> tuple[float, float]:
    """Return the share of equal decisions, and by how much scores differ at most."""
    keys = ["head", "k", "scheme", "seed", "fold", "fraction", "row"]
    one, other = (table.set_index(keys).sort_index() for table in (wanted, found))
    other = other.loc[one.index]
    kinds = ([c for c in one if c.startswith(name)] for name in ("predicted_", "score_"))
    decisions, scores = ([table[columns].to_numpy() for table in (one, other)] for columns in kinds)
    difference = np.abs(np.subtract(*(values.astype(np.float64) for values in scores)))
    return float(np.equal(*decisions).mean()), float(difference.max())


def _start(device: str) -> float:
    """Return the seconds that a fresh process, which has loaded torch, takes to use a device."""
    code = START.format(device=device)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)

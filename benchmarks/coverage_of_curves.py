"""Simulate curves of a score over a size, and count how often their bands hold the truth.

Truths are drawn from the fitted families (a power law with a limit, a flat line, growth with the
logarithm of the size) and from one outside them (a logistic step), with noise of random size. A
band counts by the share of its places that hold the truth, where it is drawn: between the sizes
for a fitted curve, at the sizes for joined means.

    python benchmarks/coverage_of_curves.py --curves 1000 --output curves.json
    python benchmarks/coverage_of_curves.py --table curves.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.compare.curve_fits import JOINED, TWICE, fit_curve
from transferscope.compare.repeats import Repeats
from transferscope.runtime.arrays import Floats
from transferscope.runtime.seeds import derive_rng

SIZES, SEEDS = (5, 6, 8), (2, 3, 5)
SPAN = 100.0
TRUTHS = ("power law", "flat", "log-linear", "logistic")
DRAWS, PLACES = 200, 9
# Of a band, as the issue of coverage is put: two standard errors of the simulation on either side.
LOWEST, HIGHEST = 0.90, 0.97
# Lets a truth that a band touches count as inside.
TOUCH = 1e-12

Truth = Callable[[Any], Floats]


def truth_of(kind: str, rng: np.random.Generator) -> Truth:
    """Return a score as a function of the place from 0 (smallest) to 1 (largest), log scale."""
    base, rise = rng.uniform(0.3, 0.6), rng.uniform(0.02, 0.35)
    if kind == "flat":
        return lambda u: base + 0 * np.asarray(u, dtype=float)
    if kind == "log-linear":
        return lambda u: base + rise * np.asarray(u, dtype=float)
    if kind == "power law":
        decay = np.log(SPAN) * rng.uniform(0.15, 1.0)
        return lambda u: base + rise * np.expm1(-decay * np.asarray(u)) / np.expm1(-decay)
    middle, slope = rng.uniform(0.2, 0.8), rng.uniform(5, 12)
    return lambda u: base + rise / (1 + np.exp(-slope * (np.asarray(u) - middle)))


def simulate(kind: str, n_sizes: int, n_seeds: int, n_curves: int) -> dict[str, Any]:
    """Return the coverage of the bands, and of what twice the largest size would add.

    Parameters
    ----------
    kind
        One of `TRUTHS`.
    n_sizes, n_seeds
        Sizes, and trainings at each.
    n_curves
        How many curves to simulate.
    """
    rng = derive_rng(0, "curves", kind, n_sizes, n_seeds)
    places = np.linspace(0, 1, n_sizes)
    sizes = np.repeat(SPAN**places, n_seeds)
    shares, gains, families = [], [], Counter[str]()
    for _ in range(n_curves):
        truth, noise = truth_of(kind, rng), rng.uniform(0.004, 0.02)
        scores = np.repeat(truth(places), n_seeds) + noise * rng.standard_normal(len(sizes))
        curve = fit_curve(Repeats.of(sizes, scores), rng, draws=DRAWS, n_places=PLACES)
        true = truth(np.log(curve.places) / np.log(SPAN))
        inside = (curve.low <= true + TOUCH) & (true <= curve.high + TOUCH)
        shares.append(float(inside.mean()))
        families[curve.family] += 1
        if curve.gain is not None:
            gain = float(truth(1 + math.log(TWICE) / math.log(SPAN)) - truth(1.0))
            gains.append(curve.gain[1] - TOUCH <= gain <= curve.gain[2] + TOUCH)
    return {
        "truth": kind,
        "n_sizes": n_sizes,
        "n_seeds": n_seeds,
        "n_curves": n_curves,
        "coverage": float(np.mean(shares)),
        "error": float(np.std(shares) / math.sqrt(n_curves)),
        "gain_coverage": float(np.mean(gains)) if gains else math.nan,
        "n_gains": len(gains),
        "joined": families[JOINED] / n_curves,
    }


def table_of(found: list[dict[str, Any]]) -> str:
    """Return the table for the documentation, as Markdown."""
    lines = [
        "| truth | sizes | trainings each | in the band | no curve drawn | gain in its interval |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        lines.append(
            f"| {row['truth']} | {row['n_sizes']} | {row['n_seeds']} | {row['coverage']:.1%} | "
            f"{row['joined']:.0%} | {row['gain_coverage']:.1%} of {row['n_gains']:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the simulation, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--curves", type=int, default=1000, help="Curves per truth and design.")
    parser.add_argument("--output", type=Path, help="Results to write (.json).")
    parser.add_argument("--table", type=Path, help="Results to print as a table.")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(table_of(json.loads(arguments.table.read_text())))
        return
    found = []
    for kind, n_sizes, n_seeds in product(TRUTHS, SIZES, SEEDS):
        found.append(simulate(kind, n_sizes, n_seeds, arguments.curves))
        print(json.dumps(found[-1]), flush=True)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

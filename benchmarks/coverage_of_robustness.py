"""Simulate studies with batches, and count how often intervals and nulls of the index are wrong.

Only embeddings are made up: classes, an identity of each group, and an affine change of every
feature in each batch (a shift, and a gain) of eight sizes. The index, its interval, its null and
the corrections are those of the package. Classes and batches of a design are the same in all of
its studies, groups and tiles are new ones: what an interval should hold is the mean over all of
them.

    python benchmarks/coverage_of_robustness.py --studies 500 --output robustness.csv
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import spearmanr

from transferscope.correction.methods import correct
from transferscope.correction.rows import Rows
from transferscope.probes.robustness import (
    Neighbourhood,
    common_to_two,
    index,
    shuffled_indices,
    strata_of,
    without_each_group,
)
from transferscope.probes.robustness_errors import interval, variance
from transferscope.runtime.arrays import Bools, Floats, Integers

WIDTH, K, CONFIDENCE = 16, 10, 0.95
CLASS_SIZE, GROUP_SIZE, GAIN = 0.7, 0.5, 0.4
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6)
CONTROLS_PER_BATCH = 8
CORRECTIONS = ("center", "standardise")
# Strengths at which corrections are tried, and the least loss of which a share is recovered.
PLANTED, LOST = (0.0, 0.2, 0.6, 1.0), 0.01


@dataclass(frozen=True)
class Design:
    """A kind of study.

    Parameters
    ----------
    name
        Its name.
    classes, batches, groups, tiles
        Numbers of classes, batches and groups, and tiles per group.
    of_group
        Batches that a group is on; its tiles are spread over them.
    uneven
        Whether classes, and batches of a class, are of unequal numbers of groups.
    """

    name: str
    classes: int
    batches: int
    groups: int
    tiles: int
    of_group: int = 1
    uneven: bool = False

    def layout(self) -> tuple[Integers, Integers, Integers]:
        """Return class, batch and group of each tile, int64 [N] each; the same in all studies."""
        group = np.arange(self.groups)
        if self.uneven:
            rng = np.random.default_rng(7)
            shares = np.arange(1, self.classes + 1) / sum(range(1, self.classes + 1))
            label = np.repeat(np.arange(self.classes), np.round(shares * self.groups).astype(int))
            label = np.resize(label, self.groups)
            tilt = rng.dirichlet(np.full(self.batches, 2.0), size=self.classes)
            first = np.array([rng.choice(self.batches, p=tilt[each]) for each in label])
        else:
            label, first = group % self.classes, (group // self.classes) % self.batches
        tile = np.arange(self.groups * self.tiles)
        own = tile // self.tiles
        step = self.batches // self.of_group
        batch = (first[own] + step * (tile % self.tiles % self.of_group)) % self.batches
        return label[own], batch, own


DESIGNS = (
    Design("balanced, as many classes as batches", 4, 4, 60, 3),
    Design("each group on all batches", 4, 4, 60, 4, of_group=4),
    Design("few groups", 3, 2, 24, 5),
    Design("each group on two of twelve plates", 6, 12, 240, 2, of_group=2),
    Design("uneven classes and batches", 4, 3, 90, 3, uneven=True),
)


@dataclass(frozen=True)
class Simulated:
    """One simulated study.

    Parameters
    ----------
    embeddings
        Tiles, then controls, float64 [N + M, D].
    matrix
        Labels of the tiles, bool [N, C].
    batches, groups
        Of the tiles, int64 [N].
    rows
        Batches and controls of all rows.
    """

    embeddings: Floats
    matrix: Bools
    batches: Integers
    groups: Integers
    rows: Rows

    def hood(self, correction: str = "none") -> Neighbourhood:
        """Return the neighbours of the tiles, after a correction for batches."""
        values = correct(self.embeddings, self.rows, correction).embeddings  # type: ignore[arg-type]
        own = values[: len(self.groups)]
        return Neighbourhood.of(own, self.matrix, self.batches, self.groups, K)


def simulate(design: Design, strength: float, seed: int) -> Simulated:
    """Draw the groups and tiles of a study.

    Parameters
    ----------
    design
        The kind of study.
    strength
        Size of the shifts of batches, in units of the noise of a tile; gains grow with it.
    seed
        Of groups and tiles.
    """
    label, batch, group = design.layout()
    fixed = np.random.default_rng(1)
    centres = CLASS_SIZE * fixed.normal(size=(design.classes, WIDTH))
    shifts = fixed.normal(size=(design.batches, WIDTH))
    gains = fixed.normal(size=(design.batches, WIDTH))
    rng = np.random.default_rng([seed, design.groups])
    own = centres[label] + GROUP_SIZE * rng.normal(size=(design.groups, WIDTH))[group]
    controls = np.repeat(np.arange(design.batches), CONTROLS_PER_BATCH)
    own = np.concatenate([own, np.zeros((len(controls), WIDTH))])
    own += rng.normal(size=own.shape)
    batches = np.concatenate([batch, controls])
    values = own * np.exp(GAIN * strength * gains[batches]) + strength * shifts[batches]
    is_control = np.arange(len(values)) >= len(group)
    names = np.array([f"b{each:02d}" for each in batches], dtype=object)
    matrix = np.eye(design.classes, dtype=bool)[label]
    return Simulated(values, matrix, batch, group, Rows.of(names, is_control))


def measured(hood: Neighbourhood) -> tuple[float, Floats, float, float, float]:
    """Return index, index without each group, standard error, and interval."""
    value, replicates, strata = index(hood), without_each_group(hood), strata_of(hood)
    error = float(np.sqrt(variance(replicates, strata, common_to_two(hood))))
    n_strata = len(np.unique(strata))
    return value, replicates, error, *interval(value, error, len(strata), n_strata, CONFIDENCE)


def coverage(design: Design, seeds: Sequence[int]) -> pd.DataFrame:
    """Return, per strength, the true index, its spread, mean error and coverage of intervals."""
    rows = []
    for strength in STRENGTHS:
        found = [measured(simulate(design, strength, seed).hood()) for seed in seeds]
        truth = float(np.mean([each[0] for each in found]))
        values, errors, low, high = (np.array([each[n] for each in found]) for n in (0, 2, 3, 4))
        rows.append(
            {
                "design": design.name,
                "strength": strength,
                "index": truth,
                "sd": values.std(),
                "error": np.sqrt(np.mean(errors**2)),
                "covers": np.mean((low <= truth) & (truth <= high)),
            }
        )
    return pd.DataFrame(rows)


def falls(design: Design, seeds: Sequence[int]) -> float:
    """Return the least rank correlation of index and strength within one study, negated."""
    found = [
        spearmanr(STRENGTHS, [index(simulate(design, each, seed).hood()) for each in STRENGTHS])
        for seed in seeds
    ]
    return min(-float(each.statistic) for each in found)


def recovered(
    design: Design, strength: float, seeds: Sequence[int], permutations: int
) -> pd.DataFrame:
    """Return how often the batch is shown to matter, and what corrections recover.

    Parameters
    ----------
    design, strength, seeds
        As elsewhere; with strength 0 nothing is planted, and nothing can be recovered.
    permutations
        Of the null.
    """
    rows = []
    for seed in seeds:
        study = simulate(design, strength, seed)
        unchanged = index(simulate(design, 0.0, seed).hood())
        hood = study.hood()
        before = measured(hood)
        null = shuffled_indices(hood, permutations, np.random.default_rng(seed))
        p = (1 + int((null <= before[0]).sum())) / (1 + permutations)
        flagged = p <= 1 - CONFIDENCE
        for correction in CORRECTIONS:
            corrected = study.hood(correction)
            after = index(corrected)
            strata, gain = strata_of(corrected), after - before[0]
            change = without_each_group(corrected) - before[1]
            error = float(np.sqrt(variance(change, strata, np.zeros(0))))
            df = len(strata) - len(np.unique(strata))
            shown = flagged and gain > float(stdtrit(df, (1 + CONFIDENCE) / 2)) * error
            rows.append((correction, before[0], after, unchanged, gain, flagged, shown))
    columns = ["correction", "before", "after", "unchanged", "gain", "flagged", "shown"]
    table = pd.DataFrame(rows, columns=columns).groupby("correction", sort=False).mean()
    lost = (table["unchanged"] - table["before"]).where(lambda lost: lost > LOST)
    return table.assign(
        recovered=table["gain"] / lost, design=design.name, strength=strength
    ).reset_index()


def main() -> None:
    """Run all designs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--permutations", type=int, default=99)
    parser.add_argument("--design", type=int, help="Number of the only design to run.")
    parser.add_argument("--output", type=Path, default=Path("robustness.csv"))
    options = parser.parse_args()
    seeds = range(options.studies)
    chosen = DESIGNS if options.design is None else [DESIGNS[options.design]]
    parts = []
    for design in chosen:
        table = coverage(design, seeds)
        parts.append(table)
        print(table.round(3).to_string(), flush=True)
        print("least rank correlation", round(falls(design, seeds[:50]), 3), flush=True)
        for strength in PLANTED:
            some = seeds if strength == 0 else seeds[:100]
            found = recovered(design, strength, some, options.permutations)
            print(found.round(3).to_string(), flush=True)
        pd.concat(parts).to_csv(options.output, index=False)


if __name__ == "__main__":
    main()

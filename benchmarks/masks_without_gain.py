"""Simulate the scores of masks of studies in which no backbone is better, and count false gains.

Groups are difficult in the same way for all backbones, and each backbone has groups of its own that
are easy or hard; each training of a decoder (a seed and a fold) adds an error to all groups that it
tests. Three backbones, three fractions, 24 groups, three folds.

    python benchmarks/masks_without_gain.py --studies 100
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from transferscope.compare.masks import judge
from transferscope.config.results import CompareSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from segmented_tables import simulated_tables

# Seeds of the splits, and the standard deviation of a training.
DESIGNS = [(1, 0.03), (1, 0.08), (2, 0.01), (2, 0.05), (3, 0.08), (5, 0.03)]
SAME = (0.80, 0.82, 0.84)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--draws", type=int, default=200)
    chosen = parser.parse_args()
    print("seeds  sd of a training  studies with a gain  coverage of intervals")
    for n_seeds, training_sd in DESIGNS:
        found, covered = 0, []
        for seed in range(chosen.studies):
            tables = simulated_tables(
                dict.fromkeys("abc", SAME), seed=seed, n_seeds=n_seeds, training_sd=training_sd
            )
            gains = judge(*tables, CompareSettings(bootstrap=chosen.draws))[1]
            found += bool((gains["p_adjusted"] < 0.05).any())
            covered += list((gains["ci_low"] <= 0) & (gains["ci_high"] >= 0))
        share = f"{found} of {chosen.studies}"
        print(f"{n_seeds:5}  {training_sd:16.2f}  {share:>19}  {np.mean(covered):21.3f}")


if __name__ == "__main__":
    main()

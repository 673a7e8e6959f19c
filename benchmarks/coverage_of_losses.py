"""Simulate studies that test decoders of masks out of domain, and count what intervals hold.

Two backbones lose the same. Each training (a seed and a fold) is off by an error of its own, in
the other dataset by another one; groups there are others. Counted are intervals that hold the true
loss, intervals of the difference of the two losses that hold 0, and studies that show a difference
although there is none.

    python benchmarks/coverage_of_losses.py --studies 60
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from transferscope.compare.mask_shifts import shifts
from transferscope.config.results import CompareSettings
from transferscope.runtime.progress import progress_bar

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from segmented_tables import simulated_shift

# Seeds of the splits, standard deviation of a training, groups of the other dataset.
DESIGNS = [(1, 0.02, 15), (2, 0.02, 15), (2, 0.06, 15), (2, 0.02, 37), (5, 0.06, 15)]
LOSS = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--draws", type=int, default=200)
    chosen = parser.parse_args()
    settings = CompareSettings(bootstrap=chosen.draws)
    lines = ["seeds  sd of a training  groups there  losses held  differences held  shown"]
    with progress_bar("Studies", len(DESIGNS) * chosen.studies, "studies") as bar:
        for n_seeds, training_sd, n_elsewhere in DESIGNS:
            held: tuple[list[bool], list[bool]] = [], []
            shown = 0
            for seed in range(chosen.studies):
                design = {"n_seeds": n_seeds, "training_sd": training_sd}
                tables = simulated_shift(
                    {"a": LOSS, "b": LOSS}, seed=seed, n_elsewhere=n_elsewhere, **design
                )
                stores, pairs = shifts(*tables, settings)
                held[0].extend((stores["loss_low"] <= LOSS) & (stores["loss_high"] >= LOSS))
                held[1].extend((pairs["loss_low"] <= 0) & (pairs["loss_high"] >= 0))
                full = pairs["fraction"] == pairs["fraction"].max()
                shown += bool(((pairs["loss_low"] > 0) | (pairs["loss_high"] < 0))[full].any())
                bar.update()
            both = f"{np.mean(held[0]):11.3f}  {np.mean(held[1]):16.3f}"
            first = f"{n_seeds:5}  {training_sd:16.2f}  {n_elsewhere:12}  {both}"
            lines.append(f"{first}  {shown} of {chosen.studies}")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()

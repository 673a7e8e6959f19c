"""Tables of segmentation as its step writes them, from simulated scores."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from transferscope.probes.score_table import SCORE_COLUMNS
from transferscope.segmentation.table_names import (
    ALL_FOREGROUND,
    DICE,
    IMAGE_COLUMNS,
    JACCARD,
    VALIDATION_LOSS,
)

FRACTIONS = (0.25, 0.5, 1.0)
FOLDS, FLOOR, TILES = 3, 0.6, 2


def simulated_tables(
    means: Mapping[str, tuple[float, ...]],
    *,
    n_groups: int = 24,
    n_seeds: int = 3,
    seed: int = 0,
    groups_sd: float = 0.08,
    training_sd: float = 0.01,
    own_sd: float = 0.03,
    head: str = "conv",
    dataset: str = "glands",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return score and tile tables of backbones whose true Dice at each fraction is given.

    Groups are difficult in the same way for all; training sets, and groups for each backbone, add
    their own part.
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, groups_sd, n_groups)
    scores, images = [], []
    for backbone, true in means.items():
        own = rng.normal(0, own_sd, n_groups)
        for number in range(n_seeds):
            fold_of = rng.permutation(n_groups) % FOLDS
            for fraction, mean in zip(FRACTIONS, true, strict=True):
                trained = rng.normal(0, training_sd, FOLDS)
                for group in range(n_groups):
                    fold = int(fold_of[group])
                    expected = mean + difficulty[group] + own[group] + trained[fold]
                    named = {"head": head, "scheme": "group", "seed": number, "fold": fold}
                    named |= {"fraction": fraction, "group": f"g{group:02d}", "class": "gland"}
                    for tile in range(TILES):
                        value = float(np.clip(expected + rng.normal(0, 0.02), 0, 1))
                        row = TILES * group + tile
                        columns = {"row": row, "tile_id": f"t{row}", "backbone": backbone}
                        columns |= {DICE: value, JACCARD: value / (2 - value)}
                        images.append(named | columns)
                shared = {"backbone": backbone, "scheme": "group", "fraction": fraction}
                shared |= {"seed": number, "n_train_groups": round(fraction * n_groups * 2 / 3)}
                for fold in range(FOLDS):
                    at = shared | {"fold": fold}
                    floor = {"head": ALL_FOREGROUND, "metric": DICE, "value": FLOOR}
                    scores += [at | floor | {"class": name} for name in ("", "gland")]
                    loss = {"metric": VALIDATION_LOSS, "value": 1 - mean, "class": ""}
                    scores.append(at | {"head": head} | loss)
    both = {"dataset": dataset, "channels": "map"}
    told = pd.DataFrame(scores, columns=SCORE_COLUMNS).assign(**both, seen_in_training="no")
    tiles = pd.DataFrame(images, columns=[*IMAGE_COLUMNS, "backbone"]).assign(**both)
    return told, tiles


def simulated_shift(
    losses: Mapping[str, float],
    *,
    seed: int = 0,
    n_seeds: int = 3,
    n_elsewhere: int = 15,
    training_sd: float = 0.02,
    own_sd: float = 0.03,
    inside: tuple[float, ...] = (0.7, 0.75, 0.8),
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return score and tile tables, and tiles of another dataset, where so much is lost.

    Each training is off there by an error of its own; groups there are difficult in the same way
    for all backbones, and each backbone has some of its own.
    """
    scores, images = simulated_tables(
        dict.fromkeys(losses, inside),
        seed=seed,
        n_seeds=n_seeds,
        training_sd=training_sd,
        own_sd=own_sd,
    )
    rng = np.random.default_rng((seed, 7))
    difficulty = rng.normal(0, 0.08, n_elsewhere)
    own = {backbone: rng.normal(0, own_sd, n_elsewhere) for backbone in losses}
    rows = []
    for one in images.drop_duplicates(["backbone", "seed", "fold", "fraction"]).to_dict("records"):
        backbone = one["backbone"]
        mean = inside[FRACTIONS.index(one["fraction"])] - losses[backbone]
        mean += rng.normal(0, training_sd)
        for group in range(n_elsewhere):
            value = mean + difficulty[group] + own[backbone][group] + rng.normal(0, 0.02)
            named = {"tested_on": "other", "group": f"o{group}", "tile_id": f"o{group}"}
            found = {"row": group, DICE: float(np.clip(value, 0, 1)), "floor_dice": 0.4}
            rows.append(one | named | found)
    return scores, images, pd.DataFrame(rows)

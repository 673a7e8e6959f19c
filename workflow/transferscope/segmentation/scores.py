"""Scores of predicted masks: per tile and class, and per division as rows of the score table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from transferscope.config.jobs import Leakage
from transferscope.probes.evaluation import Division, division_columns
from transferscope.probes.metrics import mean_of_defined
from transferscope.probes.score_table import (
    SCORE_COLUMNS,
    SEEN_IN_TRAINING,
    SIZES,
    STORE,
    VALIDATION_SCORE,
)
from transferscope.runtime.arrays import Floats32, Labels, Mask, Texts, Values
from transferscope.segmentation.instance_metrics import InstanceScores, instance_scores
from transferscope.segmentation.masks import UNKNOWN
from transferscope.segmentation.semantic_metrics import (
    PixelCounts,
    count_pixels,
    dice_of_counts,
    jaccard_of_counts,
    mean_over_groups,
    pooled_dice,
    pooled_jaccard,
)
from transferscope.segmentation.table_names import (
    ALL_FOREGROUND,
    DICE,
    IMAGE_COLUMNS,
    JACCARD,
    OBJECT_COLUMNS,
    OBJECT_METRICS,
    POOLED_DICE,
    POOLED_JACCARD,
    TASK,
    TESTED_ON,
)


def predicted_classes(logits: Floats32) -> Values:
    """Return the class of each pixel, [H, W], of logits [K, H, W]; 0 is background."""
    is_one = len(logits) == 1
    return np.asarray(logits[0] > 0 if is_one else logits.argmax(axis=0), dtype=np.int64)


def tile_rows(
    predicted: Values, true: Values, classes: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Yield the scores of one tile, one row per class.

    Parameters
    ----------
    predicted
        Class of each pixel, [H, W].
    true
        The same, or `UNKNOWN`: such pixels count nowhere.
    classes
        Names of the classes 1, 2, ...
    """
    known = true != UNKNOWN
    for number, name in enumerate(classes, 1):
        is_true = true == number
        own = _counts((predicted == number) & known, is_true)
        floor = _counts(known, is_true)
        yield {
            "class": name,
            DICE: float(dice_of_counts(own)[0]),
            JACCARD: float(jaccard_of_counts(own)[0]),
            "floor_dice": float(dice_of_counts(floor)[0]),
            "floor_jaccard": float(jaccard_of_counts(floor)[0]),
            "overlap": int(own.overlap[0]),
            "predicted": int(own.predicted[0]),
            "true": int(own.true[0]),
            "known": int(known.sum()),
        }


def object_scores(predicted: Labels, true: Labels, known: Mask) -> dict[str, float]:
    """Return the scores of the single objects of one tile, columns `OBJECT_COLUMNS`.

    Parameters
    ----------
    predicted, true
        Number of each pixel's object, [H, W]; 0 outside.
    known
        Pixels of which the truth is known; the others count nowhere. Called one object, all of
        them are the floor.
    """
    found = instance_scores(np.where(known, predicted, 0), true)
    floor = instance_scores(known.astype(np.int32), true)
    values = {**_named(found), **{f"floor_{k}": v for k, v in _named(floor).items()}}
    return values | {"true_objects": found.n_true, "predicted_objects": found.n_predicted}


def _named(found: InstanceScores) -> dict[str, float]:
    named = {name: getattr(found, name) for name in ("pq", "dq", "sq", "aji", "aji_plus")}
    return named | {f"f1_{round(100 * iou)}": value for iou, value in found.f1.items()}


def _counts(predicted: Mask, true: Mask) -> PixelCounts:
    return count_pixels(predicted[None], true[None])


def image_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the table of the tiles' scores: `IMAGE_COLUMNS`, and of objects `OBJECT_COLUMNS`."""
    of_objects = OBJECT_COLUMNS if any(OBJECT_COLUMNS[0] in row for row in rows) else []
    table = pd.DataFrame(rows, columns=[*IMAGE_COLUMNS, *of_objects])
    texts = dict.fromkeys(["head", "scheme", "tile_id", "group", "class"], "str")
    numbers = ["seed", "fold", "row", "overlap", "predicted", "true", "known"]
    return table.astype({**texts, **dict.fromkeys(numbers, "int64")})


def elsewhere_table(rows: list[dict[str, Any]], identity: Mapping[str, str]) -> pd.DataFrame:
    """Return the table of the scores of other datasets' tiles.

    Columns: those of `STORE`, `TESTED_ON`, and those of `image_table`.
    """
    table = image_table(rows)
    table.insert(0, TESTED_ON, pd.Series([row[TESTED_ON] for row in rows], dtype="str"))
    for name in reversed(STORE):
        table.insert(0, name, pd.Series([identity[name]] * len(rows), dtype="str"))
    return table


def score_rows(
    images: pd.DataFrame,
    division: Division,
    head: str,
    training: Mapping[str, float],
    identity: Mapping[str, str],
    groups: Texts,
    leakage: Leakage,
) -> Iterator[dict[str, Any]]:
    """Yield the scores of one decoder on one division, and those of the floor.

    Parameters
    ----------
    images
        Its part of the table of tiles.
    division
        Its rows.
    head
        Name of the decoder.
    training
        `VALIDATION_LOSS` and `STEPS` of its training.
    identity
        Values of the columns `STORE`.
    groups
        Group of each row of the tile store.
    leakage
        What the backbone saw of the dataset.
    """
    numbers = (
        len(division.train),
        len(set(groups[division.train])),
        len(division.validation),
        len(division.test),
    )
    shared = {
        **identity,
        "task": TASK,
        "k": None,
        **division_columns(division),
        VALIDATION_SCORE: np.nan,
        **dict(zip(SIZES, numbers, strict=True)),
        SEEN_IN_TRAINING: leakage.seen_in_training,
    }
    found = [(head, *row) for row in _values(images, "")]
    found += [(ALL_FOREGROUND, *row) for row in _values(images, "floor_")]
    found += [(head, metric, "", value) for metric, value in training.items()]
    for name, metric, of_class, value in found:
        yield {**shared, "head": name, "metric": metric, "class": of_class, "value": value}


def _values(images: pd.DataFrame, prefix: str) -> Iterator[tuple[str, str, float]]:
    """Yield metric, class and value: of each class, and of the mean over the classes."""
    of_classes: dict[str, list[float]] = {}
    for name, part in images.groupby("class", sort=False):
        groups = part["group"].to_numpy()
        predicted = part["known"] if prefix else part["predicted"]
        overlap = part["true"] if prefix else part["overlap"]
        counts = PixelCounts(overlap.to_numpy(), predicted.to_numpy(), part["true"].to_numpy())
        values = {
            metric: mean_over_groups(part[f"{prefix}{metric}"].to_numpy(), groups)
            for metric in (DICE, JACCARD, *OBJECT_METRICS)
            if metric in part
        }
        values |= {POOLED_DICE: pooled_dice(counts), POOLED_JACCARD: pooled_jaccard(counts)}
        for metric, value in values.items():
            of_classes.setdefault(metric, []).append(value)
            yield metric, str(name), value
    for metric, each in of_classes.items():
        yield metric, "", float(mean_of_defined(np.array(each)))


def score_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the tidy table of scores, columns `SCORE_COLUMNS`."""
    table = pd.DataFrame(rows, columns=SCORE_COLUMNS)
    types = dict.fromkeys(SCORE_COLUMNS, "str") | {"k": "Int64"}
    types |= dict.fromkeys(["fold", "seed", *SIZES], "int64")
    return table.astype(types | dict.fromkeys(["fraction", "value", VALIDATION_SCORE], "float64"))

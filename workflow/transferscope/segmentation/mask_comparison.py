"""All metrics of pairs of masks, as a table with their means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd

from transferscope.cells.segmentation.provided import connected
from transferscope.probes.metrics import mean_of_defined
from transferscope.runtime.arrays import Pixels
from transferscope.segmentation.instance_metrics import (
    IOU_THRESHOLDS,
    InstanceScores,
    instance_scores,
)
from transferscope.segmentation.mask_files import MaskPair, read_pair
from transferscope.segmentation.semantic_metrics import (
    PixelCounts,
    boundary_f1,
    count_all_foreground,
    count_pixels,
    dice_of_counts,
    jaccard_of_counts,
    pooled_dice,
    pooled_jaccard,
)

Objects = Literal["auto", "numbers", "pieces", "none"]
IMAGE, MEAN, POOLED = "image", "mean", "pooled"
OF_PIXELS = ("dice", "dice_floor", "jaccard", "boundary_f1")
F1_COLUMNS = tuple(f"f1_{100 * threshold:.0f}" for threshold in IOU_THRESHOLDS)
OF_OBJECTS = ("aji", "aji_plus", "pq", "dq", "sq", *F1_COLUMNS)


@dataclass(frozen=True)
class MaskComparison:
    """The metrics of pairs of masks.

    Parameters
    ----------
    table
        A row per image, then `mean`, of the values that are defined, and `pooled`, of the pixels
        of all images together. Columns: `image`, metrics, `n_true` and `n_predicted` objects.
        `dice_floor` is the Dice coefficient of foreground everywhere.
    note
        Sentence on what was left out; empty: nothing.
    """

    table: pd.DataFrame
    note: str


@dataclass(frozen=True)
class _Scored:
    name: str
    pixels: PixelCounts
    floor: PixelCounts
    boundary_f1: float
    objects: InstanceScores | None


def compare_masks(
    pairs: Sequence[MaskPair],
    objects: Objects,
    tolerance_px: float,
    done: Callable[[], object] = lambda: None,
) -> MaskComparison:
    """Compute all metrics of pairs of masks.

    Parameters
    ----------
    pairs
        The files, which have passed `check_pairs`; at least one.
    objects
        `numbers`: the values are numbers of objects; `pieces`: of a mask that holds one value,
        the connected pieces are its objects; `none`: no metrics of objects; `auto`: `numbers`,
        or `none` where each of the true masks, or each of the predicted ones, holds one value.
    tolerance_px
        Of the boundary F1. Lines between objects that touch are boundaries, too, unless there are
        no metrics of objects.
    done
        Called after each pair.

    Raises
    ------
    UserError
        Where a file cannot be read as a mask.
    """
    note = _of_one_value(pairs) if objects == "auto" else ""
    if note:
        objects = "none"
    scored = []
    for pair in pairs:
        scored.append(_score(pair, objects, tolerance_px))
        done()
    return MaskComparison(_table(scored), note)


def _of_one_value(pairs: Sequence[MaskPair]) -> str:
    """Return why values are no numbers of objects; empty: they may be.

    Reads no further than to the first masks that hold several.
    """
    several = {"predicted": False, "true": False}
    for pair in pairs:
        for side, mask in zip(several, read_pair(pair), strict=True):
            several[side] |= not _has_one_value(mask)
        if all(several.values()):
            return ""
    sides = " and the ".join(side for side, found in several.items() if not found)
    return (
        f"no metrics of objects: the {sides} masks hold one value each. If it is the number of a "
        "single object, give --objects numbers; if each connected piece is an object, "
        "--objects pieces"
    )


def _has_one_value(mask: Pixels) -> bool:
    """Return whether no two values other than 0 are in a mask."""
    inside = mask[mask != 0]
    return not inside.size or bool(inside.min() == inside.max())


def _score(pair: MaskPair, objects: Objects, tolerance_px: float) -> _Scored:
    predicted, true = read_pair(pair)
    if objects == "none":
        predicted, true = predicted != 0, true != 0
    elif objects == "pieces":
        predicted, true = (
            connected(mask != 0) if _has_one_value(mask) else mask for mask in (predicted, true)
        )
    inside = true[None] != 0
    return _Scored(
        pair.name,
        count_pixels(predicted[None] != 0, inside),
        count_all_foreground(inside),
        float(boundary_f1(predicted[None], true[None], tolerance_px)[0]),
        None if objects == "none" else instance_scores(predicted, true),
    )


def _table(scored: Sequence[_Scored]) -> pd.DataFrame:
    pixels = _together(one.pixels for one in scored)
    floor = _together(one.floor for one in scored)
    table = pd.DataFrame(
        {
            IMAGE: [one.name for one in scored],
            "dice": dice_of_counts(pixels),
            "dice_floor": dice_of_counts(floor),
            "jaccard": jaccard_of_counts(pixels),
            "boundary_f1": [one.boundary_f1 for one in scored],
        }
    )
    of_objects = [_columns(one.objects) for one in scored if one.objects is not None]
    if of_objects:
        table = table.join(pd.DataFrame(of_objects))
    metrics = [name for name in (*OF_PIXELS, *OF_OBJECTS) if name in table]
    mean = {name: float(mean_of_defined(table[name].to_numpy(np.float64))) for name in metrics}
    pooled = {
        "dice": pooled_dice(pixels),
        "dice_floor": pooled_dice(floor),
        "jaccard": pooled_jaccard(pixels),
    }
    last = pd.DataFrame([{IMAGE: MEAN, **mean}, {IMAGE: POOLED, **pooled}])
    together = pd.concat([table, last], ignore_index=True)
    counts = {name: "Int64" for name in ("n_true", "n_predicted") if name in table}
    return together.astype(counts)


def _together(counts: Iterable[PixelCounts]) -> PixelCounts:
    parts = [(one.overlap, one.predicted, one.true) for one in counts]
    return PixelCounts(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _columns(scores: InstanceScores) -> dict[str, float]:
    """Return the scores of the objects of an image, by column."""
    values = asdict(scores)
    f1 = dict(zip(F1_COLUMNS, values.pop("f1").values(), strict=True))
    return {name: (values | f1)[name] for name in (*OF_OBJECTS, "n_true", "n_predicted")}

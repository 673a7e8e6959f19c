"""The cost of decoders of masks, in floating-point operations."""

from __future__ import annotations

from transferscope.config.probes import SplitSettings
from transferscope.config.segmentation import SCHEME, DecoderName, SegmentationSettings
from transferscope.costs.tuning import TRAINING_SHARE

# Operations per value of the maps in one forward pass: `linear` multiplies each with one weight;
# the first 3x3 convolution of `conv` has 64 features at twice the resolution; `unet` has fewer at
# four times the resolution, of narrower maps.
OPERATIONS: dict[DecoderName, int] = {"linear": 2, "conv": 2 * 9 * 64 * 4, "unet": 2 * 9 * 64 * 4}
# A step costs as much as three forward passes.
TRAINING_PASSES = 3
# Of the watershed of one pixel of one predicted mask, on one core.
WATERSHED_SECONDS = 1e-6
# Maps of a backbone have about the features of its output, at this stride in px.
STRIDE = 16


def map_values(width: int, input_size: int) -> float:
    """Return the number of values in the maps of a tile, about.

    Parameters
    ----------
    width
        Features of a backbone's output, over all passes.
    input_size
        Side of its input in px.
    """
    return float(width * (input_size / STRIDE) ** 2)


def decoder_operations(
    settings: SegmentationSettings, splits: SplitSettings, n_tiles: int, values: float
) -> float:
    """Return the operations of all decoders of one store, at most: early stopping is ignored.

    Parameters
    ----------
    settings, splits
        Of the study.
    n_tiles
        Tiles of the dataset.
    values
        From `map_values`.
    """
    folds = splits.folds[SCHEME]
    total = 0.0
    for fraction in settings.fractions or splits.fractions:
        checks = settings.steps / settings.check_every
        validation = splits.validation * fraction * (1 - 1 / folds) * n_tiles
        shown = TRAINING_PASSES * settings.steps * settings.batch_size
        total += shown + checks * validation + n_tiles / folds
    trainings = folds * len(settings.seeds or splits.seeds)
    return total * trainings * values * sum(OPERATIONS[name] for name in settings.decoders)


def object_seconds(
    settings: SegmentationSettings, splits: SplitSettings, n_tiles: int, pixels: int
) -> float:
    """Return the seconds in which the single objects of all test tiles of one store are found.

    Parameters
    ----------
    settings, splits
        Of the study.
    n_tiles, pixels
        Tiles of the dataset, and pixels of each.
    """
    fractions = len(settings.fractions or splits.fractions)
    heads, tuning = len(settings.decoders), settings.tuning
    if tuning is not None:
        heads += len(tuning.modes) * len(tuning.decoders or settings.decoders)
    tested = n_tiles * len(settings.seeds or splits.seeds) * fractions * heads
    return WATERSHED_SECONDS * tested * pixels


def tuning_operations(
    settings: SegmentationSettings,
    splits: SplitSettings,
    n_tiles: int,
    operations: float,
    values: float,
) -> float:
    """Return the operations of all trainings of one backbone with its decoders, at most.

    Parameters
    ----------
    settings, splits
        Of the study.
    n_tiles
        Tiles of the dataset.
    operations
        Of the backbone's forward passes of one tile.
    values
        From `map_values`.
    """
    tuning = settings.tuning
    if tuning is None:
        return 0.0
    names, folds = tuning.decoders or settings.decoders, splits.folds[SCHEME]
    shown = TRAINING_PASSES * tuning.steps * tuning.batch_size / TRAINING_SHARE
    checks = tuning.steps / settings.check_every
    total = 0.0
    for fraction in settings.fractions or splits.fractions:
        validation = splits.validation * fraction * (1 - 1 / folds) * n_tiles
        total += shown + checks * validation + n_tiles / folds
    trainings = folds * len(settings.seeds or splits.seeds) * len(tuning.modes)
    per_tile = len(names) * operations + values * sum(OPERATIONS[name] for name in names)
    return total * trainings * per_tile

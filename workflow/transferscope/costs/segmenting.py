"""The cost of decoders of masks, in floating-point operations."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from transferscope.config.probes import SplitSettings
from transferscope.config.segmentation import SCHEME, DecoderName, SegmentationSettings
from transferscope.costs.tuning import TRAINING_SHARE

# Operations per value of the maps in one forward pass: `linear` multiplies each with one weight;
# the first 3x3 convolution of `conv` has 64 features at twice the resolution; `unet` has fewer at
# four times the resolution, of narrower maps; `unetr` projects the maps of four blocks.
OF_VALUES: dict[DecoderName, int] = {
    "linear": 2,
    "conv": 2 * 9 * 64 * 4,
    "conv-image": 2 * 9 * 64 * 4,
    "unet": 2 * 9 * 64 * 4,
    "unetr": 2 * 4 * 64,
}
# And per pixel of the input: `conv-image` has two 3x3 convolutions there, to 32 features;
# `unetr` has one at a half, a quarter and an eighth of the resolution, as of patches of 16 px.
OF_PIXELS: dict[DecoderName, int] = {
    "conv-image": 2 * 9 * 32 * (64 + 3 + 32),
    "unetr": 2 * 9 * (32 * 64 // 4 + 32 * 96 // 16 + 64 * 128 // 64),
}
# Values that are kept of each tile beyond the maps: the image, and three more blocks.
IMAGE_CHANNELS, MORE_BLOCKS = 3, 3
# A step costs as much as three forward passes.
TRAINING_PASSES = 3
# Of the watershed of one pixel of one predicted mask, on one core.
WATERSHED_SECONDS = 1e-6
# Maps of a backbone have about the features of its output, at this stride in px.
STRIDE = 16


@dataclass(frozen=True)
class MapSize:
    """Size of the maps of a tile, about.

    Parameters
    ----------
    width
        Features of a backbone's output, over all passes.
    input_size
        Side of its input in px.
    """

    width: int
    input_size: int

    @property
    def values(self) -> float:
        """Values of the maps."""
        return float(self.width * (self.input_size / STRIDE) ** 2)

    def kept(self, decoders: Collection[DecoderName]) -> float:
        """Return the values that are kept for some decoders."""
        image = IMAGE_CHANNELS * self.input_size**2 if "conv-image" in decoders else 0
        return image + self.values * (1 + MORE_BLOCKS * ("unetr" in decoders))

    def operations(self, decoders: Collection[DecoderName]) -> float:
        """Return the operations of a forward pass of a tile by some decoders."""
        of_values = sum(OF_VALUES[name] for name in decoders)
        of_pixels = sum(OF_PIXELS.get(name, 0) for name in decoders)
        return of_values * self.values + of_pixels * self.input_size**2


def decoder_operations(
    settings: SegmentationSettings, splits: SplitSettings, n_tiles: int, maps: MapSize
) -> float:
    """Return the operations of all decoders of one store, at most: early stopping is ignored.

    Parameters
    ----------
    settings, splits
        Of the study.
    n_tiles
        Tiles of the dataset.
    maps
        Of each tile.
    """
    folds = splits.folds[SCHEME]
    total = 0.0
    for fraction in settings.fractions or splits.fractions:
        checks = settings.steps / settings.check_every
        validation = splits.validation * fraction * (1 - 1 / folds) * n_tiles
        shown = TRAINING_PASSES * settings.steps * settings.batch_size
        total += shown + checks * validation + settings.views * n_tiles / folds
    trainings = folds * len(settings.seeds or splits.seeds)
    return total * trainings * maps.operations(settings.decoders)


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
    maps: MapSize,
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
    maps
        Of each tile.
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
        total += shown + checks * validation + settings.views * n_tiles / folds
    trainings = folds * len(settings.seeds or splits.seeds) * len(tuning.modes)
    per_tile = len(names) * operations + maps.operations(names)
    return total * trainings * per_tile

"""Feature maps of a frozen backbone: what decoders read, computed once per tile."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from transferscope.backbones.embedder import LARGEST_FLOAT16
from transferscope.backbones.readout import Backbone, has_tokens, number_of_layers
from transferscope.config.segmentation import DecoderName
from transferscope.errors import Problem, UserError
from transferscope.finetuning.network import TileInput
from transferscope.runtime.arrays import Integers, Values
from transferscope.segmentation.decoders import N_BLOCKS, Kind, Level, reads
from transferscope.segmentation.views import turned
from transferscope.training.tiles import TrainingTiles

# Maps of a convolutional network that are finer than this stride in px are large and say little
# that the image does not.
FINEST_STRIDE = 4
# Share of the free memory that maps may take; larger ones go to a temporary file.
MEMORY_SHARE = 0.3


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of some tiles, and what else decoders read, in the order of `Decoder.levels`.

    Parameters
    ----------
    rows
        Rows of the tile store, int64 [n], ascending.
    levels
        One array [n * views, D, h, w] per level, float16 or float32; of a transformer there is one
        map. The views of a tile follow one another.
    described
        What each of them is.
    views
        How many views there are of each tile.
    """

    rows: Integers
    levels: list[Values]
    described: tuple[Level, ...]
    views: int = 1

    def places(self, rows: Integers, views: Integers | int = 0) -> Integers:
        """Return where views of rows of the tile store are in the arrays."""
        return np.searchsorted(self.rows, rows) * self.views + views


class MapReader:
    """Reads the maps of a backbone, fed as embedding feeds it.

    Parameters
    ----------
    backbone
        The network of a card.
    source
        Raw tiles to its input, by the card's normalisation and a channel strategy.
    decoders
        For which maps are read: some read the image or inner blocks, too.
    """

    def __init__(
        self, backbone: Backbone, source: TileInput, decoders: Collection[DecoderName] = ()
    ) -> None:
        self.backbone = backbone
        self.source = source
        kinds = set[Kind]().union(*(reads(name) for name in decoders))
        self._reads_image = "image" in kinds
        network = backbone.network
        has_blocks = _is_transformer(network) and number_of_layers(network) >= N_BLOCKS
        self._n_blocks = N_BLOCKS if "block" in kinds and has_blocks else 1

    @torch.inference_mode()
    def __call__(self, raw: Tensor) -> list[Tensor]:
        """Return levels [B, D, h, w] of raw tiles [B, C, H, W] for `Decoder`, in float32.

        The maps of several passes are joined on the axis of features, or averaged, as embeddings.
        The image has the channels that are fed to the backbone.
        """
        return self.levels(self.source.evaluated(raw))

    def levels(self, resized: Tensor) -> list[Tensor]:
        """Return the same of tiles from `TileInput`, [B, C, S, S], with gradients."""
        of_passes = [
            maps_of(self.backbone, images, filled, self._n_blocks)
            for images, filled in self.source.of_each_pass(resized)
        ]
        levels = zip(*of_passes, strict=True)
        image = [resized[:, self.source.fed]] if self._reads_image else []
        if self.source.averages:
            return image + [torch.stack(level).mean(dim=0) for level in levels]
        return image + [torch.cat(level, dim=1) for level in levels]

    def described(self, levels: list[Tensor]) -> tuple[Level, ...]:
        """Say what the levels are that were read."""
        image: list[Kind] = ["image"] if self._reads_image else []
        blocks: list[Kind] = ["block"] * (self._n_blocks - 1)
        maps: list[Kind] = ["map"] * (len(levels) - len(image) - len(blocks))
        side = self.source.input_size
        return tuple(
            Level(kind, level.shape[1], level.shape[-1], side / level.shape[-1])
            for kind, level in zip([*image, *blocks, *maps], levels, strict=True)
        )


def maps_of(
    backbone: Backbone, images: Tensor, filled: list[int] | None = None, n_blocks: int = 1
) -> list[Tensor]:
    """Return the maps [B, D, h, w] of one forward pass, from the finest to the coarsest, float32.

    Parameters
    ----------
    backbone
        Of a transformer, the patch tokens of the last block after the last layer norm are the map:
        class and register tokens are dropped. Tokens of several channels are averaged. Of a
        convolutional network, the end of each stage from `FINEST_STRIDE` on.
    images
        Input of the network, [B, slots, S, S] float32.
    filled
        Slots that are not empty, as `Backbone.forward` takes them.
    n_blocks
        Of a transformer, how many blocks are read, evenly spaced, the last one last, each after
        the last layer norm.

    Raises
    ------
    UserError
        If the network gives out no maps.
    """
    if backbone.dtype == torch.float32:
        return _maps(backbone, images, filled, n_blocks)
    with torch.autocast(images.device.type, backbone.dtype):
        return _maps(backbone, images, filled, n_blocks)


def _is_transformer(network: Any) -> bool:
    return has_tokens(network) and hasattr(network, "blocks")


def _maps(
    backbone: Backbone, images: Tensor, filled: list[int] | None, n_blocks: int
) -> list[Tensor]:
    network, chosen = backbone.network, dict[str, Any]()
    n_channels = 1
    if filled is not None and getattr(network, "leaves_out_empty_slots", False):
        images, chosen = images[:, filled], {"channels": filled}
        n_channels = images.shape[1]
    if not hasattr(network, "forward_intermediates"):
        raise _without_maps(network)
    if _is_transformer(network):
        depth = number_of_layers(network)
        blocks = [round(depth * n / n_blocks) - 1 for n in range(1, n_blocks + 1)]
        _, found = network.forward_intermediates(images, indices=blocks, norm=True, **chosen)
        tokens = [one[0] if isinstance(one, tuple) else one for one in found]
        return [_square(one, n_channels, network).float() for one in tokens]
    levels = range(number_of_layers(network))
    if not levels:
        raise _without_maps(network)
    _, found = network.forward_intermediates(images, indices=list(levels), **chosen)
    side = images.shape[-1]
    maps = {level.shape[-1]: level.float() for level in found if level.ndim == 4}
    kept = [maps[width] for width in sorted(maps, reverse=True) if width * FINEST_STRIDE <= side]
    if not kept:
        raise _without_maps(network)
    return kept


def _square(tokens: Tensor, n_channels: int, network: Any) -> Tensor:
    """Return a map [B, D, h, w] of patches that may be in one row, those of a channel together."""
    if tokens.shape[-1] > 1 and tokens.shape[-2] > 1:
        return tokens
    batch, width = tokens.shape[:2]
    n_patches = tokens.shape[-1] * tokens.shape[-2] // n_channels
    side = math.isqrt(n_patches)
    if side * side != n_patches:
        raise _without_maps(network)
    return tokens.reshape(batch, width, n_channels, side, side).mean(dim=2)


def _without_maps(network: Any) -> UserError:
    what = f"{type(network).__name__} gives out no maps that decoders could read"
    fix = "Take this backbone out of the study, or segmentation."
    return UserError(Problem("segmentation", what, fix))


def compute_maps(
    tiles: TrainingTiles, read: MapReader, batch_size: int, folder: Path, views: int = 1
) -> FeatureMaps:
    """Compute the maps of tiles, once each.

    Parameters
    ----------
    tiles
        The tiles.
    read
        The backbone.
    batch_size
        Tiles per forward pass.
    folder
        Where a temporary file goes if the maps do not fit into memory; it is unlinked at once.
    views
        How many views of each tile.

    Raises
    ------
    UserError
        If the network gives out no maps, or values that are not finite.
    """
    levels: list[Values] = []
    described: tuple[Level, ...] = ()
    for start, maps in _batches(tiles, read, batch_size, views):
        if not levels:
            levels, described = _room(maps, len(tiles) * views, folder), read.described(maps)
        for level, values in zip(levels, maps, strict=True):
            if not torch.isfinite(values).all():
                raise _not_finite()
            level[start : start + len(values) * views : views] = values.cpu().numpy()
    for level in levels:
        # A value of a later tile may be too large for float16.
        if any(not np.isfinite(level[at : at + 256]).all() for at in range(0, len(level), 256)):
            raise _not_finite()
    return FeatureMaps(tiles.rows, levels, described, views)


def _batches(
    tiles: TrainingTiles, read: MapReader, batch_size: int, views: int
) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield where the first tile of a batch goes, and the maps of one view of the batch."""
    for start in range(0, len(tiles), batch_size):
        raw = tiles.batch(np.arange(start, min(start + batch_size, len(tiles))))
        for view in range(views):
            yield start * views + view, read(turned(raw, view))


def _room(maps: list[Tensor], n_tiles: int, folder: Path) -> list[Values]:
    """Return empty arrays for the maps of all tiles, in memory or in a file."""
    largest = max(float(level.abs().max()) for level in maps)
    dtype = np.dtype(np.float16 if largest <= LARGEST_FLOAT16 else np.float32)
    shapes = [(n_tiles, *level.shape[1:]) for level in maps]
    size = sum(math.prod(shape) for shape in shapes) * dtype.itemsize
    if size <= MEMORY_SHARE * psutil.virtual_memory().available:
        return [np.empty(shape, dtype) for shape in shapes]
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Values] = []
    for shape in shapes:
        with tempfile.TemporaryFile(dir=folder) as file:
            found.append(np.memmap(file, dtype, "w+", shape=shape))
    return found


def _not_finite() -> UserError:
    what = "the feature maps of the backbone are not finite"
    return UserError(Problem("compute.precision", what, "Set `compute.precision: fp32`."))

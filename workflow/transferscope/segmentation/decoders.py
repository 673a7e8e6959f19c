"""Decoders from feature maps to logits of masks; many of one kind are computed together.

Tensors are [B, M, ...] for B tiles of each of M decoders, so that the convolutions of all decoders
are one grouped convolution. Weights are [M, ...].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from transferscope.config.segmentation import DecoderName

# Of the convolutions, as in eva (kaiko-ai): https://github.com/kaiko-ai/eva, ConvDecoderMS.
WIDTH = 64
# Of the last layers of `unet` and `unetr`, at the finest resolutions, and of those of `conv-image`,
# at that of the image, as in eva's ConvDecoderWithImage.
FINE_WIDTH = 32
# Blocks of a transformer that `unetr` reads, as in UNETR (arXiv 2103.10504), and the stride in px
# to which the first of them is brought there, too, with patches of 16 px.
N_BLOCKS, FINEST_BLOCK = 4, 2
# `linear` and `conv` join the maps of a convolutional network from this stride in px on: that of
# most transformers, whose maps are then as fine.
JOINED_STRIDE = 16
Layers = list[tuple[Tensor, Tensor]]
Kind = Literal["image", "block", "map"]
# What each decoder reads; those that are not named here read maps alone.
READS: dict[DecoderName, set[Kind]] = {"conv-image": {"image", "map"}, "unetr": {"block", "map"}}


def reads(name: DecoderName) -> set[Kind]:
    """Return the kinds of levels that a decoder reads.

    Examples
    --------
    >>> sorted(reads("unetr")), sorted(reads("conv"))
    (['block', 'map'], ['map'])
    """
    return READS.get(name, {"map"})


@dataclass(frozen=True)
class Level:
    """What a decoder may read, per tile [width, side, side].

    Parameters
    ----------
    kind
        `image`: what the backbone is fed; `block`: the tokens of an inner block of a transformer;
        `map`: those of its last block, or the end of a stage of a convolutional network.
    width, side
        Features, and px.
    stride
        Side of the backbone's input in px over `side`.
    """

    kind: Kind
    width: int
    side: int
    stride: float


@dataclass(frozen=True)
class Decoder:
    """One kind of decoder for the maps of one backbone.

    Parameters
    ----------
    name
        Which kind.
    levels
        What there is to read: the image, inner blocks from the first on, and maps from the finest
        to the coarsest.
    n_out
        Number of logits per pixel.
    """

    name: DecoderName
    levels: tuple[Level, ...]
    n_out: int

    @property
    def lacks(self) -> str:
        """What the decoder needs and the backbone has not, in words; empty if nothing."""
        kinds = [level.kind for level in self.levels]
        if self.name == "unet" and kinds.count("map") < 2:
            return "needs maps of several resolutions, and there is one"
        if self.name == "unetr" and kinds.count("block") < N_BLOCKS - 1:
            return f"needs a transformer of at least {N_BLOCKS} blocks"
        return ""

    @property
    def alone(self) -> Decoder:
        """The same decoder, where nothing is read for any other."""
        kinds = reads(self.name)
        return replace(self, levels=tuple(one for one in self.levels if one.kind in kinds))

    @property
    def used(self) -> list[int]:
        """The levels that are read: the image, then from the finest to the coarsest."""
        kinds = reads(self.name)
        everything = [n for n, level in enumerate(self.levels) if level.kind in kinds]
        if self.name in ("unet", "unetr"):
            return everything
        image = [n for n in everything if self.levels[n].kind == "image"]
        maps = everything[len(image) :]
        return image + ([n for n in maps if self.levels[n].stride >= JOINED_STRIDE] or maps[-1:])

    def shapes(self) -> list[tuple[int, int, int]]:
        """Return output features, input features and side of the kernel of each layer."""
        widths = [self.levels[n].width for n in self.used]
        if self.name == "linear":
            return [(self.n_out, sum(widths), 1)]
        if self.name == "conv":
            return [(WIDTH, sum(widths), 3), (self.n_out, WIDTH, 3)]
        if self.name == "conv-image":
            image, *maps = widths
            inner = [(FINE_WIDTH, WIDTH + image, 3), (FINE_WIDTH, FINE_WIDTH, 3)]
            return [(WIDTH, sum(maps), 3), *inner, (self.n_out, FINE_WIDTH, 1)]
        shapes, n_fine = list[tuple[int, int, int]](), 1
        if self.name == "unetr":
            n_fine = 2
            given = [FINE_WIDTH] * n_fine + [WIDTH] * (len(widths) - n_fine)
            shapes = [(own, width, 1) for own, width in zip(given, widths, strict=True)]
            widths = given
        width = widths[-1]
        for n, skipped in reversed(list(enumerate(widths[:-1]))):
            wanted = FINE_WIDTH if n < n_fine else WIDTH
            shapes.append((wanted, width + skipped, 3))
            width = wanted
        return [*shapes, (self.n_out, width, 1)]

    @property
    def floats_per_tile(self) -> int:
        """Values that a forward pass of one tile holds, without the logits at full size."""
        used = [self.levels[n] for n in self.used]
        areas = [level.side**2 for level in used]
        own = sum(level.width * area for level, area in zip(used, areas, strict=True))
        maps = [level for level in used if level.kind == "map"]
        total, area = sum(level.width for level in maps), maps[0].side ** 2
        if self.name == "linear":
            return 2 * own + total * area
        if self.name == "conv":
            return 2 * own + (5 * total + 20 * WIDTH) * area
        if self.name == "conv-image":
            full = 2 * WIDTH + used[0].width + 5 * FINE_WIDTH
            return 2 * own + (5 * total + 8 * WIDTH) * area + full * areas[0]
        # Each level holds what is joined there, and what its convolution gives.
        shapes, held = self.shapes(), 2 * own
        if self.name == "unetr":
            held += sum(2 * given * area for given, _, _ in shapes[: len(used)])
            shapes, areas = shapes[len(used) :], [s**2 for s in self._block_sides()]
        at = zip(shapes, [*reversed(areas[:-1]), areas[0]], strict=True)
        return held + sum((read + 2 * given) * area for (given, read, _), area in at)

    def _block_sides(self) -> list[int]:
        """Return the sides to which `unetr` brings its levels, the first of them the largest."""
        used = [self.levels[n] for n in self.used]
        return [
            round(level.side * min(2**n, max(1.0, level.stride / FINEST_BLOCK)))
            for n, level in zip(reversed(range(len(used))), used, strict=True)
        ]

    def initial(self, seeds: Sequence[int]) -> Layers:
        """Return weights [M, out, in, k, k] and biases [M, out], uniform as in `torch.nn`.

        Parameters
        ----------
        seeds
            One per decoder.
        """
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        layers = []
        for n_out, n_in, side in self.shapes():
            fan_in = n_in * side**2
            draws = [torch.rand(n_out, fan_in + 1, generator=stream) for stream in streams]
            values = (2 * torch.stack(draws) - 1) / math.sqrt(fan_in)
            weights = values[:, :, 1:].reshape(len(streams), n_out, n_in, side, side)
            layers.append((weights.contiguous(), values[:, :, 0].contiguous()))
        return layers

    def __call__(self, levels: Sequence[Tensor], layers: Layers) -> Tensor:
        """Return logits [B, M, n_out, h, w] of maps [B, M, D, h, w] of the levels in `used`."""
        if self.name == "unet":
            return _unet(levels, layers)
        if self.name == "unetr":
            n = len(levels)
            given = zip(levels, layers[:n], self._block_sides(), strict=True)
            finer = [
                resized(functional.relu(_convolved(level, *layer)), (side, side))
                for level, layer, side in given
            ]
            return _unet(finer, layers[n:])
        image, maps = (levels[0], levels[1:]) if self.name == "conv-image" else (None, levels)
        size = maps[0].shape[-2:]
        joined = torch.cat([maps[0], *(resized(level, size) for level in maps[1:])], dim=2)
        if self.name == "linear":
            return _convolved(joined, *layers[0])
        inner = functional.relu(_convolved(_doubled(joined), *layers[0]))
        if image is None:
            return _convolved(_doubled(inner), *layers[1])
        found = torch.cat([resized(inner, image.shape[-2:]), image], dim=2)
        for layer in layers[1:-1]:
            found = functional.relu(_convolved(found, *layer))
        return _convolved(found, *layers[-1])


def _unet(levels: Sequence[Tensor], layers: Layers) -> Tensor:
    found = levels[-1]
    for skipped, layer in zip(reversed(levels[:-1]), layers, strict=False):
        joined = torch.cat([resized(found, skipped.shape[-2:]), skipped], dim=2)
        found = functional.relu(_convolved(joined, *layer))
    return _convolved(found, *layers[-1])


def _convolved(maps: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """Return the convolution of each decoder's maps by its own weights."""
    n_decoders, n_out, _, side, _ = weights.shape
    found = functional.conv2d(
        maps.flatten(1, 2),
        weights.flatten(0, 1),
        biases.flatten(),
        padding=side // 2,
        groups=n_decoders,
    )
    return found.view(len(found), n_decoders, n_out, *found.shape[-2:])


def _doubled(maps: Tensor) -> Tensor:
    height, width = maps.shape[-2:]
    return resized(maps, (2 * height, 2 * width))


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps [B, M, D, h, w] at another size, by bilinear interpolation."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    flat = functional.interpolate(maps.flatten(1, 2), tuple(size), mode="bilinear")
    return flat.view(*maps.shape[:3], *flat.shape[-2:])

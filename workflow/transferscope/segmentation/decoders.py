"""Decoders from feature maps to logits of masks; many of one kind are computed together.

Tensors are [B, M, ...] for B tiles of each of M decoders, so that the convolutions of all decoders
are one grouped convolution. Weights are [M, ...].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from transferscope.config.segmentation import DecoderName

# Of the convolutions, as in eva (kaiko-ai): https://github.com/kaiko-ai/eva, ConvDecoderMS.
WIDTH = 64
# Of the last layers of `unet`, at the resolution of the finest map.
FINE_WIDTH = 32
# `linear` and `conv` join the maps of a convolutional network from this stride in px on: that of
# most transformers, whose maps are then as fine.
JOINED_STRIDE = 16
Layers = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Decoder:
    """One kind of decoder for the maps of one backbone.

    Parameters
    ----------
    name
        `linear`, `conv` or `unet`.
    widths, sides, strides
        Features, sides in px, and strides of the maps, from the finest to the coarsest.
    n_out
        Number of logits per pixel.
    """

    name: DecoderName
    widths: tuple[int, ...]
    sides: tuple[int, ...]
    strides: tuple[float, ...]
    n_out: int

    @property
    def is_possible(self) -> bool:
        """Whether the backbone has the maps that the decoder needs."""
        return self.name != "unet" or len(self.widths) > 1

    @property
    def used(self) -> list[int]:
        """The levels that are read, from the finest to the coarsest."""
        everything = list(range(len(self.widths)))
        if self.name == "unet":
            return everything
        return [n for n in everything if self.strides[n] >= JOINED_STRIDE] or everything[-1:]

    def shapes(self) -> list[tuple[int, int, int]]:
        """Return output features, input features and side of the kernel of each layer."""
        widths = [self.widths[n] for n in self.used]
        if self.name == "linear":
            return [(self.n_out, sum(widths), 1)]
        if self.name == "conv":
            return [(WIDTH, sum(widths), 3), (self.n_out, WIDTH, 3)]
        shapes, width = [], widths[-1]
        for n, skipped in reversed(list(enumerate(widths[:-1]))):
            wanted = FINE_WIDTH if n == 0 else WIDTH
            shapes.append((wanted, width + skipped, 3))
            width = wanted
        return [*shapes, (self.n_out, width, 1)]

    @property
    def floats_per_tile(self) -> int:
        """Values that a forward pass of one tile holds, without the logits at full size."""
        areas = [self.sides[n] ** 2 for n in self.used]
        own = sum(self.widths[n] * area for n, area in zip(self.used, areas, strict=True))
        total = sum(self.widths[n] for n in self.used)
        if self.name == "linear":
            return 2 * own + total * areas[0]
        if self.name == "conv":
            return 2 * own + (5 * total + 20 * WIDTH) * areas[0]
        # Each level holds what is joined there, and what its convolution gives.
        held = zip(self.shapes(), [*reversed(areas[:-1]), areas[0]], strict=True)
        return 2 * own + sum((read + 2 * given) * area for (given, read, _), area in held)

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
        size = levels[0].shape[-2:]
        joined = torch.cat([levels[0], *(resized(level, size) for level in levels[1:])], dim=2)
        if self.name == "linear":
            return _convolved(joined, *layers[0])
        inner = functional.relu(_convolved(_doubled(joined), *layers[0]))
        return _convolved(_doubled(inner), *layers[1])


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

"""Augmentation of microscopy images, on the device, a whole batch at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from transferscope.config.training import AugmentationSettings

PROTEIN = "protein"
# Range of the factors by which the protein channel is rescaled.
PROTEIN_FACTORS = (0.5, 2.0)
# Knots per side of the displacement field: a warp is smooth.
WARP_KNOTS = 4


class Augmentation:
    """Random crops of a fixed size, turned, mirrored, warped and changed in brightness.

    All is drawn from a generator on the processor: the same state gives the same images, on every
    device. Crops stay square: the shape of a cell means something.

    Parameters
    ----------
    settings
        What is changed, and how much.
    size
        Side of the crops in px.
    channels
        Channels of the images; the one named `protein` is rescaled, and never dropped.
    """

    def __init__(self, settings: AugmentationSettings, size: int, channels: Sequence[str]) -> None:
        self.settings = settings
        self.size = size
        self.channels = list(channels)
        # The protein is what is asked about, the other channels are for reference.
        others = [i for i, name in enumerate(self.channels) if name != PROTEIN]
        self._may_drop = others if len(self.channels) > 1 else []

    @torch.no_grad()
    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Return one crop [B, C, size, size] of each image, float32, 0 to 1.

        Parameters
        ----------
        images
            [B, C, H, W] float, 0 to 1.
        generator
            On the processor.
        """
        with torch.autocast(images.device.type, enabled=False):
            images = self._reduced(images.float())
            grid = self._grid(len(images), generator, images.device)
            crops = functional.grid_sample(
                images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
            )
            factors = self._factors(len(images), generator)
            contrast, brightness = (values.to(images.device) for values in factors)
            mean = crops.mean(dim=(2, 3), keepdim=True)
            return (((crops - mean) * contrast + mean) * brightness).clamp_(0, 1)

    def _reduced(self, images: Tensor) -> Tensor:
        """Average pixels where a crop of typical size has several for each of its own."""
        low, high = self.settings.crop_scale
        typical = min(images.shape[-2:]) * (low * high) ** 0.25
        factor = math.floor(typical / self.size)
        return functional.avg_pool2d(images, factor) if factor > 1 else images

    def _grid(self, n: int, generator: Generator, device: torch.device) -> Tensor:
        """Return where each pixel of each crop lies in its image, [n, size, size, 2], -1 to 1.

        Little is drawn on the processor; what has a value for each pixel is made on the device.
        """
        low, high = self.settings.crop_scale
        side = _uniform((n,), low, high, generator).sqrt()
        centre = _uniform((n, 2), -1, 1, generator) * (1 - side)[:, None]
        turns = self._turns(n, generator) * side[:, None, None]
        matrix = torch.cat([turns, centre[:, :, None]], dim=2).to(device)
        # Displacements at the knots, in halves of the crop's side.
        longest, shape = 2 * self.settings.warp, (n, 2, WARP_KNOTS, WARP_KNOTS)
        knots = _uniform(shape, -longest, longest, generator) * side[:, None, None, None]
        grid = functional.affine_grid(matrix, [n, 1, self.size, self.size], align_corners=False)
        field = functional.interpolate(
            knots.to(device), (self.size, self.size), mode="bilinear", align_corners=True
        )
        return grid + field.permute(0, 2, 3, 1)

    def _turns(self, n: int, generator: Generator) -> Tensor:
        """Return mirrored and turned axes, [n, 2, 2]."""
        axes = torch.eye(2).expand(n, 2, 2)
        if self.settings.flips:
            axes = axes * (torch.randint(2, (n, 1, 2), generator=generator) * 2.0 - 1.0)
        if self.settings.rotations:
            quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
            powers = torch.stack([torch.matrix_power(quarter, k) for k in range(4)])
            axes = powers[torch.randint(4, (n,), generator=generator)] @ axes
        return axes

    def _factors(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return factors of contrast and of brightness, [n, C, 1, 1]; 0: the channel is blank."""
        settings, shape = self.settings, (n, len(self.channels), 1, 1)
        contrast = 1 + settings.contrast * _uniform(shape, -1, 1, generator)
        brightness = 1 + settings.brightness * _uniform(shape, -1, 1, generator)
        if PROTEIN in self.channels:
            chosen = torch.rand(n, generator=generator) < settings.protein_rescale
            low, high = (math.log(factor) for factor in PROTEIN_FACTORS)
            factor = _uniform((n,), low, high, generator).exp()
            protein = brightness[:, self.channels.index(PROTEIN), 0, 0]
            protein *= torch.where(chosen, factor, 1.0)
        # Drawn with replacement, so that fewer than the most are blank, too.
        for _ in range(settings.dropped_channels if self._may_drop else 0):
            chosen = torch.rand(n, generator=generator) < settings.channel_dropout
            which = torch.randint(len(self._may_drop), (n,), generator=generator)
            dropped = torch.tensor(self._may_drop)[which][chosen]
            brightness[chosen.nonzero()[:, 0], dropped] = 0
        return contrast, brightness


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)

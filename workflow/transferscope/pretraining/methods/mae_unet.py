"""A masked autoencoder of a convolutional network: a U-Net paints in squares that are blanked.

Kraus et al., CVPR 2024, arXiv 2404.10242 ("masked U-nets"); Ronneberger et al., MICCAI 2015, arXiv
1505.04597, for the decoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightly.models.utils import patchify
from torch import Tensor, nn
from torch.nn import functional

from transferscope.backbones.readout import has_tokens
from transferscope.cards import TrainCard
from transferscope.cards.methods import UnetMaeSettings
from transferscope.pretraining.methods.base import Losses, Parts
from transferscope.pretraining.methods.masking import masked_losses, random_mask
from transferscope.pretraining.methods.networks import takes_many_sizes
from transferscope.pretraining.methods.single_crop import SingleCropMethod


class UnetDecoder(nn.Module):
    """From the maps of an encoder, fine to coarse, to an image.

    Parameters
    ----------
    widths
        Features of each map.
    width
        Features of the finest level; each coarser one has twice as many, up to the encoder's own.
    channels
        Channels of the image.
    """

    def __init__(self, widths: Sequence[int], width: int, channels: int) -> None:
        super().__init__()
        coarse = widths[-1]
        self.levels = nn.ModuleList()
        for depth in reversed(range(len(widths) - 1)):
            fine = min(widths[depth], width * 2**depth)
            self.levels.append(_convolutions(coarse + widths[depth], fine))
            coarse = fine
        self.predict = nn.Conv2d(coarse, channels, kernel_size=1)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Return an image [B, channels, *size] from maps [B, widths[i], h, w], fine to coarse."""
        found = maps[-1]
        for level, fine in zip(self.levels, reversed(maps[:-1]), strict=True):
            found = functional.interpolate(found, fine.shape[-2:], mode="bilinear")
            found = level(torch.cat([found, fine.to(found.dtype)], dim=1))
        predicted: Tensor = self.predict(functional.interpolate(found, size, mode="bilinear"))
        return predicted


def _convolutions(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


class UnetAutoencoder(SingleCropMethod):
    """Encoder, which gives out its maps, and decoder."""

    needs = "a convolutional network, such as resnet18"

    def __init__(self, settings: UnetMaeSettings, parts: Parts) -> None:
        super().__init__(settings, parts)
        widths = [level["num_chs"] for level in self._encoder.feature_info]
        self.decoder = UnetDecoder(widths, settings.decoder_width, parts.channels)

    @classmethod
    def fits(cls, card: TrainCard, network: nn.Module) -> bool:
        """Return whether the network gives out maps, of images of any size."""
        has_maps = hasattr(network, "forward_intermediates") and hasattr(network, "feature_info")
        return has_maps and not has_tokens(network) and takes_many_sizes(card, network)

    @classmethod
    def size_step(cls, settings: UnetMaeSettings, network: nn.Module) -> int:
        """Return the side of the squares that are blanked."""
        return settings.patch_size

    def loss(self, views: Tensor, progress: float, generator: torch.Generator) -> Losses:
        """Return how badly the blanked squares are painted in."""
        side = self.settings.patch_size
        target: Tensor = patchify(views, side)
        batch, n_patches, _ = target.shape
        mask = random_mask(
            batch, n_patches, self.settings.mask_ratio, generator, device=views.device
        )
        maps = self._encoder.forward_intermediates(
            blanked(views, mask.hidden, side), intermediates_only=True
        )
        size = (views.shape[-2], views.shape[-1])
        return masked_losses(
            patchify(self.decoder(maps, size), side),
            target,
            mask.hidden,
            side,
            normalize_targets=self.settings.normalize_targets,
            fourier_weight=self.settings.fourier_weight,
        )


def blanked(images: Tensor, hidden: Tensor, side: int) -> Tensor:
    """Return images [B, C, S, S] with squares set to zero.

    Parameters
    ----------
    images
        The images.
    hidden
        Whether each square is blanked, row by row, bool [B, (S / side)^2].
    side
        Of a square in px.
    """
    rows = images.shape[-1] // side
    visible = (~hidden).to(images.dtype).reshape(-1, 1, rows, rows)
    return images * functional.interpolate(visible, scale_factor=side, mode="nearest")

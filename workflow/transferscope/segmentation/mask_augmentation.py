"""Random changes to tiles and, where pixels move, to their masks in the same way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from transferscope.config.segmentation import MaskAugmentation

STAINED = ["red", "green", "blue"]
# Optical density of haematoxylin, eosin and the rest in red, green and blue (Ruifrok and Johnston,
# Anal Quant Cytol Histol 2001).
STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
# A black pixel has no more density than this value of 0 to 1.
DARKEST = 1 / 255


class MaskAugmenter:
    """Draws changes of a batch; all is drawn on the processor, so that devices see the same.

    Parameters
    ----------
    settings
        What is changed, and how much.
    channels
        Channels of the tiles.
    """

    def __init__(self, settings: MaskAugmentation, channels: Sequence[str]) -> None:
        self.settings = settings
        self._is_stained = list(channels) == STAINED and settings.stain > 0

    @torch.no_grad()
    def __call__(
        self, tiles: Tensor, masks: Sequence[Tensor], generator: Generator
    ) -> tuple[Tensor, list[Tensor]]:
        """Return tiles and masks, changed.

        Parameters
        ----------
        tiles
            [B, C, H, W] float32, 0 to 1.
        masks
            Each [B, ..., h, w], of the same field of view.
        generator
            On the processor.
        """
        is_square = tiles.shape[-1] == tiles.shape[-2]
        moves = [self._moves(is_square, generator) for _ in tiles]
        tiles, *turned = (_moved(part, moves) for part in (tiles, *masks))
        if self._is_stained:
            tiles = self._stained(tiles, generator)
        shape = (*tiles.shape[:2], 1, 1)
        contrast, brightness = (
            (1 + reach * (2 * torch.rand(shape, generator=generator) - 1)).to(tiles.device)
            for reach in (self.settings.contrast, self.settings.brightness)
        )
        mean = tiles.mean(dim=(2, 3), keepdim=True)
        return (((tiles - mean) * contrast + mean) * brightness).clamp(0, 1), turned

    def _moves(self, is_square: bool, generator: Generator) -> tuple[int, list[int]]:
        """Draw quarter turns, and the axes that are mirrored, of one tile."""
        turns, vertical, horizontal = torch.randint(4, (3,), generator=generator).tolist()
        if not self.settings.rotations:
            turns = 0
        elif not is_square:
            turns = 2 * (turns // 2)
        mirrored = [-2] * (vertical // 2) + [-1] * (horizontal // 2)
        return turns, mirrored if self.settings.flips else []

    def _stained(self, tiles: Tensor, generator: Generator) -> Tensor:
        stains = torch.tensor(STAINS, device=tiles.device)
        stains = stains / stains.norm(dim=1, keepdim=True)
        density = -tiles.clamp(min=DARKEST).log()
        amounts = torch.einsum("bchw,cs->bshw", density, torch.linalg.inv(stains))
        drawn = 2 * torch.rand((len(tiles), 3, 1, 1), generator=generator) - 1
        amounts = amounts * (1 + self.settings.stain * drawn).to(tiles.device)
        return torch.einsum("bshw,sc->bchw", amounts, stains).neg().exp().clamp(0, 1)


def _moved(tensor: Tensor, moves: Sequence[tuple[int, list[int]]]) -> Tensor:
    turned = [
        torch.rot90(one.flip(axes), turns, (-2, -1))
        for one, (turns, axes) in zip(tensor, moves, strict=True)
    ]
    return torch.stack(turned)

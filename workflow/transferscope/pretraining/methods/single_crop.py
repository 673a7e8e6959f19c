"""What the methods share that show their network one crop of each image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transferscope.pretraining.methods.base import Batch, Method, Parts


class SingleCropMethod(Method):
    """A network that sees one crop of each image.

    `crop_scale` of the settings is the share of a tile that a crop shows.
    """

    def __init__(self, settings: Any, parts: Parts) -> None:
        super().__init__(settings, parts)
        self._encoder: Any = parts.build()

    @property
    def encoder(self) -> nn.Module:
        """The encoder."""
        network: nn.Module = self._encoder
        return network

    def crops(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return one crop of each image, normalised, [B, slots, S, S]."""
        augment = self.augmentation(self.input_size, self.settings.crop_scale, batch.channels)
        return self.inputs(augment(batch.images, generator), batch.channels)

    def views(self, batch: Batch, generator: torch.Generator) -> Any:
        """Return the crops."""
        return self.crops(batch, generator)

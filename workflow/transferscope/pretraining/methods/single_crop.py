"""What the methods share that show their network one crop of each image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transferscope.pretraining.methods.base import AugmentFactory, Batch, Method
from transferscope.pretraining.methods.inputs import NetworkInputs


class SingleCropMethod(Method):
    """A network that sees one crop of each image.

    Parameters
    ----------
    settings
        The method's; `crop_scale` is the share of a tile that a crop shows.
    encoder
        The network, with fresh weights.
    input_size
        Side of the crops in px.
    inputs
        Normalises and fills the slots.
    augmentation
        Makes the views.
    """

    def __init__(
        self,
        settings: Any,
        encoder: Any,
        input_size: int,
        inputs: NetworkInputs,
        augmentation: AugmentFactory,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.input_size = input_size
        self.inputs = inputs
        self.augmentation = augmentation
        self._encoder = encoder

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

"""Weak supervision: a classifier of the group (protein, perturbation) that a tile belongs to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from transferscope.pretraining.methods.base import AugmentFactory, Batch, Losses
from transferscope.pretraining.methods.inputs import NetworkInputs
from transferscope.pretraining.methods.settings import WeakSettings
from transferscope.pretraining.methods.single_crop import SingleCropMethod


class WeakClassifier(SingleCropMethod):
    """Encoder and one layer.

    Parameters
    ----------
    settings
        The method's.
    encoder
        A network of timm's without a classification layer, with fresh weights.
    n_groups
        Number of groups.
    input_size
        Side of the images in px.
    inputs
        Normalises and fills the slots.
    augmentation
        Makes the views.
    """

    reads_groups = True

    def __init__(
        self,
        settings: WeakSettings,
        encoder: Any,
        n_groups: int,
        input_size: int,
        inputs: NetworkInputs,
        augmentation: AugmentFactory,
    ) -> None:
        super().__init__(settings, encoder, input_size, inputs, augmentation)
        self.head = nn.Linear(int(encoder.num_features), n_groups)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return one crop of each image [B, slots, S, S], and their groups [B]."""
        if batch.groups is None:
            raise ValueError("weak supervision needs the groups of a batch")
        return self.crops(batch, generator), batch.groups

    def loss(
        self, views: tuple[Tensor, Tensor], progress: float, generator: torch.Generator
    ) -> Losses:
        """Return the cross-entropy to the groups, and the share that is right."""
        images, groups = views
        outputs = self.head(self._encoder(images)).float()
        loss = functional.cross_entropy(
            outputs, groups, label_smoothing=self.settings.label_smoothing
        )
        accuracy = (outputs.argmax(dim=1) == groups).float().mean()
        return loss, {"cross_entropy": loss.detach(), "accuracy": accuracy.detach()}

"""Weak supervision: a classifier of the group (protein, perturbation) that a tile belongs to."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from transferscope.cards import TrainCard
from transferscope.cards.methods import WeakSettings
from transferscope.pretraining.methods.base import Batch, Losses, Parts
from transferscope.pretraining.methods.single_crop import SingleCropMethod


class WeakClassifier(SingleCropMethod):
    """Encoder and one layer."""

    needs = "any network"

    def __init__(self, settings: WeakSettings, parts: Parts) -> None:
        super().__init__(settings, parts)
        self.head = nn.Linear(int(self._encoder.num_features), parts.n_groups)

    @classmethod
    def fits(cls, card: TrainCard, network: nn.Module) -> bool:
        """Return that any network goes with it."""
        return True

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

"""What every method of pretraining offers to the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from transferscope.backbones.networks import patch_size
from transferscope.cards import TrainCard
from transferscope.pretraining.methods.inputs import NetworkInputs

# Images [B, C, H, W] of 0 to 1, and a generator -> the same, cropped and changed.
Augment = Callable[[Tensor, torch.Generator], Tensor]
# Side in px, range of the crop's area, channels -> the augmentation that makes such views.
AugmentFactory = Callable[[int, tuple[float, float], Sequence[str]], Augment]
Losses = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Batch:
    """Tiles of one dataset.

    Parameters
    ----------
    images
        [B, C, H, W] float32 from 0 to 1, on the device.
    channels
        What the C channels show.
    groups
        Index of each tile's group, int64 [B]; None where the method reads no labels.
    dataset
        Which of the training's datasets they are from, counted from 0.
    """

    images: Tensor
    channels: tuple[str, ...]
    groups: Tensor | None = None
    dataset: int = 0


@dataclass(frozen=True)
class Parts:
    """What a method is built of.

    Parameters
    ----------
    build
        Makes the network with fresh weights, the same ones at each call; it takes other image
        sizes than its own, if its architecture can.
    channels
        Input channels of the network.
    input_size
        Side in px of the (largest) views.
    inputs
        Normalises images and fills the slots.
    augmentation
        Makes the views.
    n_groups
        Number of groups, which are read where the settings say so.
    n_datasets
        Number of datasets that batches come from.
    """

    build: Callable[[], nn.Module]
    channels: int
    input_size: int
    inputs: NetworkInputs
    augmentation: AugmentFactory
    n_groups: int = 0
    n_datasets: int = 1


class Method(nn.Module, ABC):
    """One method of pretraining.

    The loop calls `views`, then `loss`, steps the optimiser, then calls `after_step`.

    Parameters
    ----------
    settings
        The method's, one of `cards.methods`.
    parts
        Network, inputs, augmentation.
    """

    # What its network has to be, in words that follow "it needs".
    needs: ClassVar[str]

    def __init__(self, settings: Any, parts: Parts) -> None:
        super().__init__()
        self.settings = settings
        self.input_size = parts.input_size
        self.inputs = parts.inputs
        self.augmentation = parts.augmentation

    @classmethod
    @abstractmethod
    def fits(cls, card: TrainCard, network: nn.Module) -> bool:
        """Return whether the network of a card, which may be without values, is what it needs."""

    @classmethod
    def size_step(cls, settings: Any, network: nn.Module) -> int:
        """Return of what number of px the sides of views are multiples."""
        return patch_size(network) or 1

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The network that is the product, in the layout that its architecture loads."""

    @abstractmethod
    def views(self, batch: Batch, generator: torch.Generator) -> Any:
        """Return what `loss` needs: augmented images, normalised as embedding does it."""

    @abstractmethod
    def loss(self, views: Any, progress: float, generator: torch.Generator) -> Losses:
        """Return the loss, and what is logged (0-d tensors, detached).

        Parameters
        ----------
        views
            From `views`.
        progress
            How far the whole training is, 0 to 1.
        generator
            Source of random masks, on the processor.
        """

    def after_step(self, progress: float) -> None:
        """Do what follows a step of the optimiser; nothing for most methods."""
        return

    def watch(self) -> dict[str, float]:
        """Return measures of collapse, of the last batch; empty where none apply."""
        return {}

    def trained(self) -> list[nn.Module]:
        """Return the networks that the optimiser trains."""
        return [self]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups; biases and norms have no weight decay.

        ``wd_scale`` multiplies the weight decay of a group.
        """
        trained = [
            (name, parameter)
            for module in self.trained()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        ]
        plain = [p for name, p in trained if p.ndim <= 1 or name.endswith(".bias")]
        known = set(map(id, plain))
        decayed = [p for _, p in trained if id(p) not in known]
        return [{"params": decayed, "wd_scale": 1.0}, {"params": plain, "wd_scale": 0.0}]

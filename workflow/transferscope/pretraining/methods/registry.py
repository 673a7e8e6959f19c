"""A method from the settings of a card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from transferscope.backbones.channels import slots_of
from transferscope.backbones.networks import fresh_network, patch_size
from transferscope.cards import ArchitectureCard
from transferscope.pretraining.methods.base import Augment, Method
from transferscope.pretraining.methods.dino import Dino
from transferscope.pretraining.methods.inputs import NetworkInputs
from transferscope.pretraining.methods.mae import MaskedAutoencoder
from transferscope.pretraining.methods.mae_unet import UnetAutoencoder
from transferscope.pretraining.methods.settings import (
    DinoSettings,
    MethodSettings,
    UnetMaeSettings,
    WeakSettings,
)
from transferscope.pretraining.methods.weak import WeakClassifier
from transferscope.training.augmentation import Augmentation
from transferscope.training.settings import AugmentationSettings

# Local crops of 96 px go with global ones of 224 px (Caron et al., 2021).
LOCAL_SHARE = 3 / 7


def build_method(
    card: ArchitectureCard,
    settings: MethodSettings,
    augmentation: AugmentationSettings,
    seed: int,
    n_groups: int = 0,
) -> Method:
    """Return a method with fresh weights.

    Parameters
    ----------
    card
        Architecture, slots, input size and normalisation of what is trained.
    settings
        The method's own.
    augmentation
        How views are made; the method says which part of a tile they show.
    seed
        Seed of the encoder's weights, as in the card of a random control.
    n_groups
        Number of groups that `weak` tells apart.
    """

    def augment(size: int, scale: tuple[float, float], channels: Sequence[str]) -> Augment:
        cropped = augmentation.model_copy(update={"crop_scale": scale})
        return Augmentation(cropped, size, channels)

    inputs = NetworkInputs(slots_of(card), card.normalization)
    if isinstance(settings, DinoSettings):
        build = _many_sizes(card, seed)
        local = settings.local_size or _local_size(card.input_size, build())
        return Dino(settings, build, card.input_size, local, inputs, augment)
    encoder = fresh_network(card, seed)
    if isinstance(settings, UnetMaeSettings):
        channels = len(card.slots)
        return UnetAutoencoder(settings, encoder, channels, card.input_size, inputs, augment)
    if isinstance(settings, WeakSettings):
        return WeakClassifier(settings, encoder, n_groups, card.input_size, inputs, augment)
    return MaskedAutoencoder(settings, encoder, card.input_size, inputs, augment)


def _many_sizes(card: ArchitectureCard, seed: int) -> Any:
    """Return what makes a network that takes local crops, too."""
    has_patches = patch_size(fresh_network(card, seed)) is not None
    arguments = {"dynamic_img_size": True} if has_patches else {}

    def build() -> nn.Module:
        return fresh_network(card, seed, **arguments)

    return build


def _local_size(input_size: int, network: nn.Module) -> int:
    patch = patch_size(network) or 1
    return max(1, round(input_size * LOCAL_SHARE / patch)) * patch

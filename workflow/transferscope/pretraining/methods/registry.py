"""A method from the settings of a card."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from transferscope.backbones.architectures.channel_tokens import ChannelTokenVit
from transferscope.backbones.networks import fresh_network, patch_size
from transferscope.cards import ArchitectureCard
from transferscope.config.training import AugmentationSettings
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

# Local crops of 96 px go with global ones of 224 px (Caron et al., 2021).
LOCAL_SHARE = 3 / 7


def build_method(
    card: ArchitectureCard,
    settings: MethodSettings,
    augmentation: AugmentationSettings,
    seed: int,
    n_groups: int = 0,
    n_datasets: int = 1,
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
    n_datasets
        Number of datasets that batches come from.
    """

    def augment(size: int, scale: tuple[float, float], channels: Sequence[str]) -> Augment:
        cropped = augmentation.model_copy(update={"crop_scale": scale})
        return Augmentation(cropped, size, channels)

    # Position embeddings are resampled when the weights are loaded for another size.
    size = getattr(settings, "crop_size", None) or card.input_size
    card = card.model_copy(update={"input_size": size})
    inputs = NetworkInputs(card.named_slots, card.normalization)
    encoder = _encoder(card, seed)
    if isinstance(settings, DinoSettings):
        local = settings.local_size or _local_size(size, encoder)
        return Dino(
            settings, partial(_encoder, card, seed), size, local, inputs, augment, n_datasets
        )
    if isinstance(settings, UnetMaeSettings):
        channels = len(card.slots)
        return UnetAutoencoder(settings, encoder, channels, size, inputs, augment)
    if isinstance(settings, WeakSettings):
        return WeakClassifier(settings, encoder, n_groups, size, inputs, augment)
    return MaskedAutoencoder(settings, encoder, size, inputs, augment)


def _encoder(card: ArchitectureCard, seed: int) -> nn.Module:
    """Return a fresh network; a vision transformer takes images of other sizes, too."""
    network = fresh_network(card, seed)
    if isinstance(network, VisionTransformer) and not isinstance(network, ChannelTokenVit):
        network = fresh_network(card, seed, dynamic_img_size=True)
    return network


def _local_size(input_size: int, network: nn.Module) -> int:
    patch = patch_size(network) or 1
    return max(1, round(input_size * LOCAL_SHARE / patch)) * patch

"""A method from the settings of a card."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module

from torch import nn

from transferscope.backbones.networks import fresh_network
from transferscope.cards import ArchitectureCard
from transferscope.cards.methods import MethodBase
from transferscope.config.training import AugmentationSettings
from transferscope.pretraining.methods.base import Augment, Method, Parts
from transferscope.pretraining.methods.inputs import NetworkInputs
from transferscope.pretraining.methods.networks import is_plain_vit
from transferscope.training.augmentation import Augmentation


def implementation(settings: MethodBase) -> type[Method]:
    """Return the class of the method that settings are for."""
    module, _, name = settings.implementation.partition(":")
    found: type[Method] = getattr(import_module(module), name)
    return found


def build_method(
    card: ArchitectureCard,
    settings: MethodBase,
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
        Number of groups, for methods that read them.
    n_datasets
        Number of datasets that batches come from.
    """

    def augment(size: int, scale: tuple[float, float], channels: Sequence[str]) -> Augment:
        cropped = augmentation.model_copy(update={"crop_scale": scale})
        return Augmentation(cropped, size, channels)

    # Position embeddings are resampled when the weights are loaded for another size.
    card = card.model_copy(update={"input_size": settings.view_size(card.input_size)})
    parts = Parts(
        build=partial(_encoder, card, seed),
        channels=len(card.slots),
        input_size=card.input_size,
        inputs=NetworkInputs(card.named_slots, card.normalization),
        augmentation=augment,
        n_groups=n_groups,
        n_datasets=n_datasets,
    )
    return implementation(settings)(settings, parts)


def _encoder(card: ArchitectureCard, seed: int) -> nn.Module:
    """Return a fresh network; a vision transformer takes images of other sizes, too."""
    network = fresh_network(card, seed)
    return fresh_network(card, seed, dynamic_img_size=True) if is_plain_vit(network) else network

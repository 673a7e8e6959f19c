"""Networks from backbone cards, with their weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import timm
import torch
from torch import nn

import transferscope.backbones.architectures  # noqa: F401  registers them with timm
from transferscope.backbones.input_adaptation import AdaptationError, adapt_input
from transferscope.backbones.patch_projection import replace_patch_convolutions
from transferscope.backbones.readout import Backbone
from transferscope.backbones.transformers_network import transformers_network
from transferscope.cards import (
    ArchitectureCard,
    NetworkCard,
    TimmCard,
    TrainCard,
)
from transferscope.checkpoints.hub import hub_or_copies
from transferscope.checkpoints.loading import load_checkpoint, not_finite
from transferscope.errors import Problem, UserError, first_line


def known_architectures() -> list[str]:
    """Return every timm model name, plain and with the tag of its weights."""
    return [*timm.list_models(), *timm.list_pretrained()]


def build_backbone(card: NetworkCard, card_path: Path, n_channels: int | None = None) -> Backbone:
    """Build the network of a card with its weights, in fp32, on the processor, for inference.

    Parameters
    ----------
    card, card_path
        The card, and its file, to which the path of its weights is relative.
    n_channels
        Adapt the input weights to so many channels; None: leave them as they are.

    Raises
    ------
    UserError
        Where the weights cannot be had, do not fit the architecture, or cannot be adapted.
    """
    network: nn.Module
    if not card.has_architecture:
        network = transformers_network(card, card_path)
    elif card.trained_here:
        raise UserError(not_trained(card, card_path))
    elif card.has_checkpoint:
        with _seeded(0):
            network = _created(card)
        load_checkpoint(network, card, card_path)
    elif card.pretrained:
        with hub_or_copies() as unreachable:
            try:
                network = _created(card, pretrained=True)
            except Exception as error:  # hub, network and file errors have no common base
                reason = unreachable or first_line(error)
                raise UserError(not_fetched(card, card_path, reason)) from None
    else:
        with _seeded(card.seed):
            network = _created(card)
    if problem := not_finite(network.state_dict(), card_path):
        raise UserError(problem)
    if n_channels is not None:
        try:
            adapt_input(network, len(card.slots), n_channels)
        except AdaptationError as error:
            raise UserError(not_adaptable(card_path, error)) from None
    replace_patch_convolutions(network)
    lay_channels_last(network)
    return Backbone(network, card.outputs).eval().requires_grad_(False)


def lay_channels_last(network: nn.Module) -> None:
    """Lay the weights of convolutions out as fast kernels take them, in place.

    Activations follow: libraries of processors and GPUs convolve images whose channels lie next to
    each other without rearranging them first. Names and values of the weights stay.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)


def not_trained(card: TrainCard, card_path: Path) -> Problem:
    """Return the problem of a backbone that a study trains, where no weights are given."""
    what = f"{card.name} has no weights of its own: a study trains it"
    fix = "Give --weights, the manifest <results>/<study>/backbones/<name>.json."
    return Problem(str(card_path), what, fix)


def not_adaptable(card_path: Path, error: AdaptationError) -> Problem:
    """Return the problem of a network whose input weights cannot be adapted."""
    what = f"this backbone cannot serve the channel strategy adapt: {error}"
    return Problem(str(card_path), what, "Take adapt or this backbone out of the study.")


def input_multiple(card: NetworkCard) -> int:
    """Return the patch size in px, of which the input size is a multiple; 1 without patches."""
    if not card.has_architecture:
        return 1  # `scale: physical`, which asks, is not for these.
    return patch_size(network_without_values(card)) or 1


def hub_weights_here(card: TimmCard) -> bool:
    """Tell whether the hub weights of a timm card are in the cache, without asking the network."""
    config: Any = timm.get_pretrained_cfg(card.architecture)
    if not config.hf_hub_id:
        return True
    names = ("model.safetensors", "pytorch_model.bin", config.hf_hub_filename)
    return any(
        isinstance(huggingface_hub.try_to_load_from_cache(config.hf_hub_id, name), str)
        for name in names
        if name
    )


def patch_size(network: Any) -> int | None:
    """Return the side of a patch in px; None where the network has no patches."""
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    return None if patch is None else max(patch)


def network_without_values(card: ArchitectureCard) -> nn.Module:
    """Return the network of a card on the meta device: shapes alone, no memory, no weights.

    Architectures that compute while they are built come with random weights instead.
    """
    try:
        with torch.device("meta"):
            return _created(card)
    except Exception:  # Some architectures compute while they are built.
        with _seeded(0):
            return _created(card)


def fresh_network(card: ArchitectureCard, seed: int, **arguments: Any) -> nn.Module:
    """Return the network of a card with random weights, to be trained.

    Parameters
    ----------
    card
        The card.
    seed
        Seed of the weights.
    **arguments
        Further arguments of the architecture, in addition to the card's.
    """
    with _seeded(seed):
        network = _created(card, **arguments)
    replace_patch_convolutions(network)
    lay_channels_last(network)
    return network


def _created(card: ArchitectureCard, *, pretrained: bool = False, **further: Any) -> nn.Module:
    arguments = {**card.arguments, **further}
    base = timm.get_pretrained_cfg(card.architecture, allow_unregistered=True)
    # timm marks the architectures that are built for one image size, and take it as an argument.
    if base is not None and base.fixed_input_size:
        arguments["img_size"] = card.input_size
    network: nn.Module = timm.create_model(
        card.architecture,
        pretrained=pretrained,
        in_chans=len(card.slots),
        num_classes=0,
        **arguments,
    )
    return network


def not_fetched(card: TimmCard, card_path: Path, reason: str = "") -> Problem:
    """Return the problem of hub weights that are absent, with what to fetch and where to."""
    config: Any = timm.get_pretrained_cfg(card.architecture)
    cache = huggingface_hub.constants.HF_HUB_CACHE
    get, source = ("hf download", config.hf_hub_id) if config.hf_hub_id else ("wget", config.url)
    what = f"the weights {source} could not be fetched"
    fix = (
        f"Check the network, or fetch them on another machine (`{get} {source}`) "
        f"and copy them to the cache, {cache} (set HF_HOME for another place)."
    )
    return Problem(f"{card_path}, key architecture", f"{what}: {reason}" if reason else what, fix)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator of the processor, and restore it afterwards."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)

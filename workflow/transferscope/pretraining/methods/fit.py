"""Whether a method can train a network, which is known before a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from transferscope.backbones.architectures.channel_tokens import ChannelTokenVit
from transferscope.backbones.networks import patch_size
from transferscope.backbones.readout import has_tokens
from transferscope.cards import TrainCard
from transferscope.cards.network import CHANNEL_AGNOSTIC
from transferscope.errors import Problem
from transferscope.pretraining.methods.settings import UnetMaeSettings


def check_objective(card: TrainCard, card_path: Path, network: nn.Module) -> list[Problem]:
    """Return why the objective of a card does not go with its network, if so.

    Parameters
    ----------
    card, card_path
        The card and its file.
    network
        Its network, which may be without values.
    """
    fits, needed = NEEDS[card.objective.method]
    if not fits(card, network):
        what = f"{card.objective.method} does not go with {card.architecture}: it needs {needed}"
        mend = "Choose another method, or another `architecture`."
        return [Problem(f"{card_path}, key objective.method", what, mend)]
    if getattr(card.objective, "crop_size", None) and not _takes_many_sizes(card, network):
        what = f"{card.architecture} takes images of one size only"
        return [Problem(f"{card_path}, key objective.crop_size", what, "Leave it out.")]
    return _check_sizes(card, card_path, network)


def _check_sizes(card: TrainCard, card_path: Path, network: nn.Module) -> list[Problem]:
    objective = card.objective
    step = patch_size(network) or 1
    if isinstance(objective, UnetMaeSettings):
        step = objective.patch_size
    sides = {
        "input_size": card.input_size,
        "objective.crop_size": getattr(objective, "crop_size", None),
        "objective.local_size": getattr(objective, "local_size", None),
    }
    if sides["objective.crop_size"] is not None:
        del sides["input_size"]  # The network is then never trained on images of that size.
    return [
        Problem(
            f"{card_path}, key {key}",
            f"{side} px are no whole number of patches of {step} px",
            f"Use a multiple, such as {max(1, round(side / step)) * step}.",
        )
        for key, side in sides.items()
        if side is not None and side % step
    ]


def _is_plain_vit(card: TrainCard, network: nn.Module) -> bool:
    return isinstance(network, VisionTransformer) and not isinstance(network, ChannelTokenVit)


def _takes_many_sizes(card: TrainCard, network: nn.Module) -> bool:
    if has_tokens(network):
        return _is_plain_vit(card, network)
    config: Any = timm.get_pretrained_cfg(card.architecture)
    return not config.fixed_input_size


def _takes_any_channels(card: TrainCard, network: nn.Module) -> bool:
    return card.takes_any_channels


def _gives_out_maps(card: TrainCard, network: nn.Module) -> bool:
    has_maps = hasattr(network, "forward_intermediates") and hasattr(network, "feature_info")
    return has_maps and not has_tokens(network) and _takes_many_sizes(card, network)


def _is_any(card: TrainCard, network: nn.Module) -> bool:
    return True


# Method -> what its network has to be, as a test and in words.
NEEDS: dict[str, tuple[Callable[[TrainCard, nn.Module], bool], str]] = {
    "dino": (
        _takes_many_sizes,
        "a network for images of any size: a plain vision transformer or a convolutional network",
    ),
    "mae": (_is_plain_vit, "a plain vision transformer, such as vit_small_patch16_224"),
    "ca-mae": (_takes_any_channels, " or ".join(CHANNEL_AGNOSTIC)),
    "mae-unet": (_gives_out_maps, "a convolutional network, such as resnet18"),
    "weak": (_is_any, "any network"),
}

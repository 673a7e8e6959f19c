"""Whether a backbone can be fine-tuned in a mode: known before a run, without its weights."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from transferscope.backbones.networks import network_without_values
from transferscope.cards import NetworkCard, Output
from transferscope.config.modes import HEAD, LORA, last_layers
from transferscope.errors import Problem
from transferscope.finetuning.layers import groups_its_parameters, layers_of
from transferscope.finetuning.lora import low_rank_layers


def check_tuning(
    card: NetworkCard, card_path: Path, output: str | None, modes: list[str]
) -> list[Problem]:
    """Return which modes a backbone cannot serve, each with its reason.

    Parameters
    ----------
    card, card_path
        A card that `check_backbone` has passed, and its file.
    output
        Name of the output that is read; None: the first.
    modes
        `full`, `last-<n>`, `lora`, `head`.
    """
    read = next(o for o in card.outputs if output in (None, o.name))
    network = network_without_values(card) if card.has_architecture else None
    fix = f"Take {card.name} out of `finetune.backbones`, or choose another mode."
    return [
        Problem("finetune.modes", f"{mode} cannot be served by {card.name}: {reason}", fix)
        for mode in modes
        if (reason := reason_against(network, mode, read))
    ]


def reason_against(network: nn.Module | None, mode: str, read: Output | None = None) -> str | None:
    """Return why a network cannot serve a mode, if so.

    Parameters
    ----------
    network
        A network; None: one of the transformers library.
    mode
        `full`, `last-<n>`, `lora`, `head`.
    read
        The output that is read; None: the last layer.
    """
    if mode == HEAD:
        return None
    if network is None:
        return "it is a model of the transformers library, whose layers are not told apart"
    if not groups_its_parameters(network):
        return "the network does not tell its layers apart"
    if mode == LORA and not low_rank_layers(network):
        return "low-rank updates are for vision transformers, and it is none"
    n_layers = last_layers(mode)
    if n_layers is None:
        return None
    if read is not None and read.layer is not None:
        return f"its output {read.name} is read before the last layers, which do not change it"
    n_blocks = max(layers_of(network).values())
    if n_layers > n_blocks:
        return f"it has {n_blocks} layers besides its input; full trains them all"
    return None

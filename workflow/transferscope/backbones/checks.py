"""What is wrong with a backbone card and can be known before a run, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub.constants
import timm
from torch import nn

from transferscope.backbones.input_adaptation import AdaptationError, input_convolutions
from transferscope.backbones.networks import (
    hub_weights_here,
    known_architectures,
    network_without_values,
    not_adaptable,
    not_fetched,
    patch_size,
)
from transferscope.backbones.readout import (
    Backbone,
    has_class_token,
    has_tokens,
    number_of_layers,
    output_widths,
)
from transferscope.backbones.transformers_network import (
    check_transformers,
    transformers_without_values,
)
from transferscope.cards import (
    ArchitectureCard,
    NetworkCard,
    Output,
    TransformersCard,
)
from transferscope.checkpoints.loading import check_checkpoint
from transferscope.checkpoints.sources import check_file, present_file
from transferscope.errors import Problem, first_line, suggest

# Arguments of timm's create_model that a card gives by keys of its own.
OWN_KEYS = {
    "in_chans": "slots",
    "img_size": "input_size",
    "num_classes": "outputs",
    "pretrained": "pretrained",
    "checkpoint_path": "weights",
}


def check_backbone(card: NetworkCard, card_path: Path) -> list[Problem]:
    """Return everything that is wrong with a card and can be known without its weights.

    Parameters
    ----------
    card, card_path
        The card and its file.

    Returns
    -------
    list of Problem
        Unknown architectures and arguments, impossible slots, sizes and outputs, weights that are
        not where they should be. The network is built without values, so that this takes no
        memory.
    """
    if not card.has_architecture:
        return check_transformers(card, card_path) or _check_transformers_outputs(card, card_path)
    if problems := check_before_building(card, card_path):
        return problems
    try:
        network = network_without_values(card)
    except Exception as error:  # timm raises whatever its many model classes raise
        what = f"{card.architecture} cannot be built: {first_line(error)}"
        fix = "Fix `arguments`, `input_size` or `slots` of the card."
        return [Problem(f"{card_path}, key arguments", what, fix)]
    problems = check_built(card, card_path, network)
    if card.has_checkpoint and (file := present_file(card, card_path)):
        problems += check_checkpoint(network, card, file)
    return problems or _check_forward(card, card_path, network)


def check_before_building(card: ArchitectureCard, card_path: Path) -> list[Problem]:
    """Return what is wrong with a card of an architecture without building that."""
    if problem := _check_architecture(card, card_path):
        return [problem]
    return [*_check_own_keys(card, card_path), *_check_weights(card, card_path)]


def check_built(card: ArchitectureCard, card_path: Path, network: nn.Module) -> list[Problem]:
    """Return what a card says wrongly of its network; of one without values as of one with them."""
    problems = _check_input_size(card, card_path, network)
    return problems + _check_outputs(card, network, card_path)


def _check_transformers_outputs(card: TransformersCard, card_path: Path) -> list[Problem]:
    if present_file(card, card_path) is None:
        return []
    try:
        network = transformers_without_values(card, card_path)
    except Exception as error:  # the library raises whatever its many models raise
        what = f"{card.model} cannot be built: {first_line(error)}"
        return [Problem(f"{card_path}, key model", what, "Fix `input_size` or `slots`.")]
    return _check_outputs(card, network, card_path)


def check_adaptation(card: NetworkCard, card_path: Path) -> list[Problem]:
    """Return why the input weights of a card cannot be adapted to other channels, if so."""
    if not card.has_architecture:
        return []  # Only its weights tell.
    try:
        input_convolutions(network_without_values(card), len(card.slots))
    except AdaptationError as error:
        return [not_adaptable(card_path, error)]
    return []


def _check_architecture(card: ArchitectureCard, card_path: Path) -> Problem | None:
    where = f"{card_path}, key architecture"
    base, _, tag = card.architecture.partition(".")
    if not timm.is_model(base) or ":" in base:
        what = f'timm {timm.__version__} knows no architecture "{card.architecture}"'
        return Problem(where, what, suggest(card.architecture, known_architectures()))
    tagged = timm.list_pretrained(f"{base}.*")
    if tag and card.architecture not in tagged:
        what = f'timm {timm.__version__} knows no weights "{tag}" of {base}'
        return Problem(where, what, suggest(card.architecture, tagged))
    if card.source == "timm" and card.pretrained and not tagged:
        what = f"timm has no pretrained weights for {base}"
        return Problem(
            where, what, "Set `pretrained: false`, or use `source: file`, `url` or `hub`."
        )
    return None


def _check_own_keys(card: ArchitectureCard, card_path: Path) -> list[Problem]:
    return [
        Problem(
            f"{card_path}, key arguments.{argument}",
            "is given by a key of the card itself",
            f"Leave it out and use `{OWN_KEYS[argument]}`.",
        )
        for argument in card.arguments
        if argument in OWN_KEYS
    ]


def _check_weights(card: ArchitectureCard, card_path: Path) -> list[Problem]:
    if card.has_checkpoint:
        return check_file(card, card_path, present_file(card, card_path))
    if card.trained_here or not card.pretrained:
        return []
    config: Any = timm.get_pretrained_cfg(card.architecture)
    channels = config.input_size[0]
    if len(card.slots) != channels:
        what = f"the weights have {channels} input channels, the card has {len(card.slots)} slots"
        return [Problem(f"{card_path}, key slots", what, f"Name {channels} slots.")]
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    return [not_fetched(card, card_path)] if offline and not hub_weights_here(card) else []


def _check_input_size(card: ArchitectureCard, card_path: Path, network: Any) -> list[Problem]:
    p = patch_size(network)
    if p is None or card.input_size % p == 0:
        return []
    nearest = max(p, round(card.input_size / p) * p)
    what = f"{card.input_size} px is not a multiple of the patch size, {p} px"
    return [Problem(f"{card_path}, key input_size", what, f"Use {nearest}, for example.")]


def _check_outputs(card: NetworkCard, network: Any, card_path: Path) -> list[Problem]:
    n_blocks = number_of_layers(network)
    if card.blocks not in (None, n_blocks) and n_blocks:
        what = f"the network has {n_blocks}, the card says {card.blocks}"
        return [Problem(f"{card_path}, key blocks", what, f"Write `blocks: {n_blocks}`.")]
    return [p for output in card.outputs for p in _check_output(output, network, card_path)]


def _check_output(output: Output, network: Any, card_path: Path) -> list[Problem]:
    where = f"{card_path}, output {output.name}"
    wrong: dict[str, str] = {}
    if output.pooling in ("cls", "cls+mean") and not has_class_token(network):
        wrong["the architecture has no class token"] = "Use `pooling: mean` or `pooling: pool`."
    depth = number_of_layers(network)
    if output.layer is None:
        pass
    elif not hasattr(network, "forward_intermediates") or depth == 0:
        wrong["timm cannot read inner layers of this network"] = "Leave `layer` out, for the last."
    else:
        if not -depth <= output.layer < depth:
            fix = f"Use 0 to {depth - 1}, or -{depth} to -1."
            wrong[f"there is no layer {output.layer}"] = fix
        if output.pooling == "pool" and has_tokens(network):
            fix = "Use `pooling: mean`, or leave `layer` out."
            wrong["a transformer pools its last layer only"] = fix
    return [Problem(where, what, fix) for what, fix in wrong.items()]


def _check_forward(card: ArchitectureCard, card_path: Path, network: nn.Module) -> list[Problem]:
    backbone = Backbone(network, card.outputs).eval()
    try:
        output_widths(backbone, len(card.slots), card.input_size)
    except NotImplementedError:
        return []  # An operator without shapes-only arithmetic: only the real run can tell.
    except Exception as error:  # timm raises whatever its many model classes raise
        what = f"{card.architecture} fails on an image of {card.input_size} px: "
        fix = "Fix `input_size`, `arguments` or `outputs` of the card."
        return [Problem(str(card_path), what + first_line(error), fix)]
    return []

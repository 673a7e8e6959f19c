"""Weights of a file into a network: every weight of the encoder, or none."""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferscope.cards import CheckpointCard
from transferscope.checkpoints.conversion import convert, listed
from transferscope.checkpoints.layouts.base import Converted, Network
from transferscope.checkpoints.positions import PositionRule, resample_positions
from transferscope.checkpoints.reading import STATE_DICT, read_checkpoint
from transferscope.checkpoints.soundness import fault_of_values, fault_of_weights
from transferscope.checkpoints.sources import checkpoint_file
from transferscope.errors import Problem, UserError

logger = logging.getLogger(__name__)

# Position embeddings, and those of networks that have separate ones for a single channel.
POSITIONS = "pos_embed"
SINGLE_POSITIONS = "single_pos_embed"
# Counters of batch normalisation, which matter for training alone; old files lack them.
COUNTER = "num_batches_tracked"


def load_checkpoint(network: nn.Module, card: CheckpointCard, card_path: Path) -> Converted:
    """Load a card's checkpoint into a network.

    Parameters
    ----------
    network
        The network without its classification layer; all of its weights must be in the file, and
        all of the file's encoder in the network.
    card, card_path
        The card and its file.

    Returns
    -------
    Converted
        What was found in the file.

    Raises
    ------
    UserError
        Where the file is absent, changed, unreadable or asks to run code, or where a weight of the
        encoder is missing, left over, or of another shape.
    """
    path = checkpoint_file(card, card_path)
    converted, state = _matched(network, card, path)
    wanted = network.state_dict()
    network.load_state_dict(
        {name: state[name].to(t.dtype) for name, t in wanted.items() if name in state}, strict=False
    )
    if unknown := converted.unknown_leftovers():
        logger.warning("%s: not used, and of unknown purpose: %s", path, listed(unknown))
    return converted


def check_checkpoint(network: nn.Module, card: CheckpointCard, path: Path) -> list[Problem]:
    """Return what is wrong with a file of weights for a network, which may be without values."""
    try:
        _matched(network, card, path)
    except UserError as error:
        return error.problems
    return []


def _matched(
    network: nn.Module, card: CheckpointCard, path: Path
) -> tuple[Converted, dict[str, Tensor]]:
    """Return the weights of a card's file, converted, and fitted to its network."""
    named = Network(card.architecture, card.arguments, len(card.slots), 0, 0)
    wanted = list(network.state_dict())
    checkpoint = read_checkpoint(path)
    if fault := fault_of_values(checkpoint.tensors):
        raise UserError(Problem(str(path), fault, STATE_DICT))
    converted = convert(checkpoint, card.layout, card.state_key, named, wanted)
    state = fitted(network, converted)
    if problem := mismatch(network, state, converted, card, path) or not_finite(state, path):
        raise UserError(problem)
    return converted, state


def fitted(network: Any, converted: Converted) -> dict[str, Tensor]:
    """Return weights with the position embeddings resampled to the network's image size."""
    state = dict(converted.state)
    grid = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    embeds_class = not getattr(network, "no_embed_class", False)
    prefix = int(getattr(network, "num_prefix_tokens", 0)) if embeds_class else 0
    rules: dict[str, PositionRule] = {
        POSITIONS: converted.positions,
        SINGLE_POSITIONS: "scale-factor",
    }
    for name, rule in rules.items():
        old, new = state.get(name), getattr(network, name, None)
        if grid is None or old is None or new is None or old.shape[-1] != new.shape[-1]:
            continue
        if old.ndim != 3:
            continue  # a map of positions, whose network resamples nothing
        # Without a square grid the shape is reported with the others.
        with contextlib.suppress(ValueError):
            state[name] = resample_positions(old, grid[0], prefix, rule)
    return state


def not_finite(state: Mapping[str, Tensor], path: Path) -> Problem | None:
    """Return which weights are no numbers as 32-bit floats, or None where all are."""
    wrong = [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point()
        and tensor.layout == torch.strided
        and not tensor.is_meta
        and not torch.isfinite(tensor.float()).all()
    ]
    if not wrong:
        return None
    what = f"{len(wrong)} of {len(state)} weights hold NaN or infinity: {listed(wrong)}"
    return Problem(
        str(path), what, "The training has diverged, or the file is damaged: use another."
    )


def mismatch(
    network: nn.Module,
    state: Mapping[str, Tensor],
    converted: Converted,
    card: CheckpointCard,
    path: Path,
) -> Problem | None:
    """Return how weights differ from those of a network, or None where they are the same set."""
    wanted = network.state_dict()
    differing = {
        "missing": [n for n in wanted if n not in state and not n.endswith(COUNTER)],
        "of another shape": [
            f"{n} {tuple(state[n].shape)} instead of {tuple(t.shape)}"
            for n, t in wanted.items()
            if n in state and state[n].shape != t.shape
        ],
        "not part of the network": [
            n for n in state if n not in wanted and not n.endswith(COUNTER)
        ],
    }
    parts = [f"{label}: {listed(names)}" for label, names in differing.items() if names]
    if not parts:
        if fault := fault_of_weights(state, wanted):
            return Problem(str(path), fault, "Download it again, or give another file of weights.")
        return None
    what = f"does not hold the weights of {card.architecture}; {'; '.join(parts)}"
    found = converted.network
    arguments = f" with arguments {dict(found.arguments)}" if found.arguments else ""
    command = shlex.join(["transferscope", "backbone", "card", str(path)])
    fix = (
        f"The file looks like {found.architecture}{arguments} and {found.channels} slots: fix "
        f"the card, or let a command write one: {command}"
    )
    return Problem(str(path), what, fix)

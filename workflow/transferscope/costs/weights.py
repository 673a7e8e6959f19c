"""Which weights a backbone needs, and whether they are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from transferscope.cards import BackboneCard
from transferscope.checkpoints.sources import present_file

# Checkpoints hold their weights in float32, as a rule.
BYTES_A_WEIGHT = 4
State = Literal["none needed", "here", "to fetch", "missing file", "to train"]


def weights_state(card: BackboneCard, card_path: Path) -> State:
    """Return whether the weights of a backbone are here; asks no network.

    Parameters
    ----------
    card, card_path
        The card and its file.

    Returns
    -------
    str
        ``none needed`` (features, random weights), ``here``, ``to fetch`` (a run fetches them), or
        ``missing file`` (they are not here, and the user has to provide them), or ``to train`` (a
        study trains them, for itself).
    """
    if card.trained_here:
        return "to train"
    if not card.is_network or not card.needs_weights:
        return "none needed"
    if card.source == "timm":
        from transferscope.backbones.networks import hub_weights_here

        return "here" if hub_weights_here(card) else "to fetch"
    if present_file(card, card_path) is not None:
        return "here"
    return "missing file" if card.source == "file" else "to fetch"

"""Which weights a backbone needs, and whether they are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from transferscope.cards import BackboneCard
from transferscope.checkpoints.sources import present_file

# Most checkpoints hold float32.
BYTES_PER_WEIGHT = 4


def weights_state(
    card: BackboneCard, card_path: Path
) -> Literal["none needed", "here", "to fetch", "to ask for", "missing file", "to train"]:
    """Return whether the weights of a backbone are on this machine; uses no network.

    Parameters
    ----------
    card, card_path
        The card and its file.

    Returns
    -------
    str
        ``none needed`` (features, random weights), ``here``, ``to fetch`` (by a run),
        ``to ask for`` (a run fetches them where the hub knows that you may have them),
        ``missing file`` (the user has to provide them) or ``to train`` (by the study).
    """
    if card.trained_here:
        return "to train"
    if not card.is_network or not card.needs_weights:
        return "none needed"
    absent: Literal["to ask for", "to fetch"] = "to ask for" if card.gated else "to fetch"
    if card.source == "timm":
        from transferscope.backbones.networks import hub_weights_here

        return "here" if hub_weights_here(card) else absent
    if present_file(card, card_path) is not None:
        return "here"
    return "missing file" if card.source in ("file", "package") else absent

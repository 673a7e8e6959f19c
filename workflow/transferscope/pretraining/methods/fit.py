"""Whether a method can train a network, which is known before a run."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from transferscope.backbones.checks import check_backbone
from transferscope.backbones.networks import network_without_values
from transferscope.cards import TrainCard
from transferscope.errors import Problem
from transferscope.pretraining.methods.networks import takes_many_sizes
from transferscope.pretraining.methods.registry import implementation


def check_trained(card: TrainCard, card_path: Path) -> list[Problem]:
    """Return everything that is wrong with the card of a backbone that is trained here.

    Parameters
    ----------
    card, card_path
        The card and its file.
    """
    return check_backbone(card, card_path) or check_objective(
        card, card_path, network_without_values(card)
    )


def check_objective(card: TrainCard, card_path: Path, network: nn.Module) -> list[Problem]:
    """Return why the objective of a card does not go with its network, if so.

    Parameters
    ----------
    card, card_path
        The card and its file.
    network
        Its network, which may be without values.
    """
    objective = card.objective
    method = implementation(objective)
    if not method.fits(card, network):
        what = f"{objective.method} does not go with {card.architecture}: it needs {method.needs}"
        fix = "Choose another method, or another `architecture`."
        return [Problem(f"{card_path}, key objective.method", what, fix)]
    sizes = objective.view_sizes(card.input_size)
    if "objective.crop_size" in sizes and not takes_many_sizes(card, network):
        what = f"{card.architecture} takes images of one size only"
        return [Problem(f"{card_path}, key objective.crop_size", what, "Leave it out.")]
    step = method.size_step(objective, network)
    return [
        Problem(
            f"{card_path}, key {key}",
            f"{side} px are no whole number of patches of {step} px",
            f"Use a multiple, such as {max(1, round(side / step)) * step}.",
        )
        for key, side in sizes.items()
        if side % step
    ]

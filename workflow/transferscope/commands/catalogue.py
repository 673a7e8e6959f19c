"""A summary of every backbone card that a study can name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferscope.cards import BackboneCard
from transferscope.config.model import read_model
from transferscope.errors import UserError
from transferscope.runtime.progress import progress_bar


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue.

    Parameters
    ----------
    name, description, licence
        As in the card.
    channels
        The input slots, or "any".
    input_size
        Side of the network's input in px.
    features
        Of the first output; None: depends on the channels, or is unknown without the weights.
    weights
        Where they are, as `costs.weights.weights_state` returns it.
    """

    name: str
    description: str
    channels: str
    input_size: int
    features: int | None
    weights: str
    licence: str


def catalogue(folders: Sequence[Path]) -> list[Entry]:
    """Return an entry for every card in some folders; of equal names, the first folder's counts.

    Raises
    ------
    UserError
        With everything that is wrong with any card.
    """
    paths: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            paths.setdefault(path.stem, path)
    entries, problems = [], []
    with progress_bar("Reading cards", len(paths), "cards") as bar:
        for _, path in sorted(paths.items()):
            try:
                entries.append(_entry(read_model(path, BackboneCard), path))
            except UserError as error:
                problems += error.problems
            bar.update()
    if problems:
        raise UserError(problems)
    return entries


def _entry(card: BackboneCard, path: Path) -> Entry:
    from transferscope.costs.weights import weights_state

    cost = None
    if card.is_network:
        from transferscope.costs.networks import network_cost

        cost = network_cost(card.model_copy(update={"outputs": card.outputs[:1]}), path)
    return Entry(
        name=card.name,
        description=card.description,
        channels=", ".join(slot.name for slot in card.named_slots) or "any",
        input_size=card.input_size,
        features=cost.width if cost else None,
        weights=weights_state(card, path),
        licence=card.licence,
    )

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
    features, tokens, parameters
        Of the first output; of the last features, with class token and registers, at that input
        size; of the network. None: depends on the channels, or is unknown without the weights.
    normalization
        Mean and deviation, one per slot or one for all, or what takes their place.
    source
        Where the weights come from.
    gated
        Whether the hub hands them out only to those who have accepted conditions there.
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
    tokens: int | None
    parameters: int | None
    normalization: str
    source: str
    gated: bool


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

    shape = None
    if card.is_network:
        from transferscope.costs.networks import network_shape

        # Of a network that takes any channels, an image has as many tokens as they make.
        shape = network_shape(card, path)
    first = card.output_names[0]
    return Entry(
        name=card.name,
        description=card.description,
        channels=", ".join(slot.name for slot in card.named_slots) or "any",
        input_size=card.input_size,
        features=shape.widths[first] if shape else None,
        weights=weights_state(card, path),
        licence=card.licence,
        tokens=shape.tokens if shape and not card.takes_any_channels else None,
        parameters=shape.parameters if shape else None,
        normalization=_normalization(card),
        source=_source(card),
        gated=card.gated if card.is_network and not card.trained_here else False,
    )


def _normalization(card: BackboneCard) -> str:
    if not card.is_network:
        return ""
    norm = card.normalization
    if norm.kind == "mean-std":
        mean, std = (" ".join(f"{v:g}" for v in values) for values in (norm.mean, norm.std))
        return f"{mean} / {std}"
    stretched = {"tile": "each channel stretched", "joint": "all channels stretched", "range": ""}
    by_itself = "each channel standardised" if norm.kind == "self" else ""
    return ", ".join(filter(None, (stretched[norm.intensity], by_itself))) or "none"


def _source(card: BackboneCard) -> str:
    match card.source:
        case "hub":
            return card.repo
        case "timm":
            return f"timm/{card.architecture}" if card.pretrained else "random"
        case "package":
            return card.package
        case "url":
            return card.url.rsplit("/", 1)[-1]
        case "file":
            return "a file of yours"
        case "transformers":
            return card.model
        case "train":
            return "trained in the study"
        case _:
            return "none"


def markdown(entries: Sequence[Entry]) -> str:
    """Return a table of networks with published weights, for a page."""
    lines = [
        "| card | weights | M | px | tokens | features | mean / std per slot | licence | gated |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for e in entries:
        if e.weights == "none needed" or e.weights == "to train":
            continue
        numbers = ["" if e.parameters is None else f"{e.parameters / 1e6:.1f}", str(e.input_size)]
        numbers += ["" if n is None else str(n) for n in (e.tokens, e.features)]
        cells = [f"`{e.name}`", e.source, *numbers, e.normalization, e.licence]
        lines.append(f"| {' | '.join([*cells, 'yes' if e.gated else ''])} |")
    return "\n".join(lines)

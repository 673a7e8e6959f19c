"""Cards, found by name or by path."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from transferscope.cards.train import grid_problems
from transferscope.config.model import read_model
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError, suggest
from transferscope.runtime.shipped import SHIPPED

Card = TypeVar("Card")
CARD_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Located(Generic[Card]):
    """A card and the file that it came from.

    Parameters
    ----------
    card
        The card.
    path
        Its file; paths within the card are relative to its folder.
    """

    card: Card
    path: Path


def locate_card(
    name: str, kind: Literal["datasets", "backbones"], model: Any, roots: Sequence[Path]
) -> Located[Any]:
    """Return a card by name, from the default folders of a config, or by path.

    Parameters
    ----------
    name
        Name or path.
    kind, model
        Folder and model of the cards.
    roots
        Folders to which card folders and paths are relative; the first match counts.

    Raises
    ------
    UserError
        If there is no such card, or it is invalid.
    """
    folder = StudyConfig.model_fields["card_folders"].default[kind]
    return find_card(name, kind, model, folder, roots, name)


def find_card(
    name: str,
    kind: Literal["datasets", "backbones", "relations"],
    model: Any,
    folder: str,
    roots: Sequence[Path],
    where: str,
    config: Path | None = None,
) -> Located[Any]:
    """Return the card that a config, of a file, names; see `locate_card` for others."""
    path = _locate(name, folder, roots)
    if path is None:
        what = f'unknown {kind.removesuffix("s")} "{name}"'
        fix = suggest(name, _known_cards(folder, roots))
        if config is not None and _locate(name, folder, [config.parent]):
            there = shlex.quote(str(config.parent))
            fix = f"It is next to the study. Run in the folder where the study runs: `cd {there}`."
        raise UserError(Problem(where, what, fix))
    return Located(read_model(path, model), path)


def cell_of(located: Located[Any], name: str | None) -> Located[Any]:
    """Return one backbone of a card with a grid or a sweep, or the card itself if it has none.

    Raises
    ------
    UserError
        If the card has no such backbone, or has several of which none is named.
    """
    card, path = located.card, located.path
    key = "grid" if card.trained_here else "sweep"
    if not card.is_network or getattr(card, key) is None:
        if name is None:
            return located
        what = f'has no backbone "{name}": no `grid`, no `sweep`'
        raise UserError(Problem(str(path), what, "Name none."))
    if card.trained_here and (problems := grid_problems(card, path)):
        raise UserError(problems)
    several = card.cells() if card.trained_here else card.swept()
    if name not in several:
        what = f'has no backbone "{name}"' if name else f"is a {key} of {len(several)} backbones"
        raise UserError(Problem(f"{path}, key {key}", what, suggest(name or "", list(several))))
    return Located(several[name][1], path)


def naming_problems(
    ref: str,
    name: str,
    located: Located[Any],
    found: Sequence[tuple[str, Located[Any]]],
    where: str,
) -> list[Problem]:
    """Return problems of a card whose name differs from its file's, or occurs twice."""
    card_name, path = located.card.name, located.path
    if not _is_path(name) and card_name != name:
        what = f'the card is named "{card_name}", its file "{path.stem}"'
        return [Problem(f"{path}, key name", what, "Give both the same name.")]
    others = [other.path for _, other in found if other.card.name == card_name]
    if any(other != path for other in others):
        what = f'two cards are named "{card_name}": {others[0]} and {path}'
        return [Problem(f"{where}, {ref}", what, "Rename one of them.")]
    return []


def _is_path(ref: str) -> bool:
    return "/" in ref or ref.endswith(CARD_SUFFIXES)


def _locate(name: str, folder: str, roots: Sequence[Path]) -> Path | None:
    """Return the first card file of that name or path, relative to the roots."""
    wanted = [Path(name)] if _is_path(name) else [Path(folder) / f"{name}.yaml"]
    candidates = (root / path for root in roots for path in wanted)
    return next((path for path in candidates if _is_file(path)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # such as a name that is too long for the file system
        return False


def _known_cards(folder: str, roots: Sequence[Path]) -> list[str]:
    return sorted({path.stem for root in roots for path in (root / folder).glob("*.yaml")})


def card_roots(folder: Path = Path()) -> Sequence[Path]:
    """Return the folders to look up cards in: where a study runs, then that of the package."""
    return [folder, SHIPPED]

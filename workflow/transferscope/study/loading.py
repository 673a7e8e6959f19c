"""Loading a study: its config, and the cards that the config names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.grid import Cell
from transferscope.cards.lookup import Located, card_roots, find_card, naming_problems
from transferscope.cards.network import block_outputs
from transferscope.cards.sweep import Swept
from transferscope.cards.train import grid_problems
from transferscope.config.model import validate
from transferscope.config.probed import BLOCKS, OUTPUT
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError
from transferscope.probes.registry import wanted_probes
from transferscope.study.conflicts import conflicts
from transferscope.study.defaults import merged_config
from transferscope.study.study import Study, paths_of


def read_study(config: Path, folder: Path = Path()) -> Study:
    """Return the study of a file, as it runs in a folder.

    Parameters
    ----------
    config
        The file; the working folder decides what it is relative to.
    folder
        The folder that results and cards are relative to.

    Raises
    ------
    UserError
        With every problem of the config and of every card.
    """
    return load_study(merged_config(config), card_roots(folder), str(config), folder)


def read_study_that_ran(config: Path, folder: Path = Path()) -> Study:
    """Return a study as it ran last; if no run has recorded its config, as its file says.

    Parameters
    ----------
    config, folder
        As in `read_study`.

    Raises
    ------
    UserError
        With every problem of the config and of every card.
    """
    parsed: StudyConfig = validate(merged_config(config), StudyConfig, str(config))
    ran = paths_of(parsed, folder).config
    return read_study(ran if ran.exists() else config, folder)


def load_study(
    config: dict[str, Any], roots: Sequence[Path], where: str, folder: Path = Path()
) -> Study:
    """Validate a config and read its cards, and report all problems at once.

    Parameters
    ----------
    config
        Plain data, as parsed from YAML.
    roots
        Folders to which card folders and card paths are relative; the first match counts.
    where
        Name of the config file, for messages.
    folder
        The folder where the study runs.

    Raises
    ------
    UserError
        With every problem of the config and of every card.
    """
    parsed: StudyConfig = validate(config, StudyConfig, where)
    problems: list[Problem] = []
    datasets = _read_cards(parsed, "datasets", DatasetCard, roots, where, problems)
    only_trained = _read_cards(parsed, "training_datasets", DatasetCard, roots, where, problems)
    given = _read_cards(parsed, "backbones", BackboneCard, roots, where, problems)
    backbones, cells, swept = _expanded(given, where, problems)
    representations = [
        (ref, name) for ref, found in backbones for name in _representations(ref, found.card)
    ]
    study = Study(
        config=parsed,
        datasets={located.card.name: located for _, located in datasets},
        backbones={located.card.name: located for _, located in backbones},
        uncorrected=[name for _, name in representations],
        tuned_representations=[
            name for ref, name in representations if ref in parsed.finetune.backbones
        ],
        training_datasets={located.card.name: located for _, located in only_trained},
        cells=cells,
        swept=swept,
        layered=[found.card.name for ref, found in backbones if _output(ref) == BLOCKS],
        folder=folder,
    )
    try:
        wanted_probes(parsed, where)
    except UserError as error:
        problems += error.problems
    problems += conflicts(study, where)
    if problems:
        raise UserError(problems)
    return study


def _expanded(
    given: Sequence[tuple[str, Located[Any]]], where: str, problems: list[Problem]
) -> tuple[list[tuple[str, Located[Any]]], dict[str, Cell], dict[str, Swept]]:
    """Return the backbones, each grid and sweep replaced by its own, and what each of them is."""
    found: list[tuple[str, Located[Any]]] = []
    members: dict[str, Any] = {}
    names = {located.card.name: located.path for _, located in given}
    for ref, located in given:
        card = located.card
        wrong = grid_problems(card, located.path) if card.trained_here else []
        problems += [each for each in wrong if each not in problems]
        if wrong:
            continue
        several = _several(card)
        if not several:
            found.append((ref, located))
        for name, (member, own) in several.items():
            if name in names:
                what = f'"{name}" is a backbone, and one of those of {located.path}'
                problems.append(Problem(f"{where}, key backbones", what, "Rename one of them."))
            members[name] = member
            found.append((ref, Located(own, located.path)))
    cells = {name: member for name, member in members.items() if isinstance(member, Cell)}
    swept = {name: member for name, member in members.items() if isinstance(member, Swept)}
    return found, cells, swept


def _several(card: Any) -> dict[str, tuple[Any, Any]]:
    """Return the backbones that a card stands for, by name; none: it is one itself."""
    if not card.is_network:
        return {}
    return dict(card.cells() if card.trained_here else card.swept())


def _output(ref: str) -> str:
    return ref.rpartition("/")[2].partition(OUTPUT)[2]


def _representations(ref: str, card: BackboneCard) -> list[str]:
    output = _output(ref)
    if output == BLOCKS and card.is_network and card.blocks is not None:
        of_blocks = block_outputs(card.blocks, card.outputs[0].pooling)
        return [f"{card.name}{OUTPUT}{each.name}" for each in of_blocks]
    return [f"{card.name}{OUTPUT}{output}" if output else card.name]


def _read_cards(
    config: StudyConfig,
    key: Literal["datasets", "training_datasets", "backbones"],
    model: Any,
    roots: Sequence[Path],
    where: str,
    problems: list[Problem],
) -> list[tuple[str, Located[Any]]]:
    """Read the cards that a key of the config names; problems are collected, not raised."""
    found: list[tuple[str, Located[Any]]] = []
    kind: Literal["datasets", "backbones"] = "backbones" if key == "backbones" else "datasets"
    folder, place = config.card_folders[kind], f"{where}, key {key}"
    for ref in getattr(config, key):
        name = ref.partition("@")[0] if kind == "backbones" else ref
        try:
            located = find_card(name, kind, model, folder, roots, place, Path(where))
        except UserError as error:
            problems += error.problems
            continue
        problems += naming_problems(ref, name, located, found, where)
        found.append((ref, located))
    return found

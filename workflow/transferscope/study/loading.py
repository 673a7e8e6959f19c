"""Loading a study: its config, and the cards that the config names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.lookup import Located, find_card, naming_problems
from transferscope.config.model import validate
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError
from transferscope.probes.registry import wanted_probes
from transferscope.study.conflicts import conflicts
from transferscope.study.study import Study


def load_study(config: dict[str, Any], roots: Sequence[Path], where: str) -> Study:
    """Validate a config and read its cards, and report all problems at once.

    Parameters
    ----------
    config
        Plain data, as parsed from YAML.
    roots
        Folders to which card folders and card paths are relative; the first match counts.
    where
        Name of the config file, for messages.

    Raises
    ------
    UserError
        With every problem of the config and of every card.
    """
    parsed: StudyConfig = validate(config, StudyConfig, where)
    problems: list[Problem] = []
    datasets = _read_cards(parsed, "datasets", DatasetCard, roots, where, problems)
    only_trained = _read_cards(parsed, "training_datasets", DatasetCard, roots, where, problems)
    backbones = _read_cards(parsed, "backbones", BackboneCard, roots, where, problems)
    representations = {ref: _representation(ref, found.card) for ref, found in backbones}
    study = Study(
        config=parsed,
        datasets={located.card.name: located for _, located in datasets},
        backbones={located.card.name: located for _, located in backbones},
        uncorrected=list(representations.values()),
        tuned_representations=[
            name for ref, name in representations.items() if ref in parsed.finetune.backbones
        ],
        training_datasets={located.card.name: located for _, located in only_trained},
    )
    try:
        wanted_probes(parsed, where)
    except UserError as error:
        problems += error.problems
    problems += conflicts(study, where)
    if problems:
        raise UserError(problems)
    return study


def _representation(ref: str, card: BackboneCard) -> str:
    _, _, output = ref.rpartition("/")[2].partition("@")
    return f"{card.name}@{output}" if output else card.name


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
            located = find_card(name, kind, model, folder, roots, place)
        except UserError as error:
            problems += error.problems
            continue
        problems += naming_problems(ref, name, located, found, where)
        found.append((ref, located))
    return found

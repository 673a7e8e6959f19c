"""A study resolved: its config, its cards, its paths and the list of jobs that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from transferscope.backbones.channels import strategies_for
from transferscope.backbones.strategies import store_strategy
from transferscope.cards import BackboneCard, DatasetCard, HandcraftedCard
from transferscope.config import StudyConfig
from transferscope.errors import Problem, UserError, suggest
from transferscope.models import read_model, validate
from transferscope.paths import StudyPaths
from transferscope.raw.masks import mask_columns
from transferscope.raw.raw_files import raw_digest
from transferscope.raw.sheets import SampleSheet, read_sheet

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


@dataclass(frozen=True, order=True)
class Probed:
    """What one probe job evaluates.

    Parameters
    ----------
    dataset
        Name of the dataset.
    representation
        `backbone` or `backbone@output`.
    channels
        Channel strategy; of a random order with its seed, `map-random-0`.
    """

    dataset: str
    representation: str
    channels: str

    @property
    def backbone(self) -> str:
        """Name of the backbone's card."""
        return self.representation.partition("@")[0]

    @property
    def output(self) -> str | None:
        """Name of the backbone's output; None: the first."""
        return self.representation.partition("@")[2] or None

    @property
    def stored_channels(self) -> str:
        """The strategy whose store holds the embeddings, of which others are views."""
        return store_strategy(self.channels)


@dataclass(frozen=True)
class Study:
    """A valid config with its cards.

    Parameters
    ----------
    config
        The study config.
    datasets, backbones
        Cards by name, in the order of the config.
    representations
        `backbone` or `backbone@output`, in the order of the config.
    """

    config: StudyConfig
    datasets: Mapping[str, Located[DatasetCard]]
    backbones: Mapping[str, Located[BackboneCard]]
    representations: Sequence[str]

    @classmethod
    def load(cls, config: dict[str, Any], roots: Sequence[Path], where: str) -> Study:
        """Validate a config and read its cards, reporting all problems at once.

        Parameters
        ----------
        config
            Plain data, as Snakemake or YAML hands it over.
        roots
            Folders to which card folders and card paths are relative; the first hit counts.
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
        backbones = _read_cards(parsed, "backbones", BackboneCard, roots, where, problems)
        study = cls(
            config=parsed,
            datasets={located.card.name: located for _, located in datasets},
            backbones={located.card.name: located for _, located in backbones},
            representations=[_representation(ref, found.card) for ref, found in backbones],
        )
        problems += study._conflicts(where)
        if problems:
            raise UserError(problems)
        return study

    @property
    def paths(self) -> StudyPaths:
        """Paths of the study."""
        return StudyPaths(Path(self.config.results) / self.config.study)

    def sheet_of(self, dataset: str) -> Path:
        """Return the sample sheet of a dataset: the user's, or that of the raw data made here."""
        located = self.datasets[dataset]
        if located.card.sheet is None:
            return self.paths.raw_sheet(dataset)
        return located.path.parent / located.card.sheet

    def sheet(self, dataset: str) -> SampleSheet:
        """Return the sample sheet of a dataset that the user has written; it is read once.

        Raises
        ------
        UserError
            With every problem of the sheet.
        """
        if dataset not in self._sheets:
            located = self.datasets[dataset]
            self._sheets[dataset] = read_sheet(self.sheet_of(dataset), located.card, located.path)
        return self._sheets[dataset]

    def raw_digest(self, dataset: str) -> str:
        """Return `raw_files.raw_digest` of such a dataset, masks included; found once."""
        if dataset not in self._digests:
            sheet = self.sheet(dataset)
            columns = mask_columns(sheet, self.datasets[dataset].card)
            self._digests[dataset] = raw_digest(sheet, columns)
        return self._digests[dataset]

    @cached_property
    def _sheets(self) -> dict[str, SampleSheet]:
        return {}

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {}

    def probed(self) -> list[Probed]:
        """Return everything that is evaluated, in the order of the config."""
        return list(self._probed)

    @cached_property
    def _probed(self) -> list[Probed]:
        return [
            Probed(dataset, representation, channels)
            for dataset in self.datasets
            for representation in self.representations
            for channels in self._strategies(representation, dataset)[0]
        ]

    def _strategies(self, representation: str, dataset: str) -> tuple[list[str], dict[str, str]]:
        card = self.backbones[representation.partition("@")[0]].card
        channels = self.datasets[dataset].card.channels
        config = self.config
        return strategies_for(card, config.channel_strategies, channels, config.strategy_seeds)

    def _conflicts(self, where: str) -> list[Problem]:
        """Find what is right in each file alone, but not together."""
        problems = []
        for representation in self.representations:
            backbone, _, output = representation.partition("@")
            known = output_names(self.backbones[backbone].card)
            if output and output not in known:
                what = f'backbone "{backbone}" has no output "{output}"'
                problems.append(Problem(f"{where}, key backbones", what, suggest(output, known)))
            for dataset in self.datasets:
                for strategy, reason in self._strategies(representation, dataset)[1].items():
                    place = f"{where}, key channel_strategies"
                    what = f"{strategy} cannot be served by {backbone} on {dataset}: {reason}"
                    problems.append(Problem(place, what, "Take one of the three out of the study."))
        problems += [
            _scale_problem(dataset, backbone)
            for dataset in self.datasets.values()
            for backbone in self.backbones.values()
            if getattr(backbone.card, "scale", "fit") == "physical"
            and dataset.card.pixel_size_um is None
        ]
        return list(dict.fromkeys([*problems, *self._unknown_fields(where)]))

    def _unknown_fields(self, where: str) -> list[Problem]:
        """Find datasets of cells or of whole fields that the study does not have."""
        known = list(self.datasets)
        pairs = self.config.aggregate.fields.items()
        return [
            Problem(
                f"{where}, key aggregate.fields",
                f'"{name}" is no dataset of the study',
                suggest(name, known),
            )
            for name in dict.fromkeys(name for pair in pairs for name in pair)
            if name not in known
        ]


def _scale_problem(dataset: Located[DatasetCard], backbone: Located[BackboneCard]) -> Problem:
    what = f"is not known, but {backbone.card.name} shows tiles at a pixel size (scale: physical)"
    mend = f"Give it, or set `scale: fit` in {backbone.path}."
    return Problem(f"{dataset.path}, key pixel_size_um", what, mend)


def output_names(card: BackboneCard) -> list[str]:
    """Return the names of a backbone's outputs, the default one first."""
    if isinstance(card, HandcraftedCard):
        return ["features"]
    return [output.name for output in card.outputs]


def _representation(ref: str, card: BackboneCard) -> str:
    _, _, output = ref.rpartition("/")[2].partition("@")
    return f"{card.name}@{output}" if output else card.name


def _read_cards(
    config: StudyConfig,
    kind: Literal["datasets", "backbones"],
    model: Any,
    roots: Sequence[Path],
    where: str,
    problems: list[Problem],
) -> list[tuple[str, Located[Any]]]:
    """Read the cards that the config names; problems are collected, not raised."""
    found: list[tuple[str, Located[Any]]] = []
    refs: list[str] = list(getattr(config, kind))
    for ref in refs:
        name = ref.partition("@")[0] if kind == "backbones" else ref
        try:
            located = _find(
                name, kind, model, config.card_folders[kind], roots, f"{where}, key {kind}"
            )
        except UserError as error:
            problems += error.problems
            continue
        problems += _naming_problems(ref, name, located, found, where)
        found.append((ref, located))
    return found


def locate_card(
    name: str, kind: Literal["datasets", "backbones"], model: Any, roots: Sequence[Path]
) -> Located[Any]:
    """Return a card by name, from the folders that a config has by default, or by path.

    Parameters
    ----------
    name
        Name or path.
    kind, model
        Which cards.
    roots
        Folders to which card folders and paths are relative; the first hit counts.

    Raises
    ------
    UserError
        Where there is no such card, or it is wrong.
    """
    folder = StudyConfig.model_fields["card_folders"].default[kind]
    return _find(name, kind, model, folder, roots, name)


def _find(
    name: str,
    kind: Literal["datasets", "backbones"],
    model: Any,
    folder: str,
    roots: Sequence[Path],
    where: str,
) -> Located[Any]:
    path = _locate(name, folder, roots)
    if path is None:
        what = f'unknown {kind.removesuffix("s")} "{name}"'
        raise UserError(Problem(where, what, suggest(name, _known_cards(folder, roots))))
    return Located(read_model(path, model), path)


def _naming_problems(
    ref: str,
    name: str,
    located: Located[Any],
    found: Sequence[tuple[str, Located[Any]]],
    where: str,
) -> list[Problem]:
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

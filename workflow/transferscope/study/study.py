"""A study resolved: its config, its cards, its paths and the list of jobs that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from transferscope.cards import BackboneCard, DatasetCard, TrainCard
from transferscope.cards.lookup import Located, find_card, naming_problems
from transferscope.channels.assignment import assign, strategies_for
from transferscope.config.channel_strategies import MAP
from transferscope.config.jobs import HeldOutDivision, Leakage
from transferscope.config.model import validate
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError, suggest
from transferscope.probes.registry import wanted_probes
from transferscope.raw.masks import mask_columns
from transferscope.raw.raw_files import raw_digest
from transferscope.raw.sheets import SampleSheet, read_sheet

LEAST_CLASSES = 2


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
    tuned_representations
        Those that are fine-tuned.
    training_datasets
        Cards of the datasets that are only trained on.
    """

    config: StudyConfig
    datasets: Mapping[str, Located[DatasetCard]]
    backbones: Mapping[str, Located[BackboneCard]]
    representations: Sequence[str]
    tuned_representations: Sequence[str] = ()
    training_datasets: Mapping[str, Located[DatasetCard]] = field(default_factory=dict)

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
        only_trained = _read_cards(parsed, "training_datasets", DatasetCard, roots, where, problems)
        backbones = _read_cards(parsed, "backbones", BackboneCard, roots, where, problems)
        study = cls(
            config=parsed,
            datasets={located.card.name: located for _, located in datasets},
            backbones={located.card.name: located for _, located in backbones},
            representations=[_representation(ref, found.card) for ref, found in backbones],
            tuned_representations=[
                _representation(ref, found.card)
                for ref, found in backbones
                if ref in parsed.finetune.backbones
            ],
            training_datasets={located.card.name: located for _, located in only_trained},
        )
        try:
            wanted_probes(parsed, where)
        except UserError as error:
            problems += error.problems
        problems += study._conflicts(where)
        if problems:
            raise UserError(problems)
        return study

    @cached_property
    def paths(self) -> StudyPaths:
        """Paths of the study."""
        return paths_of(self.config)

    @cached_property
    def all_datasets(self) -> dict[str, Located[DatasetCard]]:
        """Every dataset whose tiles are made, those first on which something is evaluated."""
        return {**self.datasets, **self.training_datasets}

    @cached_property
    def trained(self) -> dict[str, TrainCard]:
        """Cards of the backbones that are trained here, by name."""
        cards = {name: located.card for name, located in self.backbones.items()}
        return {name: card for name, card in cards.items() if card.trained_here}

    def held_out(self, card: TrainCard) -> HeldOutDivision | None:
        """Return the division whose test groups a training never sees, if there is one."""
        chosen = card.held_out
        if chosen is None:
            return None
        seed = self.config.splits.seeds[0] if chosen.seed is None else chosen.seed
        return HeldOutDivision(scheme="group", seed=seed, fold=chosen.fold)

    def leakage(self, backbone: str, dataset: str) -> Leakage:
        """Return what a backbone has seen of a dataset while it was trained in this study.

        Cells and the fields that they were cut from are the same images.
        """
        card = self.trained.get(backbone)
        if card is None or not self.same_images(dataset) & set(card.datasets):
            return Leakage()
        if held_out := self.held_out(card):
            return Leakage(only=held_out)
        seen = "images and groups" if card.objective.reads_groups else "images"
        return Leakage(seen_in_training=seen)

    def same_images(self, dataset: str) -> set[str]:
        """Return the datasets that show the images of one: cells, and their whole fields."""
        pairs = [{cells, fields} for cells, fields in self.config.aggregate.fields.items()]
        return {dataset}.union(*(pair for pair in pairs if dataset in pair))

    def sheet_of(self, dataset: str) -> Path:
        """Return the sample sheet of a dataset: the user's, or that of the raw data made here."""
        located = self.all_datasets[dataset]
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
            located = self.all_datasets[dataset]
            self._sheets[dataset] = read_sheet(self.sheet_of(dataset), located.card, located.path)
        return self._sheets[dataset]

    def raw_digest(self, dataset: str) -> str:
        """Return `raw_files.raw_digest` of such a dataset, masks included; found once."""
        if dataset not in self._digests:
            sheet = self.sheet(dataset)
            columns = mask_columns(sheet, self.all_datasets[dataset].card)
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

    def fine_tuned(self) -> list[Probed]:
        """Return what is fine-tuned, in each of the modes; all of it is evaluated frozen, too."""
        settings, seeds = self.config.finetune, self.config.strategy_seeds
        chosen = []
        for probed in self.probed():
            card = self.backbones[probed.backbone].card
            channels = self.datasets[probed.dataset].card.channels
            served = strategies_for(card, settings.channels, channels, seeds)[0]
            if probed.representation in self.tuned_representations and probed.channels in served:
                chosen.append(probed)
        return chosen

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
            known = self.backbones[backbone].card.output_names
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
            if backbone.card.needs_pixel_size and dataset.card.pixel_size_um is None
        ]
        problems += [*self._unknown_fields(where), *self._not_tunable(where)]
        problems += [
            Problem(
                f"{located.path}, key labels",
                "fewer than two classes, so that there is nothing to evaluate",
                "List the classes, or name the dataset under `training_datasets` of the config.",
            )
            for located in self.datasets.values()
            if len(located.card.labels) < LEAST_CLASSES
        ]
        problems += [
            problem
            for name, card in self.trained.items()
            for problem in self._training_problems(card, self.backbones[name].path)
        ]
        return list(dict.fromkeys([*problems, *self._evaluated_twice(where)]))

    def _evaluated_twice(self, where: str) -> list[Problem]:
        twice = [name for name in self.training_datasets if name in self.datasets]
        what = "is also one of `datasets`, all of which may be trained on"
        place = f"{where}, key training_datasets"
        return [Problem(place, f'"{name}" {what}', "Name it there alone.") for name in twice]

    def _training_problems(self, card: TrainCard, path: Path) -> list[Problem]:
        """Find what a backbone cannot be trained on, and divisions that there are not."""
        known = list(self.all_datasets)
        problems = [
            Problem(
                f"{path}, key datasets",
                f'"{name}" is no dataset of the study',
                suggest(name, known),
            )
            for name in card.datasets
            if name not in known
        ]
        for name in card.datasets:
            if name in known and not card.takes_any_channels:
                problems += _channel_problems(card, path, self.all_datasets[name].card)
        return problems + self._held_out_problems(card, path)

    def _held_out_problems(self, card: TrainCard, path: Path) -> list[Problem]:
        held_out, splits = self.held_out(card), self.config.splits
        if held_out is None:
            return []
        where = f"{path}, key exclude_test_groups"
        if "group" not in splits.schemes:
            what = "the study has no division by group (splits.schemes)"
            return [Problem(where, what, "Add `group` to splits.schemes, or set this to false.")]
        problems = []
        for key, value, known in (
            ("seed", held_out.seed, splits.seeds),
            ("fold", held_out.fold, range(splits.folds["group"])),
        ):
            if value not in known:
                shown = ", ".join(map(str, known))
                problems.append(
                    Problem(where, f"the study has no {key} {value}", f"Known: {shown}.")
                )
        return problems

    def _not_tunable(self, where: str) -> list[Problem]:
        """Find what cannot be fine-tuned, as far as it is known without building a network."""
        place = f"{where}, key finetune.backbones"
        known = self.config.backbones
        wanted = self.config.finetune.backbones
        problems = [
            Problem(place, f'"{ref}" is none of the backbones of the study', suggest(ref, known))
            for ref in wanted
            if ref not in known
        ]
        for representation in self.tuned_representations:
            card = self.backbones[representation.partition("@")[0]].card
            if not card.is_network:
                what = f"{card.name} has no weights that could be trained"
                problems.append(Problem(place, what, "Take it out of the list."))
        return problems

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
    fix = f"Give it, or set `scale: fit` in {backbone.path}."
    return Problem(f"{dataset.path}, key pixel_size_um", what, fix)


def _channel_problems(card: TrainCard, path: Path, dataset: DatasetCard) -> list[Problem]:
    """Find datasets of which no channel, or not a single one that is shown, fits a slot."""
    try:
        assign(MAP, dataset.channels, card.slots)
    except UserError as error:
        fix = "Let a slot accept a channel of it, or take it out of `datasets`."
        return [
            Problem(f"{path}, key slots", f"{dataset.name}: {problem.what}", fix)
            for problem in error.problems
        ]
    return []


def paths_of(config: StudyConfig) -> StudyPaths:
    """Return the paths of the study of a config."""
    return StudyPaths(Path(config.results) / config.study)


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
    refs: list[str] = list(getattr(config, key))
    for ref in refs:
        name = ref.partition("@")[0] if kind == "backbones" else ref
        try:
            located = find_card(
                name, kind, model, config.card_folders[kind], roots, f"{where}, key {key}"
            )
        except UserError as error:
            problems += error.problems
            continue
        problems += naming_problems(ref, name, located, found, where)
        found.append((ref, located))
    return found

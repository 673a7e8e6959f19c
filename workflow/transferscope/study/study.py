"""A resolved study: its config, its cards, its paths, and what is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from transferscope.cards import BackboneCard, DatasetCard, TrainCard
from transferscope.cards.grid import AT, Cell
from transferscope.cards.lookup import Located
from transferscope.cards.sweep import Swept
from transferscope.channels.assignment import strategies_for
from transferscope.config.channel_strategies import GIVEN
from transferscope.config.correction import NONE
from transferscope.config.jobs import HeldOutDivision, Leakage, LeakageByName
from transferscope.config.modes import head_of_mode
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed, backbone_of, corrected_name
from transferscope.config.study import StudyConfig
from transferscope.errors import UserError
from transferscope.given.rows import GivenRows, read_given
from transferscope.raw.masks import CELL_MASK, mask_columns
from transferscope.raw.raw_files import files_digest, raw_digest
from transferscope.raw.sheets import SampleSheet, read_sheet


@dataclass(frozen=True)
class Study:
    """A valid config with its cards.

    Parameters
    ----------
    config
        The study config.
    datasets, backbones
        Cards by name, in the order of the config.
    uncorrected
        `backbone` or `backbone@output`, in the order of the config.
    tuned_representations
        Those that are fine-tuned.
    training_datasets
        Cards of the datasets that are used for training only.
    cells
        Backbone -> which cell of a grid it is, for those that one card stands for.
    swept
        Backbone -> its scale, for those that one card stands for.
    layered
        Backbones of which every block is evaluated.
    folder
        The folder that its paths are relative to, where it runs.
    """

    config: StudyConfig
    datasets: Mapping[str, Located[DatasetCard]]
    backbones: Mapping[str, Located[BackboneCard]]
    uncorrected: Sequence[str]
    tuned_representations: Sequence[str] = ()
    training_datasets: Mapping[str, Located[DatasetCard]] = field(default_factory=dict)
    cells: Mapping[str, Cell] = field(default_factory=dict)
    swept: Mapping[str, Swept] = field(default_factory=dict)
    layered: Sequence[str] = ()
    folder: Path = Path()

    @cached_property
    def paths(self) -> StudyPaths:
        """Paths of the study."""
        return paths_of(self.config, self.folder)

    @cached_property
    def all_datasets(self) -> dict[str, Located[DatasetCard]]:
        """Every dataset whose tiles are made, those that are evaluated first."""
        return {**self.datasets, **self.training_datasets}

    @cached_property
    def image_datasets(self) -> dict[str, Located[DatasetCard]]:
        """The datasets of `datasets` that have images, which the backbones embed."""
        return {name: self.datasets[name] for name in self.datasets if not self.is_table(name)}

    def is_table(self, dataset: str) -> bool:
        """Return whether a dataset is a table of features, without images."""
        return self.all_datasets[dataset].card.source == "table"

    @cached_property
    def representations(self) -> list[str]:
        """What is evaluated of images: each of `uncorrected` by each correction of the config."""
        return self._corrected(self.uncorrected)

    def _corrected(self, names: Sequence[str]) -> list[str]:
        methods = self.config.correction.methods
        return [
            name if method == NONE else corrected_name(name, method)
            for name in names
            for method in methods
        ]

    @cached_property
    def trained(self) -> dict[str, TrainCard]:
        """Cards of the backbones that are trained in the study, by name."""
        found = self.backbones.items()
        return {name: located.card for name, located in found if located.card.trained_here}

    @cached_property
    def taken(self) -> dict[str, str]:
        """Cell -> the cell whose training it is taken from, before its end."""
        found = {}
        for name, cell in self.cells.items():
            training = cell.training(self.trained[name].steps)
            if training != name:
                found[name] = training
        return found

    @cached_property
    def trainings(self) -> dict[str, TrainCard]:
        """Cards of `trained` that have a training of their own."""
        return {name: card for name, card in self.trained.items() if name not in self.taken}

    def kept_steps(self, training: str) -> list[int]:
        """Return after how many steps weights of a training are kept, except its last."""
        of = (name for name, other in self.taken.items() if other == training)
        return [int(self.cells[name].values[AT]) for name in of]

    @cached_property
    def families(self) -> dict[str, str]:
        """Backbone -> its family, of which the study has several; not of grids and sweeps."""
        found = {
            name: located.card.family
            for name, located in self.backbones.items()
            if located.card.is_network and located.card.family and self.card_name(name) == name
        }
        several = {family for family in found.values() if list(found.values()).count(family) > 1}
        return {name: family for name, family in found.items() if family in several}

    def card_name(self, backbone: str) -> str:
        """Return the name of its card, which stands for others, too, in a grid or a sweep."""
        if backbone in self.cells:
            return self.cells[backbone].grid
        return self.swept[backbone].card if backbone in self.swept else backbone

    def held_out(self, card: TrainCard) -> HeldOutDivision | None:
        """Return the division whose test groups a training never sees, if there is one."""
        chosen = card.held_out
        if chosen is None:
            return None
        seed = self.config.splits.seeds[0] if chosen.seed is None else chosen.seed
        return HeldOutDivision(scheme="group", seed=seed, fold=chosen.fold)

    def leakage(self, backbone: str, dataset: str) -> Leakage:
        """Return what a backbone has seen of a dataset while it was trained in this study.

        Cells and the fields that they were cut from are the same images. Whether other datasets
        hold the same groups depends on names, which are compared when the probes run.
        """
        card = self.trained.get(backbone)
        if card is None:
            return Leakage()
        held_out = self.held_out(card)
        if self.same_images(dataset) & set(card.datasets):
            if held_out:
                return Leakage(only=held_out)
            seen = "images and groups" if card.objective.reads_groups else "images"
            return Leakage(seen_in_training=seen)
        return LeakageByName(
            seen_in_training="no" if held_out else "in another dataset",
            only=held_out,
            named_in=[self.paths.tile_table(name) for name in card.datasets],
        )

    def may_have_seen(self) -> dict[str, list[str]]:
        """Return dataset -> representations whose published weights may have seen its groups.

        According to the cards: `trained_on` of a backbone, `collections` of a dataset.
        """
        seen: dict[str, list[str]] = {}
        for name, located in self.image_datasets.items():
            for representation in self.representations:
                card = self.backbones[backbone_of(representation)].card
                if card.needs_weights and set(located.card.collections) & set(card.trained_on):
                    seen.setdefault(name, []).append(representation)
        return seen

    def controls(self) -> list[str]:
        """Return the representations of networks with random weights."""
        cards = {r: self.backbones[backbone_of(r)].card for r in self.representations}
        return [
            representation
            for representation, card in cards.items()
            if card.is_network and not card.needs_weights and not card.trained_here
        ]

    def nuisances(self) -> list[str]:
        """Return the representations that know but numbers of cells and quality of images."""
        cards = {r: self.backbones[backbone_of(r)].card for r in self.representations}
        return [name for name, card in cards.items() if not card.is_network and card.is_nuisance]

    @property
    def measured(self) -> list[str]:
        """Datasets whose tiles are measured, to predict that from embeddings."""
        settings = self.config.nuisance
        if settings is None or not settings.measures or not self.config.scored:
            return []
        return [name for name in self.datasets if name in self.image_datasets]

    def same_images(self, dataset: str) -> set[str]:
        """Return the datasets with the same images as one: cells, and their whole fields."""
        pairs = [{cells, fields} for cells, fields in self.config.aggregate.fields.items()]
        return {dataset}.union(*(pair for pair in pairs if dataset in pair))

    @cached_property
    def with_targets(self) -> list[str]:
        """The datasets of `datasets` whose masks become targets: of a study that segments."""
        if self.config.segmentation is None:
            return []
        return [name for name, located in self.datasets.items() if located.card.masks is not None]

    def out_of_domain(self, dataset: str) -> list[str]:
        """Return the datasets on which decoders of a dataset are tested, too."""
        settings = self.config.segmentation
        return settings.out_of_domain.get(dataset, []) if settings else []

    @cached_property
    def with_objects(self) -> list[str]:
        """The datasets of `with_targets` of which single objects are segmented, too."""
        if self.config.segmentation is None or not self.config.segmentation.objects:
            return []
        masks = {name: self.datasets[name].card.masks for name in self.with_targets}
        return [name for name, one in masks.items() if one and one.kind == "instances"]

    def table_of(self, dataset: str) -> Path:
        """Return the path of a dataset's tile table; with the labels given by hand, if it has."""
        by_hand = self.all_datasets[dataset].card.label_table is not None
        return self.paths.relabelled(dataset) if by_hand else self.paths.tile_table(dataset)

    def sheet_of(self, dataset: str) -> Path:
        """Return the path of a dataset's sample sheet: the user's, or that of generated data."""
        located = self.all_datasets[dataset]
        if located.card.table is not None:
            return located.path.parent / located.card.table
        if located.card.sheet is None:
            return self.paths.raw_sheet(dataset)
        return located.path.parent / located.card.sheet

    def sheet(self, dataset: str) -> SampleSheet:
        """Return the user's sample sheet of a dataset; it is read once.

        Raises
        ------
        UserError
            With every problem of the sheet.
        """
        if dataset not in self._sheets:
            located = self.all_datasets[dataset]
            self._sheets[dataset] = read_sheet(self.sheet_of(dataset), located.card, located.path)
        return self._sheets[dataset]

    def given(self, dataset: str) -> GivenRows:
        """Return the rows of a table of features; it is read once.

        Raises
        ------
        UserError
            With every problem of the table.
        """
        if dataset not in self._given:
            located, skip = self.all_datasets[dataset], self.config.bad_tiles == "skip"
            try:
                self._given[dataset] = read_given(located.card, located.path, skip=skip).rows
            except UserError as error:
                self._given[dataset] = error
        found = self._given[dataset]
        if isinstance(found, UserError):
            raise UserError(found.problems)
        return found

    def raw_digest(self, dataset: str) -> str:
        """Return `raw_files.raw_digest` of such a dataset, including masks; computed once."""
        if dataset not in self._digests:
            sheet = self.sheet(dataset)
            columns = mask_columns(sheet, self.all_datasets[dataset].card)
            self._digests[dataset] = raw_digest(sheet, columns)
        return self._digests[dataset]

    def mask_digest(self, dataset: str) -> str:
        """Return a digest of the masks of a dataset with a sheet, that changes with the files.

        Raises
        ------
        UserError
            With every problem of the sheet.
        """
        sheet = self.sheet(dataset)
        return files_digest(sheet, [CELL_MASK] if CELL_MASK in sheet.table else [])

    @cached_property
    def _sheets(self) -> dict[str, SampleSheet]:
        return {}

    @cached_property
    def _given(self) -> dict[str, GivenRows | UserError]:
        return {}

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {}

    def probed(self) -> list[Probed]:
        """Return everything that is evaluated, in the order of the config."""
        return list(self._probed)

    @cached_property
    def _probed(self) -> list[Probed]:
        return self._stores_of(self._corrected)

    def embedded(self) -> list[Probed]:
        """Return everything of `probed` without a correction, whether that is evaluated or not."""
        return self._stores_of(list)

    def _stores_of(self, corrected: Callable[[Sequence[str]], list[str]]) -> list[Probed]:
        return [
            Probed(dataset, representation, channels)
            for dataset, located in self.datasets.items()
            for representation in corrected(located.card.feature_sets or self.uncorrected)
            for channels in self.strategies(representation, dataset)[0]
        ]

    def fine_tuned(self) -> list[Probed]:
        """Return what is fine-tuned, in each of the modes; it is a subset of `probed`."""
        settings, seeds = self.config.finetune, self.config.strategy_seeds
        chosen = []
        for probed in self.probed():
            if self.is_table(probed.dataset):
                continue
            card = self.backbones[probed.backbone].card
            channels = self.datasets[probed.dataset].card.channels
            served = strategies_for(card, settings.channels, channels, seeds)[0]
            if probed.representation in self.tuned_representations and probed.channels in served:
                chosen.append(probed)
        return chosen

    def tuned_heads(self) -> list[str]:
        """Return the modes of fine-tuning, as the tables and the paths name them."""
        settings = self.config.finetune
        return [head_of_mode(mode) for mode in settings.modes] if settings.backbones else []

    def segmented(self) -> list[Probed]:
        """Return what decoders are trained on: networks, once each, on datasets with masks."""
        found: dict[tuple[str, str, str], Probed] = {}
        for p in self.embedded():
            if p.dataset in self.with_targets and self.backbones[p.backbone].card.is_network:
                # All outputs of a backbone are read from the same maps.
                found[p.dataset, p.backbone, p.channels] = Probed(p.dataset, p.backbone, p.channels)
        return list(found.values())

    def strategies(self, representation: str, dataset: str) -> tuple[list[str], dict[str, str]]:
        """Return the strategies of a representation on a dataset, and why others are impossible."""
        if self.is_table(dataset):
            return [GIVEN], {}
        card = self.backbones[backbone_of(representation)].card
        channels = self.datasets[dataset].card.channels
        config = self.config
        return strategies_for(card, config.channel_strategies, channels, config.strategy_seeds)


def paths_of(config: StudyConfig, folder: Path = Path()) -> StudyPaths:
    """Return the paths of the study of a config that runs in a folder."""
    return StudyPaths(folder / config.results / config.study)

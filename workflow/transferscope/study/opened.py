"""What a notebook reads of a study: its datasets, stores and tables, by name.

Nothing is written, and nothing is read before it is asked for.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.compare.tables import classes_of, read_scores, read_summary
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.errors import Problem, UserError, suggest
from transferscope.probes.labels import label_matrix
from transferscope.probes.registry import probe_names
from transferscope.runtime.arrays import Floats32
from transferscope.runtime.plain_files import require_file
from transferscope.runtime.spreadsheets import unguarded
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_origin, check_store, check_tiles
from transferscope.stores.parquet import read_parquet, read_tile_table
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.study.loading import read_study_that_ran
from transferscope.study.run_command import run_command
from transferscope.study.study import Study

SUMMARY = "summary"
PER_CLASS = ("true", "predicted", "score")


def open_study(config: str | os.PathLike[str], folder: str | os.PathLike[str] = "") -> OpenedStudy:
    """Open a study, finished or not, to read its stores and tables.

    Parameters
    ----------
    config
        The study's file, such as ``"my.yaml"``, as given on the command line in that folder.
    folder
        The folder in which the study runs; results and cards are relative to it. Default: the
        working folder.

    Returns
    -------
    OpenedStudy
        The study as it ran last; if it never ran, as its file says.

    Raises
    ------
    UserError
        With every problem of the file and of the cards that it names.

    Examples
    --------
    >>> study = transferscope.open_study("my.yaml")                       # doctest: +SKIP
    >>> study.dataset("cells").embeddings("dino", "map").values.shape     # doctest: +SKIP
    (36, 384)
    """
    place = Path(folder) / config
    return OpenedStudy(read_study_that_ran(require_file(place), Path(folder)), place)


@dataclass(frozen=True)
class OpenedStudy:
    """A study; `open_study` makes it.

    Parameters
    ----------
    study
        Its config and its cards.
    place
        Its file.
    """

    study: Study
    place: Path

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.study.config.study

    @property
    def root(self) -> Path:
        """The folder of its results."""
        return self._paths.root

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets that are evaluated, in the order of the config."""
        return list(self.study.datasets)

    @property
    def backbones(self) -> list[str]:
        """What is evaluated: `backbone`, `backbone@output`, and with `+` the correction."""
        return list(dict.fromkeys(probed.representation for probed in self.study.probed()))

    @property
    def strategies(self) -> list[str]:
        """Names of the channel strategies of all stores."""
        return list(dict.fromkeys(probed.channels for probed in self.study.probed()))

    @property
    def stores(self) -> pd.DataFrame:
        """One row per store that is evaluated: dataset, backbone, channels, and if it is made."""
        columns = ["dataset", "backbone", "channels", "is_made"]
        rows = [
            (p.dataset, p.representation, p.channels, self._paths.embeddings_of(p).is_file())
            for p in self.study.probed()
        ]
        return pd.DataFrame(rows, columns=columns)

    @property
    def tables(self) -> list[str]:
        """Names of the tables that there are now: of the comparison, and of known biology."""
        return list(self._tables())

    @property
    def probes(self) -> list[str]:
        """Names of what gives scores: `heads`, `knn`, further probes, modes of fine-tuning."""
        return [*probe_names(self.study.config), *self.study.tuned_heads()]

    def dataset(self, name: str | None = None) -> OpenedDataset:
        """Return a dataset.

        Parameters
        ----------
        name
            Its name; None: the only one.

        Raises
        ------
        UserError
            If there is no such dataset, or there are several and none is named.
        """
        return OpenedDataset(self, self._chosen(name, self.datasets, "dataset"))

    def table(self, name: str = SUMMARY) -> pd.DataFrame:
        """Return a table of the results, with the names of classes.

        Parameters
        ----------
        name
            One of `tables`, such as ``summary``, ``leaderboard``, ``differences``, ``per_class``;
            the page on reading the results says what they hold.

        Raises
        ------
        UserError
            If there is no such table, or it is damaged.
        """
        found = self._tables()
        if name not in found:
            what = f'the study has no table "{name}" now'
            if not found:
                raise self.missing(what)
            raise self._problem(what, suggest(name, list(found)))
        path = found[name]
        if path == self._paths.summary_csv:
            return read_summary(path)
        if path.suffix == ".parquet":
            return read_parquet(path)
        return unguarded(pd.read_csv(path, keep_default_na=False, na_values=[""]))

    def scores(
        self,
        probe: str,
        dataset: str | None = None,
        backbone: str | None = None,
        channels: str | None = None,
    ) -> pd.DataFrame:
        """Return scores, fold by fold: one row per score, and per class where it is of a class.

        Parameters
        ----------
        probe
            One of `probes`.
        dataset, backbone, channels
            Of the stores; None: all.

        Raises
        ------
        UserError
            If there is none of that name, or a table is not made yet.
        """
        paths = [
            self._paths.scores(probe, p.dataset, p.representation, p.channels)
            for p in self._scored(probe, dataset, backbone, channels)
        ]
        if missing := [path for path in paths if not path.is_file()]:
            what = f"{len(missing)} of {len(paths)} tables are not made yet, such as {missing[0]}"
            raise self.missing(what)
        return read_scores(paths)

    def predictions(
        self,
        probe: str,
        dataset: str | None = None,
        backbone: str | None = None,
        channels: str | None = None,
    ) -> pd.DataFrame:
        """Return what the heads on one store say of each tile in each test fold.

        Parameters
        ----------
        probe
            One of `probes`.
        dataset, backbone, channels
            Of the store; None: the only one.

        Returns
        -------
        DataFrame
            `head`, `k`, `scheme`, `seed`, `fold`, `fraction`, `row`, `tile_id`, `group`, and for
            each class ``true_<class>``, ``predicted_<class>`` and ``score_<class>``.

        Raises
        ------
        UserError
            If there is none of that name, several are meant, or the table is not made yet.
        """
        found = self._scored(probe, dataset, backbone, channels)
        if len(found) > 1:
            raise self._several(found)
        (p,) = found
        path = self._paths.predictions(probe, p.dataset, p.representation, p.channels)
        if not path.is_file():
            raise self.missing(f"{path} is not made yet")
        names = dict(enumerate(classes_of(path)))
        renamed = {f"{kind}_{n}": f"{kind}_{c}" for kind in PER_CLASS for n, c in names.items()}
        return read_parquet(path).rename(columns=renamed)

    @property
    def _paths(self) -> StudyPaths:
        return self.study.paths

    def _tables(self) -> dict[str, Path]:
        """Return name -> file; a table of known biology has its place in front of its name."""
        paths = self._paths
        summary = [paths.summary_csv] if paths.summary_csv.is_file() else []
        compared = sorted(paths.comparison("scores").parent.glob("*.parquet"))
        found = {path.stem: path for path in (*summary, *compared)}
        for path in sorted(paths.relations().parent.rglob("*.csv")):
            found[str(path.relative_to(self.root).with_suffix(""))] = path
        return found

    def _scored(
        self, probe: str, dataset: str | None, backbone: str | None, channels: str | None
    ) -> list[Probed]:
        """Return the stores that a probe scores, of those that are named."""
        self._chosen(probe, self.probes, "probe")
        is_tuned = probe in self.study.tuned_heads()
        found = self.study.fine_tuned() if is_tuned else self.study.probed()
        return self._stores(found, dataset, backbone, channels)

    def _stores(
        self,
        found: Sequence[Probed],
        dataset: str | None,
        backbone: str | None,
        channels: str | None,
    ) -> list[Probed]:
        """Return the stores that are named, at least one."""
        for name, key, kind in (
            (dataset, "dataset", "dataset"),
            (backbone, "representation", "backbone"),
            (channels, "channels", "channel strategy"),
        ):
            known = list(dict.fromkeys(getattr(p, key) for p in found))
            if name is not None:
                self._chosen(name, known, kind)
                found = [p for p in found if getattr(p, key) == name]
        return list(found)

    def _chosen(self, name: str | None, known: Sequence[str], kind: str) -> str:
        """Return a name if it is known; None: the only one that is."""
        if name is None and len(known) == 1:
            return known[0]
        if name is None:
            what = f"has {len(known)} of the kind {kind}"
            raise self._problem(what, f"Name one: {', '.join(known)}.")
        if name not in known:
            raise self._problem(f'"{name}" is no {kind} of the study', suggest(name, known))
        return name

    def _several(self, found: Sequence[Probed]) -> UserError:
        shown = "; ".join(f"{p.dataset}, {p.representation}, {p.channels}" for p in found[:9])
        return self._problem(f"{len(found)} stores are meant", f"Name one: {shown}.")

    def _problem(self, what: str, fix: str) -> UserError:
        return UserError(Problem(str(self.place), what, fix))

    def missing(self, what: str) -> UserError:
        """Return the error for a result that is not made yet, with the command that makes it."""
        folder = self.study.folder
        given = self.place.relative_to(folder) if self.place.is_relative_to(folder) else self.place
        command = run_command("--cores", "all", configs=[given])
        where = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
        return self._problem(what, f"Run the study: {where}{command}")


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset of a study; `OpenedStudy.dataset` makes it. All rows are in one order.

    Parameters
    ----------
    opened
        The study.
    name
        Name of the dataset.
    """

    opened: OpenedStudy
    name: str

    @property
    def card(self) -> DatasetCard:
        """Its card: channels, pixel size, classes and so on."""
        return self._study.datasets[self.name].card

    @property
    def classes(self) -> list[str]:
        """Names of its classes."""
        return list(self.card.labels)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per tile: `tile_id`, `group`, `labels` (joined by `;`), and its metadata.

        Raises
        ------
        UserError
            If it is not made yet, or damaged.
        """
        return read_tile_table(self._made(self._study.table_of(self.name)))

    @cached_property
    def labels(self) -> pd.DataFrame:
        """Whether each tile has each class: bool, an index of tile ids, one column per class."""
        texts = self.table["labels"].fillna("").to_numpy(dtype=object)
        ids = pd.Index(self.table["tile_id"].astype(str), name="tile_id", dtype=object)
        return pd.DataFrame(label_matrix(texts, self.classes), index=ids, columns=self.classes)

    @cached_property
    def tiles(self) -> TileStore:
        """Its tile store: ``read(start, stop)`` gives pixels [n, C, H, W], ``array`` is Zarr's.

        Raises
        ------
        UserError
            If it has no images, is not made yet, or is damaged.
        """
        if self._study.is_table(self.name):
            what = f"{self.name} is a table of features, without images"
            raise self.opened._problem(what, "Take `embeddings`.")
        store = TileStore(self._made(self._paths.tiles(self.name)))
        check_tiles(self._study.table_of(self.name), self.table, store)
        return store

    @cached_property
    def targets(self) -> TargetStore:
        """The masks of its tiles, [N, H, W].

        Raises
        ------
        UserError
            If the study makes none, or they are not made yet or damaged.
        """
        if self.name not in self._study.with_targets:
            what = f"the study makes no targets of {self.name}"
            fix = "Add `masks` to the dataset's card and `segmentation` to the study."
            raise self.opened._problem(what, fix)
        store = TargetStore.open(self._made(self._paths.targets(self.name)))
        made_from = {"tiles_sha256": self.tiles.content_sha256}
        check_origin(store.manifest_path, store.attributes, made_from)
        return store

    @property
    def has_targets(self) -> bool:
        """Whether the study makes targets of its masks."""
        return self.name in self._study.with_targets

    def embeddings(self, backbone: str | None = None, channels: str | None = None) -> Embeddings:
        """Return one output of a backbone, with one channel strategy.

        Parameters
        ----------
        backbone
            One of `OpenedStudy.backbones`; None: the only one.
        channels
            Channel strategy; None: the only one.

        Raises
        ------
        UserError
            If there is no such store, several are meant, or it is not made yet or damaged.
        """
        found = self.opened._stores(self._study.probed(), self.name, backbone, channels)
        if len(found) > 1:
            raise self.opened._several(found)
        (probed,) = found
        manifest = self._made(self._paths.embeddings_of(probed))
        store = EmbeddingStore(manifest)
        check_tiles(self._study.table_of(self.name), self.table, store)
        check_store(manifest, store.attributes, probed)
        return Embeddings(store, probed)

    @property
    def _study(self) -> Study:
        return self.opened.study

    @property
    def _paths(self) -> StudyPaths:
        return self._study.paths

    def _made(self, path: Path) -> Path:
        if not path.is_file():
            raise self.opened.missing(f"{path} is not made yet")
        return path


@dataclass(frozen=True)
class Embeddings:
    """One output of a backbone with one channel strategy; `OpenedDataset.embeddings` makes it.

    Parameters
    ----------
    store
        The store that holds it; ``store.array`` is Zarr's.
    probed
        Dataset, backbone and channel strategy.
    """

    store: EmbeddingStore
    probed: Probed

    @cached_property
    def values(self) -> Floats32:
        """The embeddings, [N, D] float32, verified.

        Raises
        ------
        DamagedBlockError
            If they differ from their checksum.
        """
        return self.store.read(self.probed.output, self.probed.channels)

    @property
    def ids(self) -> list[str]:
        """Ids of the N tiles."""
        return self.store.tile_ids

    @property
    def names(self) -> list[str]:
        """Names of the D columns; see `EmbeddingStore.names`."""
        return self.store.names(self.probed.output, self.probed.channels)

    @property
    def attributes(self) -> dict[str, Any]:
        """What the store says of itself; the page on its format describes it."""
        return self.store.attributes

    @property
    def frame(self) -> pd.DataFrame:
        """The embeddings with ids and names."""
        return pd.DataFrame(
            self.values, index=pd.Index(self.ids, name="tile_id", dtype=object), columns=self.names
        )

"""Tiles, classes and embeddings of one dataset of a study as AnnData, for programs that read it."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferscope.config.probed import Probed
from transferscope.errors import Problem, UserError, suggest, user_error
from transferscope.probes.labels import label_matrix
from transferscope.runtime.arrays import Floats32
from transferscope.runtime.atomic_files import move_into_place, writing
from transferscope.runtime.shipped import install_hint
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_store, check_tiles
from transferscope.stores.parquet import read_tile_table
from transferscope.study.study import Study

SUFFIX = ".h5ad"
IS_CLASS = "is_{}"


@dataclass(frozen=True)
class Annotated:
    """One dataset of a study, as AnnData has it.

    Parameters
    ----------
    obs
        One row per tile, named by `tile_id`: all columns of the tile table, and ``is_<class>``.
    embeddings
        Key such as ``dino@mean|map`` -> reads that matrix, [N, D] float32: one per store and
        output that the study evaluates.
    about
        Study, dataset, classes and task.
    """

    obs: pd.DataFrame
    embeddings: dict[str, Callable[[], Floats32]]
    about: dict[str, Any]


def annotated(study: Study, dataset: str | None = None) -> Annotated:
    """Return a dataset of a finished study.

    Parameters
    ----------
    study
        The study.
    dataset
        Its name; None: the only one.

    Raises
    ------
    UserError
        If there is no such dataset, several and none is named, or no embeddings.
    """
    if dataset is None and len(study.datasets) > 1:
        what = f"the study has {len(study.datasets)} datasets"
        raise UserError(Problem("--dataset", what, f"Name one: {', '.join(study.datasets)}."))
    name = next(iter(study.datasets)) if dataset is None else dataset
    if name not in study.datasets:
        fix = suggest(name, list(study.datasets))
        raise UserError(Problem("--dataset", f'"{name}" is no dataset of the study', fix))
    card, paths = study.datasets[name].card, study.paths
    place = paths.relabelled(name) if card.label_table else paths.tile_table(name)
    table = read_tile_table(place)
    found: dict[str, Callable[[], Floats32]] = {}
    for probed in study.probed():
        if probed.dataset == name and paths.embeddings_of(probed).is_file():
            reading = _Reading(paths.embeddings_of(probed), place, table, probed)
            found[f"{probed.representation}|{probed.channels}"] = reading
    if not found:
        raise user_error(paths.root, f"holds no embeddings of {name}", "Run the study first.")
    is_class = label_matrix(table["labels"].fillna("").to_numpy(dtype=object), card.labels)
    columns = {IS_CLASS.format(label): is_class[:, c] for c, label in enumerate(card.labels)}
    obs = table.drop(columns="tile_id").assign(**columns)
    obs.index = pd.Index(table["tile_id"].astype(str), name="tile_id", dtype=object)
    about = {"study": study.config.study, "dataset": name, "task": card.task}
    return Annotated(obs, found, {**about, "classes": list(card.labels)})


@dataclass(frozen=True)
class _Reading:
    """Reads one matrix of embeddings."""

    manifest: Path
    place: Path
    table: pd.DataFrame
    probed: Probed

    def __call__(self) -> Floats32:
        store = EmbeddingStore(self.manifest)
        check_tiles(self.place, self.table, store)
        check_store(self.manifest, store.attributes, self.probed)
        return store.read(self.probed.output, self.probed.channels)


def write_anndata(found: Annotated, path: Path) -> None:
    """Write a dataset as .h5ad: `obs`, `obsm` with all embeddings, and `uns`.

    Raises
    ------
    UserError
        If the name has another ending, or the extra `anndata` is not installed.
    """
    if path.suffix.lower() != SUFFIX:
        raise user_error(path, "is no name of an AnnData file", f"Give one that ends in {SUFFIX}.")
    if importlib.util.find_spec("anndata") is None:
        what = "anndata is not installed, which writes .h5ad"
        raise UserError(Problem("--anndata", what, install_hint("anndata")))
    import anndata

    # Each column of one plain type: HDF5 knows no missing texts and no mixed ones.
    obs = found.obs.copy()
    for name in obs.columns:
        if not (pd.api.types.is_numeric_dtype(obs[name]) or pd.api.types.is_bool_dtype(obs[name])):
            plain = obs[name].astype(object)
            obs[name] = plain.where(plain.notna(), "").map(str).astype(object)
    matrices = {key: read() for key, read in found.embeddings.items()}
    uns = {"transferscope": {**found.about, "classes": np.array(found.about["classes"], object)}}
    data = anndata.AnnData(obs=obs, obsm=matrices, uns=uns)
    # HDF5 locks its file itself, and so cannot write one that `replacing` holds.
    with writing(path), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / path.name
        # Texts of pandas 3, which every anndata that the extra admits can read.
        with _texts_of_pandas(anndata.settings):
            data.write_h5ad(written)
        move_into_place(written, path)


def _texts_of_pandas(settings: Any) -> AbstractContextManager[Any]:
    """Return a context in which columns of texts are written, where anndata asks for that."""
    name = "allow_write_nullable_strings"
    return settings.override(**{name: True}) if hasattr(settings, name) else nullcontext()

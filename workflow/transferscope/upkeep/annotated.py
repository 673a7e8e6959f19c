"""Tiles, classes and embeddings of one dataset of a study as AnnData, for programs that read it."""

from __future__ import annotations

import importlib.util
import tempfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferscope.errors import Problem, UserError, user_error
from transferscope.runtime.atomic_files import move_into_place, writing
from transferscope.runtime.shipped import install_hint
from transferscope.study.opened import Embeddings, OpenedStudy

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
        Key such as ``dino@mean|map`` -> that matrix: one per store and output that the study
        evaluates.
    about
        Study, dataset, classes and task.
    """

    obs: pd.DataFrame
    embeddings: dict[str, Embeddings]
    about: dict[str, Any]


def annotated(study: OpenedStudy, dataset: str | None = None) -> Annotated:
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
    found = study.dataset(dataset)
    made = study.stores.query("dataset == @found.name and is_made")
    keys = list(zip(made["backbone"], made["channels"], strict=True))
    if not keys:
        raise study.missing(f"there are no embeddings of {found.name} yet")
    obs = found.labels.rename(columns=IS_CLASS.format)
    own = found.table.drop(columns="tile_id").set_index(obs.index)
    about = {"study": study.name, "dataset": found.name, "task": found.card.task}
    return Annotated(
        own.assign(**obs),
        {
            f"{backbone}|{channels}": found.embeddings(backbone, channels)
            for backbone, channels in keys
        },
        {**about, "classes": found.classes},
    )


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
    matrices = {key: each.values for key, each in found.embeddings.items()}
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

"""A dataset of a study as AnnData, and its stores as xarray and zarr see them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import transferscope
from command_tree import run, words_of
from factories import CLASSES, write_study
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.study.opened import OpenedStudy
from transferscope.upkeep.annotated import annotated, write_anndata


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study with tiles and embeddings."""
    folder = write_study(
        tmp_path_factory.mktemp("annotated"),
        backbones=["cards/backbones/tiny.yaml", "cards/backbones/tiny.yaml@mean", "handcrafted"],
        channel_strategies=["map"],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        steps = Plan(transferscope.open_study("study.yaml").study).steps
        for name in ("tiles", "embed"):
            for job in steps[name].planned:
                ended = run(words_of(steps[name], job))
                assert ended.code == 0, ended.err
    return folder


@pytest.fixture
def study(made: Path, monkeypatch: pytest.MonkeyPatch) -> OpenedStudy:
    monkeypatch.chdir(made)
    return transferscope.open_study("study.yaml")


def test_a_dataset_has_tiles_classes_and_every_output(study: OpenedStudy) -> None:
    found = annotated(study)
    assert set(found.embeddings) == {"tiny|map", "tiny@mean|map", "handcrafted|features"}
    table = pd.read_parquet("results/tiny/tiles/cells.tiles.parquet")
    assert list(found.obs.index) == list(table["tile_id"])
    for name in CLASSES:
        assert found.obs[f"is_{name}"].tolist() == (table["labels"] == name).tolist()
    store = EmbeddingStore(Path("results/tiny/embeddings/cells/tiny/map.json"))
    assert np.array_equal(found.embeddings["tiny@mean|map"].values, store.read("mean", "map"))
    assert not np.array_equal(found.embeddings["tiny|map"].values, store.read("mean", "map"))


def test_what_cannot_be_exported_is_said(study: OpenedStudy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset of the study"):
        annotated(study, "other")
    with pytest.raises(UserError, match="no name of an AnnData file"):
        write_anndata(annotated(study), tmp_path / "a.csv")
    ended = run(["export", "study.yaml", "--dataset", "cells"])
    assert "is of --anndata and --ome-zarr alone" in ended.err


def test_without_anndata_the_export_says_what_to_install(
    study: OpenedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transferscope.upkeep.annotated as module

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="anndata is not installed"):
        write_anndata(annotated(study), tmp_path / "a.h5ad")


@pytest.mark.filterwarnings("ignore")  # of anndata about pandas
def test_anndata_reads_what_is_exported(study: OpenedStudy, tmp_path: Path) -> None:
    # Not in the lock: on Python 3.11 it takes pandas 2.
    anndata = pytest.importorskip("anndata", reason="the extra anndata is not installed")
    ended = run(["export", "study.yaml", "--anndata", str(tmp_path / "a.h5ad")])
    assert ended.code == 0, ended.err
    data, found = anndata.read_h5ad(tmp_path / "a.h5ad"), annotated(study)
    assert list(data.obs_names) == list(found.obs.index)
    assert list(data.obs["group"]) == list(found.obs["group"])
    assert data.obs["is_vesicles"].tolist() == found.obs["is_vesicles"].tolist()
    for key, each in found.embeddings.items():
        assert np.array_equal(data.obsm[key], each.values)
    assert list(data.uns["transferscope"]["classes"]) == CLASSES


STORES = {
    "tiles/cells": ("images", ("tile", "channel", "y", "x")),
    "embeddings/cells/tiny/map": ("embeddings", ("tile", "column")),
}


@pytest.mark.parametrize("place", STORES)
def test_every_dimension_of_a_store_has_a_name(study: OpenedStudy, place: str) -> None:
    name, dimensions = STORES[place]
    group = zarr.open_group(f"results/tiny/{place}.zarr", mode="r")
    assert group[name].metadata.dimension_names == dimensions
    # xarray takes arrays of one dataset whose dimensions of one name have one length.
    lengths: dict[str, set[int]] = {}
    for array_name, array in group.arrays():
        named = array.metadata.dimension_names
        assert named is not None, array_name
        assert None not in named, array_name
        assert len(set(named)) == len(named), array_name
        for dimension, length in zip(named, array.shape, strict=True):
            lengths.setdefault(dimension, set()).add(length)
    assert {dimension for dimension, found in lengths.items() if len(found) > 1} == set()


@pytest.mark.parametrize("place", STORES)
def test_xarray_opens_a_store(study: OpenedStudy, place: str) -> None:
    name, dimensions = STORES[place]
    opened = xr.open_zarr(f"results/tiny/{place}.zarr", consolidated=False)
    assert opened[name].dims == dimensions
    whole = zarr.open_group(f"results/tiny/{place}.zarr", mode="r")[name][:]
    assert np.array_equal(opened[name].values, whole)

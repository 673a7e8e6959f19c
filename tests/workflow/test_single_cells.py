"""k-NN on 794 real single cells, by random folds and across the rows of their plate."""

import logging

import pandas as pd
import pytest
import yaml

from factories import write_yaml
from real_cells import cell_sheet
from transferscope.backbones.embed import embed
from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cells.build import make_cells
from transferscope.config.compute import ComputeSettings
from transferscope.config.model import read_model
from transferscope.config.probes import KnnSettings, SplitSettings
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.knn import run_knn
from transferscope.probes.splits import make_splits
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.parquet import read_parquet
from transferscope.stores.tile_store import TileStore

pytestmark = pytest.mark.workflow
KS = [1, 5, 10, 20, 50]
LABELS = {"location": ["CytoplasmicGFP", "NuclearGFP"], "dose": ["0 nM", "150 nM"]}
SPLITS = SplitSettings(folds={"group": 2, "image": 5}, seeds=[0])
SETTINGS = KnnSettings(k=KS, metrics=["cosine", "euclidean"], votes=["majority", "distance"])


def write_dataset(data, cells, folder):
    """Write sheet and card of the crops, whose group is the row of their well."""
    sheet = cell_sheet(data).assign(labels=cells["wortmannin_nM"].astype(str) + " nM")
    sheet.to_csv(folder / "samples.tsv", sep="\t", index=False)
    card = {
        "name": "bbbc013",
        "sheet": "samples.tsv",
        "roots": [str(data / "bbbc013/crops")],
        "channels": ["protein", "nucleus"],
        # The red plane is empty; green is the protein, blue the DNA.
        "ignore_channels": [0],
        "task": "single-label",
        "labels": LABELS["dose"],
        # Crops of 9 to 115 px: all are shown at one scale, and shown larger.
        "cells": {
            "segmentation": {"method": "whole"},
            "crop": {"size": 64, "tile_size_px": 112},
            "overlays": 0,
        },
    }
    return write_yaml(folder / "bbbc013.yaml", card)


def backbones(repository, folder):
    """Return cards: hand-crafted features, and a random ViT that standardises each channel."""
    shipped = repository / "resources/backbones"
    network = yaml.safe_load((shipped / "vit-small-random.yaml").read_text())
    own = {"name": "vit-self", "normalization": {"intensity": "range", "kind": "self"}}
    return {
        "agnostic": shipped / "handcrafted.yaml",
        "replicate": write_yaml(folder / "vit-self.yaml", {**network, **own}),
    }


@pytest.fixture(scope="module")
def cells(shared_data):
    """Return the table of the crops: well, dose and human label of each."""
    return pd.read_csv(shared_data / "bbbc013/cells.csv")


@pytest.fixture(scope="module")
def made(shared_data, cells, tmp_path_factory):
    """Return the folder with the tiles of the cells."""
    folder = tmp_path_factory.mktemp("single_cells")
    card = read_model(write_dataset(shared_data, cells, folder), DatasetCard)
    make_cells(
        folder / "samples.tsv",
        card,
        manifest=folder / "tiles.json",
        tile_table=folder / "tiles.parquet",
        quality=folder / "quality.csv",
        skipped=folder / "skipped.tsv",
        plausibility=folder / "plausibility.csv",
        overlays=folder / "overlays",
        workers=1,
    )
    return folder


@pytest.fixture(scope="module")
def scores(made, cells, repository):
    """Return the macro F1 of k-NN: a row a store, labels, scheme, head, k and fold."""
    compute = ComputeSettings(device="cpu", threads=1)
    table = read_parquet(made / "tiles.parquet")
    parts = []
    for strategy, path in backbones(repository, made).items():
        store = made / f"{path.stem}.json"
        card = read_model(path, BackboneCard)
        embed(made / "tiles.json", card, strategy, store, compute, card_path=path)
        for output in dict.fromkeys(c.output for c in EmbeddingStore(store).columns):
            embeddings = EmbeddingStore(store).read(output)
            for what in LABELS:
                found = classify(embeddings, table, cells, what)
                parts.append(found.assign(backbone=f"{path.stem}@{output}", labels=what))
    return pd.concat(parts, ignore_index=True)


def classify(embeddings, table, cells, what):
    by_file = cells.assign(tile_id=cells["file"].str.removesuffix(".png")).set_index("tile_id")
    human = by_file["human_label"].loc[table["fov"]].to_numpy()
    if what == "location":
        table = table.assign(labels=[h if h in LABELS[what] else "" for h in human])
    card = DatasetCard(
        name="bbbc013", sheet="s", channels=["x"], task="single-label", labels=LABELS[what]
    )
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": "bbbc013", "backbone": "b", "channels": "c"}
    data = ProbeData.of(embeddings, table, splits, [1.0], ["macro_f1"], identity)
    return run_knn(data, SETTINGS).scores()


def best(scores, labels, scheme, **chosen):
    """Return the best mean over folds of any store, kind of k-NN and k that every fold allows."""
    rows = scores[(scores["labels"] == labels) & (scores["scheme"] == scheme)]
    for column, value in chosen.items():
        rows = rows[rows[column] == value]
    means = rows.groupby(["backbone", "head", "k"])["value"].agg(["mean", "size"])
    return means.loc[means["size"] == rows["fold"].nunique(), "mean"].max()


def test_every_crop_is_a_cell_tile_of_one_scale(made, cells):
    table = read_parquet(made / "tiles.parquet")
    assert table["fov"].tolist() == cells["file"].str.removesuffix(".png").tolist()
    assert (table["tile_id"] == table["fov"] + "_c00001").all()
    assert (table["area_px"].to_numpy() == (cells["height"] * cells["width"]).to_numpy()).all()
    assert TileStore(made / "tiles.json").tile_size == (112, 112)


def test_the_whole_table(scores):
    """Print all of it (pytest -rP): the best only would flatter."""
    means = scores.groupby(["labels", "scheme", "backbone", "head", "k"])["value"]
    table = means.agg(["mean", "min", "size"]).round(3)
    print(table.to_string())
    # Two rows, five random folds, and one seed: a mean is over all of them or not taken.
    assert set(table.loc[table.index.get_level_values("k") == 1, "size"]) == {2, 5}


def test_all_cells_take_part(scores):
    tested = scores[(scores["head"] == "knn") & (scores["k"] == 1)]
    tested = tested.groupby(["backbone", "labels", "scheme"])["n_test"].sum().unstack("labels")
    assert set(tested["dose"]) == {794}
    assert set(tested["location"]) == {139}


def test_location_by_random_folds(scores):
    assert best(scores, "location", "image") >= 0.95
    assert best(scores, "location", "image", head="knn") >= 0.95


def test_location_across_plate_rows(scores):
    assert best(scores, "location", "group") >= 0.85
    assert best(scores, "location", "group", head="knn") >= 0.85


def test_dose_of_all_cells_across_plate_rows(scores):
    assert best(scores, "dose", "group") >= 0.87
    assert best(scores, "dose", "group", head="knn") >= 0.87


def test_random_folds_flatter_the_dose(scores):
    assert best(scores, "dose", "group") < best(scores, "dose", "image")


def test_fifty_neighbours_are_only_sought_where_there_are_fifty(scores, made, cells, caplog):
    across = scores[(scores["labels"] == "location") & (scores["scheme"] == "group")]
    # Row B has 32 labelled cells, six of which are for validation.
    assert (across[across["k"] == 50]["n_train"] > 50).all()
    assert set(across[across["k"] == 20]["n_train"]) == {26, 86}
    embeddings = EmbeddingStore(made / "handcrafted.json").read()
    with caplog.at_level(logging.INFO, logger="transferscope.probes.knn"):
        classify(embeddings, read_parquet(made / "tiles.parquet"), cells, "location")
    assert "only 26 training tiles to choose from, so no k of 50" in caplog.text

"""The gallery: whose neighbours are shown, and how right and wrong ones look."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.config.probes import KnnSettings
from transferscope.config.results import FigureSettings
from transferscope.figures.embedding_maps import StoreView
from transferscope.figures.gallery import best_store, choose_tiles, draw_gallery
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, TILES_FORMAT, store_of
from transferscope.stores.parquet import write_parquet

N, FOV_CELLS = 40, 4
CARD = DatasetCard(
    name="cells",
    sheet="s.tsv",
    channels=["nucleus", "protein"],
    labels=["er", "golgi"],
    task="single-label",
)


def write_store(manifest, values, kind, array, attributes):
    """Write a tile store or an embedding store of one block."""
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=kind,
        array=array,
        fingerprint="0" * 64,
        shape=values.shape,
        dtype=values.dtype,
        block_rows=4096,
        ids=[f"c{i}" for i in range(len(values))],
        attributes=attributes,
    )
    store.write_block(0, values)
    store.finish(manifest)


@pytest.fixture
def dataset(tmp_path):
    """Write cells in fields of four, where each field looks like no other; return their paths."""
    rng = np.random.default_rng(0)
    fov = np.arange(N) // FOV_CELLS
    labels = np.array(CARD.labels)[fov % 2].astype(object)
    labels[:2] = ""
    table = pd.DataFrame(
        {
            "tile_id": [f"c{i}" for i in range(N)],
            "group": [f"g{i}" for i in fov],
            "fov": [f"f{i}" for i in fov],
            "labels": labels,
        }
    )
    write_parquet(table, tmp_path / "tiles.parquet", {})
    images = rng.integers(0, 255, (N, 2, 16, 16)).astype(np.uint8)
    attributes = {"channels": CARD.channels, "pixel_size_um": 0.5}
    write_store(tmp_path / "tiles.json", images, TILES_FORMAT, "images", attributes)
    values = (rng.normal(size=(10, 8))[fov] + 0.01 * rng.normal(size=(N, 8))).astype(np.float32)
    columns = [{"output": "cls", "channel": None, "start": 0, "stop": 8}]
    write_store(
        tmp_path / "store.json", values, EMBEDDINGS_FORMAT, "embeddings", {"columns": columns}
    )
    return tmp_path


def drawn(folder, count=6, **knn):
    outputs = [folder / "gallery.svg", folder / "gallery.png"]
    draw_gallery(
        StoreView("dino / map", folder / "store.json"),
        folder / "tiles.json",
        folder / "tiles.parquet",
        CARD,
        KnnSettings(**knn),
        FigureSettings(dpi=60, gallery=count),
        outputs,
    )
    text = outputs[0].read_text()
    texts = [e.text or "" for e in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    return text, " ".join(texts)


def frames(text):
    """Return how many right (blue, solid) and wrong (orange, dashed) frames a figure has."""
    strokes = re.findall(r'style="fill: none;([^"]*)"', text)
    right = [s for s in strokes if "#0072b2" in s.lower() and "dasharray" not in s]
    wrong = [s for s in strokes if "#d55e00" in s.lower() and "dasharray" in s]
    # Four sides a frame.
    return len(right) / 4, len(wrong) / 4


def test_cells_of_the_same_field_are_shown_only_where_they_may_be_neighbours(dataset):
    leaking, _ = drawn(dataset, exclude="none")
    honest, words = drawn(dataset, exclude="fov")
    # The three other cells of a field are nearest, and right.
    assert frames(leaking)[0] >= 6 * 3
    assert sum(frames(leaking)) == sum(frames(honest)) == 6 * 8
    assert frames(honest)[1] > frames(leaking)[1]
    assert "labelled tiles of other fields" in words
    rights = [int(n) for n in re.findall(r"(\d) of 8 right", words)]
    assert rights == sorted(rights, reverse=True)
    assert sum(rights) == frames(honest)[0]
    assert f"{sum(rights) / 48:.0%} of the neighbours" in words


def test_galleries_are_deterministic(dataset):
    assert drawn(dataset)[0] == drawn(dataset)[0]


def test_every_class_is_shown_in_turn():
    labels = np.zeros((100, 3), dtype=bool)
    labels[:90, 0], labels[90:97, 1], labels[97:99, 2] = True, True, True
    chosen = choose_tiles(labels, 9, "cells")
    assert labels[chosen].sum(axis=0).tolist() == [4, 3, 2]
    assert len(set(chosen)) == 9
    assert len(choose_tiles(labels, 500, "cells")) == 99


def test_the_best_store_is_that_of_the_comparison(tmp_path):
    chosen = pd.DataFrame(
        {
            "dataset": ["a", "a", "b"],
            "scheme": ["image", "group", "group"],
            "backbone": ["dino", "dino@mean", "other"],
            "channels": ["map", "map-random", "map"],
        }
    )
    chosen.to_parquet(tmp_path / "chosen.parquet")
    probed = [Probed("a", "dino", "map"), Probed("a", "dino@mean", "map-random-3")]
    paths = StudyPaths(tmp_path)
    view = best_store(tmp_path / "chosen.parquet", probed, paths)
    assert view is not None
    assert view.name == "dino@mean / map-random-3"
    assert view.output == "mean"
    assert view.manifest == paths.embeddings("a", "dino", "map-random-3")
    assert best_store(tmp_path / "chosen.parquet", [Probed("c", "dino", "map")], paths) is None

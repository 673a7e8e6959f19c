"""A study whose raw files, or tiles, lie in an object store gives the scores of a local one."""

import shutil

import pandas as pd
import pytest

from factories import (
    CLASSES,
    DATASET_CARD,
    run_command,
    run_snakemake,
    write_study,
    write_yaml,
)
from object_store import BUCKET
from transferscope.stores.manifest import Manifest

pytestmark = pytest.mark.workflow
SMALL = {
    "backbones": ["handcrafted"],
    "channel_strategies": ["replicate"],
    "splits": {
        "schemes": ["group"],
        "folds": {"group": 2, "image": 2},
        "fractions": [1.0],
        "halves": 1,
    },
    "heads": {"kinds": ["logreg"]},
}
SCORES = "results/tiny/scores/heads/cells/handcrafted/features.parquet"
TILES = "results/tiny/tiles/cells.json"


def card_of(folder, **source):
    card = {key: value for key, value in DATASET_CARD.items() if key != "sheet"}
    write_yaml(folder / "cards/datasets/cells.yaml", {**card, **source})


def scores_of(folder):
    run_snakemake(folder, SCORES)
    return pd.read_parquet(folder / SCORES)


def test_scores_are_those_of_local_files(store, tmp_path):
    local = write_study(tmp_path / "local", **SMALL)
    expected = scores_of(local)
    assert set(expected["class"]) >= set(CLASSES)

    raw = write_study(tmp_path / "raw", **SMALL)
    url = store.put(raw / "raw", "study-raw")
    for image in (raw / "raw").glob("*.tif"):
        image.unlink()
    card_of(raw, sheet="../../raw/samples.tsv", location=url)
    pd.testing.assert_frame_equal(scores_of(raw), expected)
    assert (raw / TILES).read_text() == (local / TILES).read_text()
    assert not list(raw.rglob("*.tif"))

    to = f"s3://{BUCKET}/study-published"
    said = run_command(["transferscope", "publish", "study.yaml", "--to", to], local).stdout
    assert f"{to}/tiny: " in said
    taken = write_study(tmp_path / "taken", **SMALL)
    shutil.rmtree(taken / "raw")
    card_of(taken, published=f"{to}/tiny/tiles/cells.json")
    pd.testing.assert_frame_equal(scores_of(taken), expected)
    assert not (taken / "results/tiny/tiles/cells.zarr").exists(), "the store is not copied"
    manifest = Manifest.read(taken / TILES, "transferscope.tiles")
    assert manifest.store == f"{to}/tiny/tiles/cells.zarr"
    said = run_command(["transferscope", "verify", "study.yaml"], taken).stdout
    assert said.startswith("Sound: 2 stores")

"""Studies that earlier versions wrote (`archive/make.py`) are read as they were written."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.metrics import f1_score

from factories import CLASSES
from transferscope.compare.tables import classes_of, read_scores
from transferscope.errors import UserError
from transferscope.probes.score_table import SCORE_COLUMNS
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.parquet import read_parquet
from transferscope.stores.tile_store import TileStore
from transferscope.upkeep.verify import verify

ARCHIVE = Path(__file__).parent / "archive"
V1, V2 = ARCHIVE / "v1", ARCHIVE / "v2"
TABLES = {"v1": 4, "v2": 5}
TILES = V1 / "tiles/cells.json"
EMBEDDINGS = V1 / "embeddings/cells/tiny/replicate.json"
SCORES = V1 / "scores/knn/cells/tiny/replicate.parquet"
PREDICTIONS = SCORES.with_suffix(".predictions.parquet")
IDS = [f"P{i // 2:02d}_{i % 2}" for i in range(12)]
# Sums of the nucleus and of the protein over each tile.
SUMS = [
    [179970, 179970], [186308, 185220], [156963, 229859], [151765, 205282],
    [176074, 120818], [161912, 119469], [217359, 217347], [214990, 214542],
    [202118, 335676], [214048, 354035], [161251, 119932], [213424, 129171],
]  # fmt: skip
# sha256 over the values of the main arrays, little-endian, in row order.
PIXELS = "fa251ec841e1bc8670122f28d138011c5fd2448af4fb3804ac2460bf1c0f3b37"
VALUES = "03a57f02623e2e8c6911326d3bd96deeaa5767c4bf5e713d326aaf32c221cdd9"
FIRST_CLS = [
    -0.35791015625, -0.340576171875, -1.65234375, 1.923828125,
    -0.81005859375, 0.40966796875, 0.1512451171875, 0.6767578125,
]  # fmt: skip
LAST_MEAN_OF_PROTEIN = [
    -0.1986083984375, 0.385498046875, -0.66552734375, 0.321533203125,
    2.138671875, -0.397705078125, -0.01041412353515625, -1.57421875,
]  # fmt: skip
MACRO_F1 = {(0, 1): 0, (0, 3): 1 / 6, (1, 1): 47 / 90, (1, 3): 0}


def damaged_copy(manifest, folder):
    """Copy a store, and flip a bit in the middle of its largest file."""
    store = shutil.copytree(manifest.with_suffix(".zarr"), folder / f"{manifest.stem}.zarr")
    chunk = max((p for p in store.rglob("c/**/*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    return shutil.copy(manifest, folder / manifest.name)


def test_every_archived_study_is_sound():
    for root in sorted(ARCHIVE.glob("v*")):
        found = verify(root)
        assert found.faults == []
        assert (found.stores, found.blocks) == (2, 2)
        assert found.tables == TABLES[root.name]


def test_tiles_of_version_1():
    store = TileStore(TILES)
    images = store.read(0, len(store))
    assert (images.shape, images.dtype) == ((12, 2, 24, 24), np.uint16)
    np.testing.assert_array_equal(images.sum(axis=(2, 3)), SUMS)
    assert images[0, 0, 0, :6].tolist() == [204, 207, 203, 213, 182, 193]
    assert images[11, 1, 23, -6:].tolist() == [165, 196, 204, 210, 188, 178]
    assert hashlib.sha256(images.tobytes()).hexdigest() == PIXELS
    assert store.tile_ids == IDS
    assert store.channels == ["nucleus", "protein"]
    assert store.intensity_range.tolist() == [[0, 4000], [0, 4000]]
    assert store.tile_size == (24, 24)
    assert store.pixel_size_um == 0.5
    assert store.manifest.version == 1


def test_embeddings_of_version_1():
    store = EmbeddingStore(EMBEDDINGS)
    assert store.tile_ids == IDS
    values = store.array[:]
    assert (values.shape, values.dtype) == ((12, 32), np.float16)
    assert hashlib.sha256(values.tobytes()).hexdigest() == VALUES
    assert [(c.output, c.channel, c.start, c.stop) for c in store.columns] == [
        ("cls", "nucleus", 0, 8),
        ("mean", "nucleus", 8, 16),
        ("cls", "protein", 16, 24),
        ("mean", "protein", 24, 32),
    ]
    assert store.read().shape == (12, 16)
    assert store.read("cls")[0, :8].tolist() == FIRST_CLS
    assert store.read("mean", "only-protein")[11].tolist() == LAST_MEAN_OF_PROTEIN
    assert store.manifest.version == 1


def test_what_a_store_of_version_1_says_of_itself():
    attributes = EmbeddingStore(EMBEDDINGS).attributes
    known = {
        "backbone": "tiny",
        "strategy": "replicate",
        "slots": [dict.fromkeys(("red", "green", "blue"), c) for c in ("nucleus", "protein")],
        "dropped_channels": [],
        "input_size": 32,
        "precision": "fp32",
        "dtype": "float16",
        "tiles_sha256": json.loads(TILES.read_text())["content_sha256"],
        "tile_size": [24, 24],
        "tile_pixel_size_um": 0.5,
    }
    assert {key: attributes[key] for key in known} == known


@pytest.mark.parametrize(("kind", "manifest"), [(TileStore, TILES), (EmbeddingStore, EMBEDDINGS)])
def test_checksums_of_version_1_are_verified(kind, manifest, tmp_path):
    kind(manifest).check()
    with pytest.raises(UserError, match="block 0"):
        kind(damaged_copy(manifest, tmp_path)).check()


@pytest.mark.parametrize(("manifest", "array"), [(TILES, "images"), (EMBEDDINGS, "embeddings")])
def test_plain_zarr_reads_the_same(manifest, array):
    group = zarr.open(manifest.with_suffix(".zarr"), mode="r")
    kind = TileStore if array == "images" else EmbeddingStore
    np.testing.assert_array_equal(group[array][:], kind(manifest).array[:])
    assert list(group["tile_id"][:]) == IDS


def test_version_2_holds_the_same_pixels_and_embeddings():
    tiles, old_tiles = TileStore(V2 / "tiles/cells.json"), TileStore(TILES)
    assert tiles.manifest.version == 2
    assert hashlib.sha256(tiles.read(0, 12).tobytes()).hexdigest() == PIXELS
    assert tiles.source_of(2, 9) == old_tiles.source_of(2, 9)
    assert {k: tiles.attributes[k] for k in ("channels", "intensity_range", "pixel_size_um")} == {
        "channels": ["nucleus", "protein"],
        "intensity_range": [[0, 4000], [0, 4000]],
        "pixel_size_um": 0.5,
    }
    embeddings = EmbeddingStore(V2 / EMBEDDINGS.relative_to(V1))
    assert embeddings.manifest.version == 2
    assert embeddings.columns == EmbeddingStore(EMBEDDINGS).columns
    np.testing.assert_allclose(
        embeddings.read("mean", "only-protein")[11], LAST_MEAN_OF_PROTEIN, atol=2e-3
    )


@pytest.mark.parametrize("name", ["tiles/cells.json", "embeddings/cells/tiny/replicate.json"])
def test_each_file_of_version_2_is_covered(name, tmp_path):
    """A changed bit in any file of a store is noticed by `check`, or when it is opened."""
    kind = TileStore if name.startswith("tiles") else EmbeddingStore
    store = shutil.copytree((V2 / name).with_suffix(".zarr"), tmp_path / "s.zarr")
    manifest = shutil.copy(V2 / name, tmp_path / "s.json")
    files = [path for path in store.rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(changed)
            with pytest.raises(UserError):
                kind(manifest).check()
        path.write_bytes(content)
    kind(manifest).check()


def test_tables_of_version_1():
    table = read_parquet(V1 / "tiles/cells.tiles.parquet")
    assert table["tile_id"].tolist() == IDS
    assert table["group"].tolist() == [name[:3] for name in IDS]
    assert table["labels"].tolist() == [CLASSES[i // 2 % 3] for i in range(12)]
    splits = read_parquet(V1 / "splits/cells.parquet")
    tested = splits[splits["role"] == "test"].groupby("fold")["row"].apply(list)
    assert tested.to_dict() == {0: [0, 1, 2, 3, 4, 5], 1: [6, 7, 8, 9, 10, 11]}


def test_scores_of_version_1():
    scores = read_scores([SCORES])
    assert list(scores.columns) == SCORE_COLUMNS
    assert len(scores) == 28
    same = ["dataset", "backbone", "channels", "task", "head", "scheme", "seed", "fraction"]
    (found,) = scores[same].drop_duplicates().itertuples(index=False, name=None)
    assert found == ("cells", "tiny", "replicate", "multi-label", "knn", "group", 0, 1.0)
    assert set(scores["seen_in_training"]) == {"no"}
    counts = scores[["n_train", "n_train_groups", "n_validation", "n_test"]].drop_duplicates()
    assert counts.to_numpy().tolist() == [[5, 3, 1, 6]]
    macro = scores[scores["metric"] == "macro_f1"].set_index(["fold", "k"])["value"]
    assert macro.to_dict() == pytest.approx(MACRO_F1, abs=1e-12)
    per_class = scores[scores["metric"] == "class_f1"]
    means = per_class.groupby(["fold", "k"])["value"].mean()
    assert means.to_dict() == pytest.approx(MACRO_F1, abs=1e-12)


def test_predictions_of_version_1_give_its_scores():
    assert classes_of(PREDICTIONS) == CLASSES
    predictions = pd.read_parquet(PREDICTIONS)
    for key, part in predictions.groupby(["fold", "k"]):
        truth, predicted = (
            part[[f"{kind}_{n}" for n in range(3)]].to_numpy() for kind in ("true", "predicted")
        )
        found = f1_score(truth, predicted, average="macro", zero_division=0)
        assert found == pytest.approx(MACRO_F1[key], abs=1e-12)

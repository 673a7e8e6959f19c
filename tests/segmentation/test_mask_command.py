"""`transferscope masks compare` as a user types it: files, folders, tables, messages."""

import re

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

from command_tree import run
from transferscope.segmentation.instance_metrics import instance_scores
from transferscope.segmentation.semantic_metrics import boundary_f1, dice, jaccard

SHAPE = (40, 50)


def labels_of(seed, n=6):
    """Return boxes with numbers that have gaps."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint16)
    for number in rng.permutation(30)[:n] + 1:
        y, x = rng.integers(0, [30, 40])
        labels[y : y + rng.integers(4, 10), x : x + rng.integers(4, 10)] = number
    return labels


def png(path, labels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(labels, **options))


def compare(*words):
    ended = run(["masks", "compare", *map(str, words)])
    assert "Traceback" not in ended.err
    return ended


def refused(*words):
    ended = compare(*words)
    assert ended.code == 1, ended.out
    return ended.err


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with three true masks, and predicted ones of other types and suffixes."""
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        true = labels_of(seed)
        png(tmp_path / f"true/plate/{seed}.png", true)
        predicted = tmp_path / f"predicted/plate/{seed}.ome.tif"
        predicted.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(predicted, np.roll(true, 1, axis=0).astype(np.uint32))
    (tmp_path / "true/notes.txt").write_text("not a mask")
    (tmp_path / "true/.hidden.png").write_text("nor this")
    return tmp_path


def test_two_folders_are_compared_by_name(folder):
    ended = compare("true", "predicted", "--output", "out/masks.csv", "--tolerance", "1")
    assert ended.code == 0, ended.err
    table = pd.read_csv("out/masks.csv", index_col="image")
    assert list(table.index) == ["plate/0", "plate/1", "plate/2", "mean", "pooled"]
    for seed in range(3):
        true = labels_of(seed)
        predicted, row = np.roll(true, 1, axis=0), table.loc[f"plate/{seed}"]
        scores = instance_scores(predicted, true)
        inside = predicted[None] > 0, true[None] > 0
        expected = {
            "dice": dice(*inside)[0],
            "jaccard": jaccard(*inside)[0],
            "dice_floor": dice(np.ones_like(inside[1]), inside[1])[0],
            "boundary_f1": boundary_f1(predicted[None], true[None], 1)[0],
            "aji": scores.aji,
            "aji_plus": scores.aji_plus,
            "pq": scores.pq,
            "dq": scores.dq,
            "sq": scores.sq,
            **{f"f1_{100 * at:.0f}": value for at, value in scores.f1.items()},
            "n_true": scores.n_true,
            "n_predicted": scores.n_predicted,
        }
        assert row.to_dict() == pytest.approx(expected, abs=1e-5)
        assert f"{scores.pq:.3f}" in ended.out
    metrics = table.columns.drop(["n_true", "n_predicted"])
    np.testing.assert_allclose(table.loc["mean", metrics], table[metrics][:3].mean(), atol=1e-5)
    stacked = [np.stack([labels_of(seed) for seed in range(3)]).reshape(1, -1, SHAPE[1]) > 0]
    stacked += [
        np.stack([np.roll(labels_of(s), 1, axis=0) for s in range(3)]).reshape(1, -1, 50) > 0
    ]
    assert table.loc["pooled", "dice"] == pytest.approx(dice(*stacked)[0], abs=1e-5)
    assert table.loc["pooled", "jaccard"] == pytest.approx(jaccard(*stacked)[0], abs=1e-5)


def test_a_mask_of_itself_is_perfect_and_an_empty_one_counts_for_nothing(folder):
    png(folder / "a/empty.png", np.zeros(SHAPE, np.uint8))
    png(folder / "a/full.png", labels_of(0))
    assert compare("a", "a", "--output", "a.csv").code == 0
    table = pd.read_csv("a.csv", index_col="image")
    assert table.loc["empty", "dice":"f1_90"].drop("dice_floor").isna().all()
    assert (table.loc["mean", ["dice", "jaccard", "boundary_f1", "aji", "pq", "f1_90"]] == 1).all()
    assert table.loc["empty", "n_true"] == 0


def test_masks_of_one_value_have_no_metrics_of_objects_unless_asked(folder):
    two = np.zeros(SHAPE, np.uint8)
    two[5:15, 5:15] = two[20:30, 30:40] = 255
    png(folder / "two.png", two)
    ended = compare("two.png", "two.png")
    assert "AJI" not in ended.out
    assert "one value each" in ended.out
    for objects, count in [("numbers", 1), ("pieces", 2)]:
        assert compare("two.png", "two.png", "--objects", objects, "--output", "x.csv").code == 0
        assert pd.read_csv("x.csv")["n_true"][0] == count
    assert "AJI" not in compare("two.png", "two.png", "--objects", "none").out
    # Against numbers of objects, pieces are found in the mask of one value alone.
    numbers = two.copy()
    numbers[5:10, 5:15] = 3
    png(folder / "numbers.png", numbers)
    assert "the predicted masks hold one value" in compare("numbers.png", "two.png").out
    assert compare("numbers.png", "two.png", "--objects", "pieces", "--output", "x.csv").code == 0
    assert pd.read_csv("x.csv").loc[0, ["n_true", "n_predicted"]].tolist() == [2, 2]


def test_names_without_a_partner_are_listed(folder):
    for name in ["only_a", "only_b", *"cdefg"]:
        png(folder / f"true/{name}.png", labels_of(0))
    png(folder / "predicted/else.png", labels_of(0))
    said = refused("true", "predicted")
    assert "2 problems found" in said
    assert "7 of 10 masks have no partner in predicted" in said
    assert "only_a.png" not in said.split("and 2 more")[1]
    assert re.search(r"predicted: 1 of 4 masks .* true: else.png", said)


def test_all_bad_masks_are_said_at_once(folder):
    rng = np.random.default_rng(0)
    png(folder / "true/plate/0.png", rng.integers(0, 255, (*SHAPE, 3), dtype=np.uint8))
    tifffile.imwrite(folder / "predicted/plate/1.ome.tif", np.ones(SHAPE, np.float32))
    tifffile.imwrite(folder / "predicted/plate/2.ome.tif", np.ones((50, 40), np.uint8))
    said = refused("true", "predicted")
    assert "2 problems found" in said or "3 problems found" in said
    assert "holds float32 values" in said
    assert "predicted/plate/2.ome.tif: is 50 x 40 px, but true/plate/2.png 40 x 50" in said
    assert "0.png: a mask has one channel" in refused(
        "true/plate/0.png", "predicted/plate/0.ome.tif"
    )


def test_other_mistakes_are_sentences(folder):
    assert "is a folder, but true/plate/0.png a file" in refused("true/plate/0.png", "predicted")
    (folder / "none").mkdir()
    assert "holds no masks" in refused("none", "predicted")
    png(folder / "true/plate/0.tif", labels_of(0))
    assert "has the name of true/plate/0.png" in refused("true", "predicted")
    signed = labels_of(0).astype(np.int32) - 1
    tifffile.imwrite(folder / "signed.tif", signed)
    assert "negative values" in refused("signed.tif", "signed.tif")
    (folder / "a.jpg").write_bytes(imagecodecs.jpeg_encode(labels_of(0).astype(np.uint8)))
    assert "JPEG" in refused("a.jpg", "a.jpg")
    before = (folder / "predicted/plate/0.ome.tif").read_bytes()
    said = refused("predicted", "predicted", "--output", "predicted/plate/0.ome.tif")
    assert "written over" in said
    assert (folder / "predicted/plate/0.ome.tif").read_bytes() == before


def test_many_objects_and_many_images(folder):
    many = np.arange(1, 100_001, dtype=np.uint32).reshape(250, 400)
    tifffile.imwrite(folder / "many.tif", many)
    ended = compare("many.tif", "many.tif", "--output", "many.csv")
    assert ended.code == 0, ended.err
    assert pd.read_csv("many.csv").loc[0, ["pq", "n_true"]].tolist() == [1, 100_000]
    for number in range(60):
        png(folder / f"lots/{number:02d}.png", labels_of(number))
    ended = compare("lots", "lots", "--output", "lots.csv")
    assert "the mean of 60 images" in ended.out
    assert len(pd.read_csv("lots.csv")) == 62

"""A segmentation job: what it scores, and that test groups decide nothing."""

import numpy as np
import pandas as pd
import pytest
from tiny_masks import SIZE, squares, write_mask_job

from factories import TINY_NETWORK
from target_stores import write_targets
from transferscope.errors import UserError
from transferscope.segmentation import run
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.object_maps import least_pixels
from transferscope.segmentation.semantic_metrics import dice, mean_over_groups
from transferscope.segmentation.table_names import ALL_FOREGROUND, STEPS, VALIDATION_LOSS
from transferscope.stores.target_store import TargetStore

TRAINING = [VALIDATION_LOSS, STEPS]


def dice_of(scores, head, fraction=1.0):
    named = scores.query("metric == 'dice' and `class` == ''")
    return named[(named["head"] == head) & (named["fraction"] == fraction)]["value"].mean()


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    images, masks = squares()
    job = write_mask_job(tmp_path_factory.mktemp("masks"), images, masks)
    return (*job.run(decoders=["linear", "conv"]), masks)


def test_bright_squares_are_learned_and_floors_stand_next_to_them(learned):
    scores, images, masks = learned
    assert dice_of(scores, "conv") > 0.9
    assert dice_of(scores, "linear") > dice_of(scores, ALL_FOREGROUND) + 0.1
    floor = dice(np.ones(masks.shape, bool), masks > 0)
    groups = np.arange(len(masks)) // 2
    one = images.query("head == 'conv' and fraction == 1.0").sort_values("row")
    np.testing.assert_allclose(one["floor_dice"], floor[one["row"]])
    first = one.query("fold == 0")
    wanted = mean_over_groups(floor[first["row"]], groups[first["row"]])
    found = scores.query("metric == 'dice' and `class` == 'object' and fold == 0 and fraction == 1")
    assert found[found["head"] == ALL_FOREGROUND]["value"].iloc[0] == pytest.approx(wanted)


def test_every_tile_is_tested_once_by_each_decoder_and_fraction(learned):
    scores, images, _ = learned
    for _, own in images.groupby(["head", "fraction"]):
        assert sorted(own["row"]) == list(range(24))
    sizes = scores.groupby("fraction")["n_train_groups"].unique()
    assert max(sizes[0.5]) < min(sizes[1.0])


def test_scores_are_means_of_groups_of_the_tiles(learned):
    scores, images, _ = learned
    keys = ["head", "seed", "fold", "fraction"]
    of_groups = images.groupby([*keys, "group"])["dice"].mean().groupby(keys).mean()
    found = scores.query("metric == 'dice' and `class` == 'object'")
    found = found[found["head"] != ALL_FOREGROUND].set_index(keys)["value"]
    pd.testing.assert_series_equal(
        found.sort_index(), of_groups.sort_index(), check_names=False, rtol=1e-12
    )


def test_it_gives_the_same_numbers_again_and_fewer_together(tmp_path, learned, monkeypatch):
    job = write_mask_job(tmp_path, *squares())
    again = job.run(decoders=["linear", "conv"])
    for table, before in zip(again, learned[:2], strict=True):
        pd.testing.assert_frame_equal(table, before)
    monkeypatch.setattr("transferscope.segmentation.decoder_training.TOGETHER_BYTES", 1)
    alone, _ = job.run(decoders=["linear", "conv"])
    np.testing.assert_allclose(alone["value"], again[0]["value"], atol=0.02)


def test_a_killed_job_keeps_the_decoders_that_were_finished(tmp_path, learned, monkeypatch):
    job = write_mask_job(tmp_path, *squares())
    trained, train = [], run.train_decoders

    def until_killed(problem, divisions, names):
        trained.append(problem.decoder.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(problem, divisions, names)

    monkeypatch.setattr(run, "train_decoders", until_killed)
    with pytest.raises(KeyboardInterrupt):
        job.run(decoders=["linear", "conv"])
    tables = job.run(decoders=["linear", "conv"])
    assert trained == ["linear", "conv", "conv"]
    for table, undisturbed in zip(tables, learned[:2], strict=True):
        pd.testing.assert_frame_equal(table, undisturbed)
    assert not list((job.folder / "out").glob("*.parts"))


def test_masks_and_images_of_test_groups_change_nothing_before_they_are_scored(tmp_path):
    images, masks = squares()
    scores, tiles = write_mask_job(tmp_path / "before", images, masks).run(decoders=["conv"])
    # Planted in all tiles that the first fold tests: their masks inverted, their images of noise.
    planted = tiles.query("fold == 0")["row"].unique()
    other_masks, other_images = masks.copy(), images.copy()
    other_masks[planted] = 1 - masks[planted]
    noise = np.random.default_rng(1).integers(0, 4000, images[planted].shape)
    other_images[planted] = noise
    of_masks = write_mask_job(tmp_path / "masks", images, other_masks).run(decoders=["conv"])
    of_images = write_mask_job(tmp_path / "images", other_images, masks).run(decoders=["conv"])
    first = "fold == 0 and metric in @TRAINING"
    before = scores.query(first)["value"].to_numpy()
    assert len(before) == 4
    for changed, _ in (of_masks, of_images):
        np.testing.assert_array_equal(changed.query(first)["value"], before)
    # What is predicted is the same, too; only what it is compared with differs.
    was, now = (table.query("fold == 0") for table in (tiles, of_masks[1]))
    assert (was["predicted"].to_numpy() == now["predicted"].to_numpy()).all()
    assert now["dice"].mean() < was["dice"].mean() - 0.3


def test_tiles_without_a_mask_are_neither_trained_on_nor_scored(tmp_path):
    images, masks = squares()
    masks[4:7] = np.iinfo(np.uint32).max
    job = write_mask_job(tmp_path, images, masks, without_mask=((4, 7),))
    scores, tiles = job.run(fractions=(1.0,), decoders=["linear"], steps=2)
    assert sorted(tiles["row"]) == [row for row in range(24) if not 4 <= row < 7]
    assert scores.groupby("fold")["n_test"].first().sum() == 21


def test_unknown_pixels_are_not_scored(tmp_path):
    images, masks = squares()
    masks[:, :8] = np.iinfo(np.uint32).max
    job = write_mask_job(tmp_path, images, masks)
    _, tiles = job.run(fractions=(1.0,), decoders=["linear"], steps=2)
    assert set(tiles["known"]) == {SIZE * (SIZE - 8)}
    assert (tiles["true"] == (masks == 1).sum(axis=(1, 2))[tiles["row"]]).all()


def test_classes_are_scored_one_by_one(tmp_path):
    images, masks = squares()
    masks[::2] *= 2
    images[::2, 0] //= 2
    job = write_mask_job(tmp_path, images, masks, kind="classes", classes=("gland", "stroma"))
    scores, tiles = job.run(fractions=(1.0,), decoders=["conv"], steps=80)
    assert set(tiles["class"]) == {"gland", "stroma"}
    own = scores.query("head == 'conv' and metric == 'dice' and fold == 0").set_index("class")
    both = own.loc[["gland", "stroma"], "value"]
    assert own.loc["", "value"] == pytest.approx(both.mean())
    assert both.min() > 0.5
    # A class that neither mask has is not counted.
    assert tiles["dice"].isna().any()


def test_ids_of_objects_are_foreground_as_one(tmp_path):
    images, masks = squares()
    ids = masks * np.arange(1, 25, dtype=np.uint32)[:, None, None]
    found = [
        write_mask_job(tmp_path / kind, images, given, kind=kind)
        .run(fractions=(1.0,), decoders=["linear"], steps=4)[0]
        .drop(columns="dataset")
        for kind, given in (("binary", masks), ("instances", ids))
    ]
    pd.testing.assert_frame_equal(*found)


def test_more_resolution_is_learned_from_blocks_and_from_the_image(tmp_path):
    network = {"arguments": {**TINY_NETWORK["arguments"], "patch_size": 8, "depth": 4}}
    images, masks = squares()
    job = write_mask_job(tmp_path, images, masks, network=network)
    names = ["conv", "conv-image", "unetr"]
    asked = {"fractions": (1.0,), "decoders": names, "size": 32}
    scores, before = job.run(**asked, tuning={"modes": ["full"], "steps": 3, "decoders": names[1:]})
    assert set(before["head"]) == {*names, "conv-image-full", "unetr-full"}
    # Squares begin at any pixel, maps have one value per 8 px.
    assert dice_of(scores, "conv-image") > max(0.97, dice_of(scores, "conv"))
    assert dice_of(scores, "unetr") > 0.9
    # Each is what it is without the others, out of domain, too.
    other = write_mask_job(tmp_path / "other", images, masks, dataset="other", group="o")
    _, alone = job.run(**{**asked, "decoders": ["conv-image"]}, others=[other.as_other])
    own = before.query("head == 'conv-image'").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, own)
    there = pd.read_parquet(job.elsewhere).groupby("fold")["dice"].mean()
    assert there.min() > 0.95


def test_a_unet_is_left_out_where_there_is_one_map(tmp_path, caplog):
    job = write_mask_job(tmp_path, *squares())
    scores, _ = job.run(fractions=(1.0,), decoders=["unet", "linear"], steps=2)
    assert set(scores["head"]) == {"linear", ALL_FOREGROUND}
    assert "tiny: unet needs maps of several resolutions" in caplog.text


def test_a_dataset_without_usable_masks_is_refused(tmp_path):
    images, masks = squares()
    job = write_mask_job(tmp_path, images, masks, without_mask=((0, 24),))
    with pytest.raises(UserError, match="no division has tiles with a mask"):
        job.run()


def test_targets_of_other_tiles_are_refused(tmp_path):
    job = write_mask_job(tmp_path, *squares())
    images, _ = squares(1, 22)
    other = write_mask_job(tmp_path / "other", images, squares(1, 22)[1])
    mixed = type(job.files)("cells", job.files.tiles, other.files.targets, *(
        (job.files.table, job.files.splits)
    ))  # fmt: skip
    with pytest.raises(UserError, match="is of other tiles than"):
        type(job)(tmp_path, job.card, job.card_path, mixed).run()


@pytest.fixture(scope="module")
def pairs_of_objects():
    """Return tiles of two bright squares that touch, and their numbers."""
    rng = np.random.default_rng(3)
    masks = np.zeros((24, SIZE, SIZE), np.uint32)
    for mask in masks:
        top, left = rng.integers(2, 8, 2)
        mask[top : top + 20, left : left + 10] = 7
        mask[top : top + 20, left + 10 : left + 20] = 3
    images = rng.integers(0, 400, (24, 2, SIZE, SIZE)).astype(np.uint16)
    # The outline between the two is dark, as between nuclei.
    bright = (masks > 0) & (np.roll(masks, 1, axis=2) == masks)
    return images + (2500 * bright[:, None]).astype(np.uint16), masks


def test_single_objects_are_found_and_scored(tmp_path, pairs_of_objects):
    job = write_mask_job(tmp_path, *pairs_of_objects, kind="instances")
    scores, tiles = job.run(
        fractions=(1.0,), decoders=["conv"], objects=True, steps=200, size=32, learning_rate=0.01
    )
    assert (tiles["true_objects"] == 2).all()
    named = scores.query("`class` == ''").set_index(["head", "fold", "metric"])["value"]
    for fold in (0, 1):
        of_fold = named["conv"][fold]
        assert of_fold["pq"] > 0.5 > named[ALL_FOREGROUND][fold]["pq"] == 0
        assert of_fold["f1_50"] == pytest.approx(of_fold["dq"])
        assert 0.3 < of_fold["aji"] < 1
    np.testing.assert_allclose(tiles["pq"], tiles["dq"] * tiles["sq"])
    # One object for both would have been found half at best.
    assert tiles["predicted_objects"].median() == 2


def test_objects_are_left_out_that_are_too_small_to_match_those_of_the_training(
    tmp_path, pairs_of_objects, monkeypatch
):
    images, masks = pairs_of_objects

    def predicts(problem, trained, rows):
        """Stands for decoders that find an object of 10 x 10 px, and one of 9 x 11."""
        logits = np.full((3, SIZE, SIZE), -9, np.float32)
        logits[:, 2:12, 2:12] = logits[:, 20:29, 20:31] = 9
        return ((n, int(row), logits) for n, part in enumerate(rows) for row in part)

    monkeypatch.setattr("transferscope.segmentation.run.predict", predicts)
    asked = {"fractions": (1.0,), "decoders": ["conv"], "objects": True, "steps": 1}
    # Those of the training have 20 x 10 px.
    job = write_mask_job(tmp_path / "whole", images, masks, kind="instances")
    _, before = job.run(**asked)
    assert (before["predicted_objects"] == 1).all()
    # In what the first fold tests, and the second one is trained on, all have 2 x 2 px.
    tested = before.query("fold == 0")["row"].to_numpy()
    masks = masks.copy()
    masks[tested] = 0
    masks[tested, 4:6, 4:6] = 1
    job = write_mask_job(tmp_path / "small", images, masks, kind="instances")
    other = write_mask_job(
        tmp_path / "other", images, masks, kind="instances", dataset="other", group="o"
    )
    _, after = job.run(**asked, others=[other.as_other])
    for table in (after, pd.read_parquet(job.elsewhere)):
        assert table.groupby("fold")["predicted_objects"].unique().map(list).to_dict() == {
            0: [1],
            1: [2],
        }


@pytest.mark.parametrize(("areas", "found"), [
    ([], 4), ([5], 4), ([40], 20), ([41], 21), ([1, *[60] * 200], 30), ([1, *[60] * 50], 4),
])  # fmt: skip
def test_a_few_specks_in_an_annotation_do_not_count(areas, found):
    numbers = np.repeat(np.arange(1, len(areas) + 1), areas)
    assert least_pixels([np.concatenate([[0, 0], numbers])[None].astype(np.int32)]) == found


def test_binary_masks_have_no_single_objects(tmp_path):
    job = write_mask_job(tmp_path, *squares())
    found = job.run(fractions=(1.0,), decoders=["linear"], steps=2, objects=True)
    wanted = job.run(fractions=(1.0,), decoders=["linear"], steps=2)
    for table, expected in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(table, expected)


def test_objects_that_the_edge_may_cut_are_learned_as_foreground_alone(pairs_of_objects, tmp_path):
    masks = pairs_of_objects[1].copy()
    masks[0] = 0
    masks[0, 4:20, :9] = 5
    masks[0, 8:16, 20:28] = 900
    write_targets(tmp_path / "m.json", masks, "instances", ("object",))
    found = TrueMasks.read(TargetStore(tmp_path / "m.json"), np.array([0, 1]), None, objects=True)
    assert found.n_out == 3
    assert found.objects.labels[0].max() == 2
    assert (found.shares[0, 0] == 255 * (masks[0] > 0)).all()
    assert (found.objects.known[0] == 255 * (masks[0] != 5)).all()
    assert found.objects.maps[0, :, masks[0] != 900].max() == 0
    assert (found.objects.maps[0].max(axis=(1, 2)) == 255).all()

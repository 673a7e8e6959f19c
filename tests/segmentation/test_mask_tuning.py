"""Backbones trained together with decoders: what is trained, kept, augmented and left out."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_masks import squares, write_mask_job

from transferscope.config.segmentation import MaskAugmentation, SegmentationSettings
from transferscope.segmentation import run
from transferscope.segmentation.mask_augmentation import MaskAugmenter
from transferscope.segmentation.table_names import STEPS, VALIDATION_LOSS

RGB = ["red", "green", "blue"]
ALL = {"fractions": (1.0,), "decoders": ["linear"], "steps": 2}
TUNING = {"modes": ["full", "last-1", "lora"], "steps": 24, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    job = write_mask_job(tmp_path_factory.mktemp("tuned"), *squares())
    return (*job.run(**ALL, tuning=TUNING), job)


def test_each_mode_is_a_decoder_of_its_own_on_the_same_divisions(tuned):
    scores, images, job = tuned
    named = scores.query("metric == 'dice' and `class` == ''").groupby("head")["value"].mean()
    assert set(images["head"]) == {"linear", "linear-full", "linear-last-1", "linear-lora"}
    assert named["linear-full"] > 0.8 > named["all-foreground"]
    for _, own in images.groupby("head"):
        assert sorted(own["row"]) == list(range(24))
    assert scores.query("metric == @STEPS and head == 'linear-full'")["value"].between(1, 24).all()
    assert not list((job.folder / "out").glob("*.parts"))


def test_frozen_decoders_are_those_of_a_study_that_tunes_nothing(tuned, tmp_path):
    scores, images, _ = tuned
    alone, tiles = write_mask_job(tmp_path, *squares()).run(**ALL)
    assert alone.equals(scores[~scores["head"].str.contains("linear-")][: len(alone)])
    assert tiles.equals(images.query("head == 'linear'"))


def test_test_groups_change_nothing_before_they_are_scored(tuned, tmp_path):
    scores, tiles, _ = tuned
    images, masks = squares()
    planted = tiles.query("fold == 0")["row"].unique()
    masks[planted] = 1 - masks[planted]
    images[planted] = np.random.default_rng(1).integers(0, 4000, images[planted].shape)
    changed, _ = write_mask_job(tmp_path, images, masks).run(
        **ALL, tuning={**TUNING, "modes": ["full"]}
    )
    first = "fold == 0 and head == 'linear-full' and metric in [@VALIDATION_LOSS, @STEPS]"
    before = scores.query(first)["value"].to_numpy()
    assert len(before) == 2
    np.testing.assert_array_equal(changed.query(first)["value"], before)
    assert VALIDATION_LOSS != STEPS


def test_a_killed_job_keeps_its_finished_trainings(tuned, tmp_path, monkeypatch):
    scores, images, _ = tuned
    job = write_mask_job(tmp_path, *squares())
    left, train = [1], run.train
    full = {**TUNING, "modes": ["full"]}

    def killed(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return train(*arguments)

    monkeypatch.setattr(run, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        job.run(**ALL, tuning=full)
    left[0] = 1  # of two
    found, tiles = job.run(**ALL, tuning=full)
    assert left == [0]
    for table, before in ((found, scores), (tiles, images)):
        kept = before[~before["head"].isin(["linear-last-1", "linear-lora"])]
        pd.testing.assert_frame_equal(table, kept[: len(table)].reset_index(drop=True))


def test_what_a_backbone_cannot_serve_is_left_out_with_its_reason(tmp_path, caplog):
    network = {"architecture": "resnet10t", "arguments": {}, "input_size": 32}
    slots = [{"name": "nucleus"}, {"name": "protein"}]
    network |= {"slots": slots, "outputs": [{"name": "pool", "pooling": "pool"}]}
    job = write_mask_job(tmp_path, *squares(), network=network)
    tuning = {"modes": ["full", "lora"], "steps": 4, "decoders": ["unet"]}
    scores, _ = job.run(**{**ALL, "decoders": ["linear", "unet"]}, tuning=tuning)
    assert set(scores["head"]) == {"linear", "unet", "unet-full", "all-foreground"}
    assert "tiny is left out of mode lora" in caplog.text


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"modes": ["head"]}, "nothing but the decoder"),
        ({"modes": ["half"]}, "no such mode"),
        ({"decoders": ["unet"]}, "unet is not among decoders"),
    ],
)
def test_settings_that_mean_nothing_are_refused(bad, text):
    with pytest.raises(ValueError, match=text):
        SegmentationSettings(decoders=["linear"], tuning=bad)


@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_masks_move_with_their_tiles(shape):
    still = MaskAugmentation(brightness=0, contrast=0, stain=0)
    generator = torch.Generator().manual_seed(0)
    tiles = torch.rand(64, 2, *shape)
    masks = [tiles[:, :1] > 0.5, tiles[:, 0] > 0.5]
    moved, (one, two) = MaskAugmenter(still, ["a", "b"])(tiles, masks, generator)
    torch.testing.assert_close(moved[:, :1] > 0.5, one)
    torch.testing.assert_close(moved[:, 0] > 0.5, two)
    variants = {tuple(np.unique(m[0, :2, :2])) for m in moved.numpy()}
    # All eight of a square, four of another shape, of one tile each.
    same, _ = MaskAugmenter(still, ["a"])(tiles[:1, :1].repeat(200, 1, 1, 1), [], generator)
    assert len({m.numpy().tobytes() for m in same}) == (8 if shape[0] == shape[1] else 4)
    assert len(variants) > 1


def test_stains_vary_of_coloured_sections_alone():
    settings = MaskAugmentation(flips=False, rotations=False, brightness=0, contrast=0, stain=0.3)
    tiles = 0.2 + 0.7 * torch.rand(8, 3, 6, 6)
    draw = torch.Generator().manual_seed
    stained, _ = MaskAugmenter(settings, RGB)(tiles, [], draw(0))
    assert (stained - tiles).abs().amax(dim=(1, 2, 3)).min() > 0.01
    for other in (["a", "b", "c"], [*RGB[::-1]]):
        plain, _ = MaskAugmenter(settings, other)(tiles, [], draw(0))
        torch.testing.assert_close(plain, tiles)
    none = settings.model_copy(update={"stain": 1e-9})
    torch.testing.assert_close(MaskAugmenter(none, RGB)(tiles, [], draw(0))[0], tiles)
    # White has no stain.
    white, _ = MaskAugmenter(settings, RGB)(torch.ones(2, 3, 4, 4), [], draw(0))
    torch.testing.assert_close(white, torch.ones(2, 3, 4, 4))

"""The figure of the best, the median and the worst predicted mask."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

sys.path.insert(0, str(Path(__file__).parents[1] / "segmentation"))
from tiny_masks import DATASET, squares, write_mask_job

from transferscope.cells.outlines import outlines
from transferscope.figures.mask_pictures import draw_pictures

ALL: dict[str, Any] = {"fractions": (0.5, 1.0), "decoders": ["linear"], "steps": 20}


@pytest.mark.parametrize("kind", ["binary", "instances"])
def test_three_tiles_of_each_decoder_are_drawn_with_outlines(tmp_path, kind):
    images, masks = squares()
    job = write_mask_job(tmp_path, images, masks, kind=kind)
    _, tiles = job.run(**ALL, pictures=True, objects=True)
    found = job.pictures
    assert [(p.head, p.which) for p in found] == [
        ("linear", which) for which in ("best", "median", "worst")
    ]
    full = tiles.query("fraction == 1 and head == 'linear'").set_index("row")["dice"]
    assert found[0].dice == full.max()
    assert found[2].dice == full.min()
    assert found[1].dice == full.sort_values(ascending=False).iloc[12]
    for picture in found[:3]:
        assert full[picture.row] == picture.dice
        np.testing.assert_array_equal(picture.true, outlines(masks[picture.row]))
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for path in paths:
        draw_pictures(found, job.files.tiles, DATASET, "tiny", path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert imread(paths[0]).std() > 0.1


def test_pictures_change_no_score_and_outlive_a_kill(tmp_path, monkeypatch):
    job = write_mask_job(tmp_path / "one", *squares())
    tuning = {"modes": ["last-1"], "steps": 4}
    with_them = job.run(**ALL, pictures=True, tuning=tuning)
    before = list(job.pictures)
    other = write_mask_job(tmp_path / "two", *squares())
    without = other.run(**ALL, tuning=tuning)
    assert not other.pictures
    # All trainings are finished, and are read from their files.
    monkeypatch.setattr("transferscope.segmentation.run.TunedParts.remove", lambda self: None)
    job.run(**ALL, pictures=True, tuning=tuning)
    monkeypatch.setattr("transferscope.segmentation.run.train", None)
    again = job.run(**ALL, pictures=True, tuning=tuning)
    heads = [head for head in ("linear", "linear-last-1") for _ in range(3)]
    assert [p.head for p in job.pictures] == heads
    assert [(p.row, p.dice) for p in job.pictures] == [(p.row, p.dice) for p in before]
    assert all(
        (a.predicted == b.predicted).all() for a, b in zip(job.pictures, before, strict=True)
    )
    for one, two, three in zip(with_them, without, again, strict=True):
        assert one.equals(two)
        assert one.equals(three)


def test_without_a_picture_there_is_an_empty_figure(tmp_path):
    job = write_mask_job(tmp_path, *squares())
    draw_pictures([], job.files.tiles, DATASET, "tiny", tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000

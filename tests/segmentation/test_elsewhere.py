"""Decoders tested out of domain: on all tiles of another dataset, and on nothing they know."""

import numpy as np
import pandas as pd
import pytest
from tiny_masks import squares, write_mask_job

from transferscope.errors import UserError

ALL = {"fractions": (1.0,), "decoders": ["conv"], "steps": 40}
TUNING = {"modes": ["last-1"], "steps": 10}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Return the same kind of images, darker and noisier, of groups of other names."""
    images, masks = squares(seed=5)
    noise = np.random.default_rng(0).integers(0, 900, images.shape)
    darker = (images // 2 + noise).astype(np.uint16)
    folder = tmp_path_factory.mktemp("other")
    job = write_mask_job(folder, darker, masks, dataset="other-lab", group="h")
    return job, masks


@pytest.fixture(scope="module")
def tested(tmp_path_factory, other):
    job = write_mask_job(tmp_path_factory.mktemp("here"), *squares())
    found = job.run(**ALL, others=[other[0].as_other], tuning=TUNING)
    return (*found, pd.read_parquet(job.elsewhere))


def test_every_decoder_is_tested_on_all_tiles_of_the_other_dataset(tested, other):
    _, images, elsewhere = tested
    assert set(elsewhere["tested_on"]) == {"other-lab"}
    assert set(elsewhere["head"]) == {"conv", "conv-last-1"} == set(images["head"])
    for _, rows in elsewhere.groupby(["head", "fold"]):
        assert rows["row"].tolist() == list(range(24))
    assert elsewhere["group"].str.startswith("h").all()
    assert (elsewhere["true"] == (other[1] > 0).sum(axis=(1, 2))[elsewhere["row"]]).all()
    inside, outside = (t.query("head == 'conv'")["dice"].mean() for t in (images, elsewhere))
    assert inside > outside + 0.03


def test_what_is_found_inside_is_the_same_without_it(tested, tmp_path):
    job = write_mask_job(tmp_path, *squares())
    for table, before in zip(job.run(**ALL, tuning=TUNING), tested[:2], strict=True):
        pd.testing.assert_frame_equal(table, before)
    assert not job.elsewhere.exists()


def test_on_the_same_images_a_decoder_scores_the_same(tmp_path):
    images, masks = squares()
    job = write_mask_job(tmp_path / "here", images, masks)
    same = write_mask_job(tmp_path / "same", images, masks, dataset="same", group="h")
    _, tiles = job.run(**ALL, others=[same.as_other], tuning=TUNING)
    keys = ["head", "fold", "row"]
    both = pd.read_parquet(job.elsewhere).merge(tiles, on=keys, suffixes=("_there", ""))
    assert len(both) == len(tiles)
    np.testing.assert_allclose(both["dice_there"], both["dice"], atol=2e-3)


def test_groups_of_the_same_name_are_left_out(tmp_path, other, caplog):
    job = write_mask_job(tmp_path / "here", *squares())
    known = write_mask_job(tmp_path / "known", *squares(seed=1), dataset="known")
    job.run(**ALL, others=[known.as_other, other[0].as_other])
    assert "known: 12 groups are groups of the training" in caplog.text
    assert set(pd.read_parquet(job.elsewhere)["tested_on"]) == {"other-lab"}


def test_another_meaning_of_masks_is_refused(tmp_path):
    job = write_mask_job(tmp_path / "here", *squares())
    images, masks = squares(1)
    other = write_mask_job(
        tmp_path / "other", images, masks, kind="classes", classes=("gland",), dataset="glands"
    )
    with pytest.raises(UserError, match="its classes are gland, not object"):
        job.run(**ALL, others=[other.as_other])


def test_objects_are_scored_where_the_other_masks_tell_them_apart(tmp_path, other):
    images, masks = squares()
    job = write_mask_job(tmp_path / "here", images, masks, kind="instances")
    apart = write_mask_job(
        tmp_path / "apart", *squares(seed=2), kind="instances", dataset="apart", group="i"
    )
    job.run(**{**ALL, "steps": 4}, others=[other[0].as_other, apart.as_other], objects=True)
    found = pd.read_parquet(job.elsewhere).set_index("tested_on")
    assert found.loc["other-lab", "pq"].isna().all()
    assert (found.loc["apart", "true_objects"] == 1).all()
    assert found["dice"].notna().all()

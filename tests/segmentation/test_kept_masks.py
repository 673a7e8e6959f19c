"""Predicted masks that are kept are those that were scored, and become images of any program."""

import shutil

import imagecodecs
import numpy as np
import pytest
import tifffile
from tiny_masks import SIZE, squares, write_mask_job

from command_tree import run
from transferscope.config.paths import StudyPaths
from transferscope.segmentation.instance_metrics import instance_scores
from transferscope.segmentation.semantic_metrics import dice
from transferscope.stores.manifest import store_of
from transferscope.stores.target_store import IGNORE, TargetStore
from transferscope.upkeep.identity import differences
from transferscope.upkeep.manifests import manifests_in

ASKED = {"fractions": (0.5, 1.0), "decoders": ["linear", "conv"], "keep_masks": True, "steps": 40}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Return a job whose tiles 4 to 6 have no mask, its table of tiles, and the true masks."""
    images, masks = squares()
    masks[4:7] = IGNORE
    folder = tmp_path_factory.mktemp("kept")
    job = write_mask_job(folder, images, masks, without_mask=((4, 7),))
    tuning = {"modes": ["full"], "decoders": ["linear"], "steps": 4}
    _, tiles = job.run(**ASKED, tuning=tuning)
    return job, tiles, masks


def test_each_decoder_has_the_masks_that_were_scored(kept):
    job, tiles, masks = kept
    store = TargetStore.open(job.predicted)
    assert store.attributes["decoders"] == ["linear", "conv", "linear-full"]
    assert {"fraction": 1.0, "seed": 0, "kind": "binary"}.items() <= store.attributes.items()
    tested = [row for row in range(24) if not 4 <= row < 7]
    for number, head in enumerate(store.attributes["decoders"]):
        rows = 24 * number + np.arange(24)
        assert [store.tile_ids[row] for row in rows] == [f"{head}/t{n:02d}" for n in range(24)]
        assert np.flatnonzero(store.has_mask[rows]).tolist() == tested
        found = store.read(rows)
        assert (found[4:7] == IGNORE).all()
        own = tiles.query("head == @head and fraction == 1.0").set_index("row")["dice"]
        np.testing.assert_allclose(dice(found[tested] == 1, masks[tested] == 1), own.loc[tested])


def test_a_store_at_the_place_of_another_is_told(kept, tmp_path):
    job, _, _ = kept
    paths = StudyPaths(tmp_path)
    for place, wrong in (
        (paths.predicted_masks("cells", "tiny", "map"), []),
        (paths.predicted_masks("cells", "other", "map"), ["tiny, not other"]),
    ):
        place.parent.mkdir(parents=True)
        shutil.copytree(store_of(job.predicted), store_of(place))
        shutil.copy(job.predicted, place)
        assert (place, TargetStore) in manifests_in(tmp_path)
        found = list(differences(paths, {place: TargetStore.open(place)}, None))
        assert [what.removeprefix("its backbone is ") for _, what in found] == wrong


def test_pictures_are_drawn_of_the_same_masks(kept, tmp_path):
    job, _, _ = kept
    again = write_mask_job(tmp_path, *squares())
    again.run(**{**ASKED, "keep_masks": False}, pictures=True)
    assert not again.predicted.exists()
    assert {picture.head for picture in again.pictures} == {"linear", "conv"}
    assert not job.pictures


def test_objects_keep_their_numbers(tmp_path):
    images, masks = squares()
    ids = masks * np.arange(1, 25, dtype=np.uint32)[:, None, None]
    job = write_mask_job(tmp_path, images, ids, kind="instances")
    _, tiles = job.run(**{**ASKED, "decoders": ["conv"]}, objects=True)
    store = TargetStore.open(job.predicted)
    assert store.kind == "instances"
    own = tiles.query("fraction == 1.0").set_index("row")
    for row, found in enumerate(store.read(np.arange(24))):
        assert len(np.unique(found[found > 0])) == own["predicted_objects"][row]
        np.testing.assert_equal(instance_scores(found, ids[row]).pq, own["pq"][row])


@pytest.mark.parametrize("suffix", [".png", ".ome.tif"])
def test_they_become_images(kept, tmp_path, suffix):
    job, _, _ = kept
    kind = "tiff" if suffix == ".ome.tif" else "png"
    words = ["masks", "write", "--store", str(job.predicted), "--output", str(tmp_path / "out")]
    ended = run([*words, "--decoder", "conv", "--format", kind])
    assert ended.code == 0, ended.err
    assert "wrote 21 masks" in ended.out
    expected = TargetStore.open(job.predicted).read(24 + np.arange(24))
    for row in (0, 7, 23):
        path = tmp_path / f"out/t{row:02d}{suffix}"
        read = imagecodecs.png_decode(path.read_bytes()) if kind == "png" else tifffile.imread(path)
        assert read.dtype == np.uint8
        assert read.shape == (SIZE, SIZE)
        assert (read == 255 * expected[row]).all()


def test_true_masks_are_written_as_well_and_unknown_pixels_are_background(kept, tmp_path):
    job, _, masks = kept
    words = ["masks", "write", "--store", str(job.files.targets), "--output", str(tmp_path)]
    assert run(words).code == 0
    assert len(list(tmp_path.glob("*.png"))) == 21
    read = imagecodecs.png_decode((tmp_path / "t08.png").read_bytes())
    assert (read == 255 * masks[8]).all()
    ended = run([*words, "--decoder", "conv"])
    assert ended.code == 1
    assert "holds true masks, of no decoder" in ended.err


def test_which_decoder_has_to_be_said(kept, tmp_path):
    words = ["masks", "write", "--store", str(kept[0].predicted), "--output", str(tmp_path)]
    for more, fix in ((), "Say which."), (("--decoder", "linaer"), 'Did you mean "linear"?'):
        ended = run([*words, *more])
        assert ended.code == 1
        assert "has masks of linear, conv, linear-full" in ended.err
        assert fix in ended.err

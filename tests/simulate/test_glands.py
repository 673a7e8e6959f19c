"""Simulated glands: reproducible, whole, told from the stroma, and of two labs that differ."""

import hashlib
from functools import cache

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from transferscope.cards import DatasetCard, SimulateSettings
from transferscope.cards.lookup import SHIPPED, locate_card
from transferscope.simulate import GRADES, LABS, draw_specimens, simulate_dataset, simulate_glands
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.targets.build import make_targets
from transferscope.tiles.build import make_tiles

SIZE = 128
BOTH = pytest.mark.parametrize("lab", LABS.values(), ids=lambda lab: lab.name)


@cache
def images(name, count=12, size=SIZE):
    """Return grade, image and mask of the first image of some specimens."""
    lab = LABS[name]
    return [
        (one.grade, *simulate_glands(lab, one, 0, size, 0)) for one in draw_specimens(lab, count, 0)
    ]


def touching(mask):
    """Return the share of the glands that touch another."""
    pairs = set()
    for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
        meet = (one > 0) & (other > 0) & (one != other)
        pairs |= set(one[meet].tolist()) | set(other[meet].tolist())
    return len(pairs) / mask.max()


@BOTH
def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(lab, tmp_path):
    def digest(folder, **options):
        simulate_dataset(lab.name, folder, 3, 2, 64, **options)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        assert len(files) == 1 + 2 * 6
        return {
            str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
        }

    one = digest(tmp_path / "one", workers=1)
    assert digest(tmp_path / "two", workers=2) == one
    other = digest(tmp_path / "other", workers=1, seed=1)
    assert all(other[name] != one[name] for name in one if name.endswith(".tif"))


@BOTH
def test_the_first_specimens_stay_when_there_are_more(lab):
    assert draw_specimens(lab, 40, 0)[:12] == draw_specimens(lab, 12, 0)
    assert {one.grade for one in draw_specimens(lab, 2, 0)} == set(GRADES)


@BOTH
def test_glands_are_numbered_without_gaps_and_each_is_in_one_piece(lab):
    for _, image, mask in images(lab.name):
        assert image.shape == (SIZE, SIZE, 3)
        assert mask.shape == (SIZE, SIZE)
        assert np.unique(mask).tolist() == list(range(mask.max() + 1))
        for number in range(1, mask.max() + 1):
            _, parts = ndimage.label(mask == number)
            assert parts == 1
        assert 3 <= mask.max() <= 60
        assert 0.15 < (mask > 0).mean() < 0.85


@BOTH
@pytest.mark.parametrize("size", [32, 64, 200])
def test_images_of_any_size_hold_a_gland(lab, size):
    for _, image, mask in images(lab.name, 4, size):
        assert image.shape == (size, size, 3)
        assert mask.max() >= 1


@BOTH
def test_masks_lie_where_the_epithelium_is(lab):
    """The rim of a gland holds nuclei, and so is bluer than the stroma around it."""
    differences = []
    for _, image, mask in images(lab.name):
        blue = image[..., 2].astype(float) - image[..., 0]
        depth = ndimage.distance_transform_edt(mask > 0) * lab.pixel_size_um
        away = ndimage.distance_transform_edt(mask == 0) * lab.pixel_size_um
        rim, around = (depth > 2) & (depth < 9), (away > 3) & (away < 12)
        differences.append(blue[rim].mean() - blue[around].mean())
        # The same mask, moved by 20 px, does not fit.
        moved = np.roll(mask, (20, 20), axis=(0, 1))
        at = ndimage.distance_transform_edt(moved > 0) * lab.pixel_size_um
        off = ndimage.distance_transform_edt(moved == 0) * lab.pixel_size_um
        rim, around = (at > 2) & (at < 9), (off > 3) & (off < 12)
        assert blue[rim].mean() - blue[around].mean() < differences[-1]
    assert min(differences) > 8


def test_the_two_labs_differ_as_they_say():
    first, second = LABS.values()
    assert (first.name, second.name) == ("glands", "glands-other-lab")
    # Stains: pink and blue here, orange and purple there.
    colours = {
        lab.name: np.mean([image.mean(axis=(0, 1)) for _, image, _ in images(lab.name)], axis=0)
        for lab in LABS.values()
    }
    blue = {name: colour[2] - colour[0] for name, colour in colours.items()}
    assert blue[first.name] > blue[second.name] + 20
    # Blur and noise: what is left of the finest details, relative to the contrast.
    assert sharpness(first.name) > 1.15 * sharpness(second.name)
    # Pixel size: glands of one size cover fewer pixels.
    assert first.pixel_size_um < second.pixel_size_um
    assert diameter(first.name) > 1.1 * diameter(second.name)
    assert diameter(first.name) * first.pixel_size_um == pytest.approx(
        diameter(second.name) * second.pixel_size_um, rel=0.15
    )
    # Fusing: more glands touch.
    shares = {
        lab.name: np.mean([touching(mask) for _, _, mask in images(lab.name, 24)])
        for lab in LABS.values()
    }
    assert shares[second.name] > shares[first.name] + 0.1


def sharpness(name):
    found = []
    for _, image, _ in images(name):
        grey = image.mean(axis=2)
        found.append(np.abs(ndimage.laplace(ndimage.gaussian_filter(grey, 1))).mean() / grey.std())
    return np.mean(found)


def diameter(name):
    """Return the median diameter in px of benign glands that the border does not cut."""
    areas = []
    for grade, _, mask in images(name, 16):
        inside = np.delete(np.bincount(mask.ravel()), 0)
        cut = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        if grade == "benign":
            areas += [a for n, a in enumerate(inside, start=1) if n not in cut]
    return 2 * np.sqrt(np.median(areas) / np.pi)


@pytest.mark.parametrize("name", ["glands-demo", "glands-demo-other-lab"])
def test_the_cards_are_those_of_the_labs_and_give_tiles_with_targets(name, tmp_path):
    described = locate_card(name, "datasets", DatasetCard, [SHIPPED]).card
    settings = described.simulate
    assert isinstance(settings, SimulateSettings)
    lab = LABS[settings.domain]
    assert described.pixel_size_um == lab.pixel_size_um
    assert tuple(described.labels) == GRADES
    assert (settings.n_groups, settings.fovs_per_group, settings.fov_size) == (
        lab.n_groups, lab.fovs_per_group, lab.fov_size,
    )  # fmt: skip
    sheet = simulate_dataset(settings.domain, tmp_path, 12, 1, 64, workers=1)
    made = {"manifest": tmp_path / "t.json", "tile_table": tmp_path / "t.parquet"}
    more = {"quality": tmp_path / "q.csv", "skipped": tmp_path / "s.tsv"}
    make_tiles(sheet, described, **made, **more)
    make_targets(
        sheet, described, made["manifest"], manifest=tmp_path / "m.json", table=tmp_path / "m.csv"
    )
    tiles, targets = TileStore(tmp_path / "t.json"), TargetStore(tmp_path / "m.json")
    assert tiles.channels == ["red", "green", "blue"]
    table = pd.read_csv(sheet, sep="\t")
    for row in (0, 7, 11):
        image = tifffile.imread(tmp_path / table["path"][row])
        np.testing.assert_array_equal(tiles.read(row, row + 1)[0], np.moveaxis(image, -1, 0))
        mask = tifffile.imread(tmp_path / table["mask"][row])
        np.testing.assert_array_equal(targets.read(np.array([row]))[0], mask)


def test_masks_of_simulated_proteins_are_not_promised():
    with pytest.raises(ValueError, match="masks: the simulator writes those of glands only"):
        DatasetCard.model_validate(
            {
                "name": "d", "simulate": {"domain": "hpa"}, "masks": {"kind": "binary"},
                "channels": ["nucleus"], "labels": ["a", "b"],
            }
        )  # fmt: skip

"""Each method of segmentation on fields whose cells are known."""

import re
import sys
import time
import types

import numpy as np
import pytest

from transferscope.cards import CellposeSegmentation, ProvidedMasks, WatershedSegmentation
from transferscope.cells.segmentation import cellpose
from transferscope.cells.segmentation.provided import cells_of_mask
from transferscope.cells.segmentation.watershed import grow_cells
from transferscope.cells.segmentation.whole import whole_field
from transferscope.errors import UserError
from transferscope.runtime.shipped import install_hint

PROVIDED = ProvidedMasks(method="provided")


def discs(centres, radius, size=96):
    """Return [size, size] int32, a disc a centre, numbered from 1; they do not overlap."""
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for number, (cy, cx) in enumerate(centres, start=1):
        labels[np.hypot(y - cy, x - cx) <= radius] = number
    return labels


CENTRES = [(25, 25), (25, 70), (70, 25), (70, 70)]


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_pieces_of_a_binary_mask_are_cells(white):
    truth = discs(CENTRES, 10)
    mask = ((truth > 0) * white).astype(np.uint16)
    np.testing.assert_array_equal(cells_of_mask(mask, PROVIDED).cells, truth)
    np.testing.assert_array_equal(cells_of_mask(truth > 0, PROVIDED).cells, truth)


def test_a_mask_with_other_values_holds_instances():
    truth = discs(CENTRES, 10) * 3
    found = cells_of_mask(truth, PROVIDED)
    assert found.numbers.tolist() == [3, 6, 9, 12]
    np.testing.assert_array_equal(found.cells * 3, truth)


def test_one_value_may_be_one_instance():
    truth = (discs(CENTRES, 10) > 0) * 255
    one = cells_of_mask(truth, ProvidedMasks(method="provided", values="instances"))
    assert one.numbers.tolist() == [255]
    many = cells_of_mask(truth // 255 * 7, ProvidedMasks(method="provided", values="binary"))
    assert many.count == 4


def test_discs_that_touch_are_split_where_they_narrow():
    truth = discs([(40, 30), (40, 47), (75, 75)], 10)
    mask = (truth > 0).astype(np.uint8) * 255
    assert cells_of_mask(mask, PROVIDED).count == 2
    found = cells_of_mask(mask, ProvidedMasks(method="provided", split=True))
    assert found.count == 3
    np.testing.assert_array_equal(found.cells > 0, truth > 0)
    for number in (1, 2, 3):
        own = truth == number
        part = np.bincount(found.cells[own]).max()
        assert part >= 0.95 * own.sum()


def test_watershed_finds_nuclei_and_grows_the_cells_exactly():
    nuclei, cells = discs(CENTRES, 8), discs(CENTRES, 18)
    field = np.stack([np.where(nuclei, 3000, 100), np.where(cells, 900, 50)]).astype(np.uint16)
    settings = WatershedSegmentation(method="watershed", cytoplasm=["er"], smoothing=0)
    found = grow_cells(field, ["nucleus", "er"], settings, None)
    np.testing.assert_array_equal(found.cells, cells)
    np.testing.assert_array_equal(found.nuclei, nuclei > 0)
    only = WatershedSegmentation(method="watershed", smoothing=0)
    found = grow_cells(field, ["nucleus", "er"], only, None)
    np.testing.assert_array_equal(found.cells, nuclei)
    assert found.nuclei is None


@pytest.mark.parametrize("threshold", ["otsu", "li"])
def test_touching_cells_are_parted_between_their_nuclei(threshold):
    nuclei = discs([(48, 30), (48, 66)], 8)
    field = np.stack([nuclei > 0, discs([(48, 30), (48, 66)], 20) > 0]) * 1000 + 20
    settings = WatershedSegmentation(
        method="watershed", cytoplasm=["er"], smoothing=0, threshold=threshold
    )
    found = grow_cells(field.astype(np.uint16), ["nucleus", "er"], settings, None)
    assert found.count == 2
    assert abs(int((found.cells == 1).sum()) - int((found.cells == 2).sum())) < 60


def test_lengths_are_in_um_where_the_pixel_size_is_known():
    nuclei = discs(CENTRES, 8)
    rng = np.random.default_rng(0)
    field = rng.poisson(np.where(nuclei, 60, 5)).astype(np.uint16)[None]
    in_um = WatershedSegmentation(method="watershed", smoothing=1, nucleus_diameter=8)
    in_px = WatershedSegmentation(method="watershed", smoothing=2, nucleus_diameter=16)
    np.testing.assert_array_equal(
        grow_cells(field, ["nucleus"], in_um, 0.5).cells,
        grow_cells(field, ["nucleus"], in_px, None).cells,
    )


def test_a_flat_field_has_no_cell():
    field = np.full((2, 30, 30), 7, np.uint16)
    settings = WatershedSegmentation(method="watershed", cytoplasm=["er"])
    assert grow_cells(field, ["nucleus", "er"], settings, None).count == 0


def test_a_whole_field_is_one_cell():
    found = whole_field((3, 5))
    assert found.numbers.tolist() == [1]
    assert (found.cells == 1).all()


def test_a_mask_of_100_000_labels_takes_seconds():
    labels = np.arange(1, 100_001, dtype=np.int32).reshape(250, 400).repeat(4, 0).repeat(4, 1)
    start = time.perf_counter()
    found = cells_of_mask(labels, PROVIDED)
    assert found.count == 100_000
    assert time.perf_counter() - start < 5


def test_cellpose_is_asked_as_documented(monkeypatch):
    asked = {}

    class CellposeModel:
        def __init__(self, gpu, pretrained_model):
            asked.update(gpu=gpu, model=pretrained_model)

        def eval(self, x, channel_axis, diameter):
            asked.update(shape=x.shape, first=x[0], axis=channel_axis, diameter=diameter)
            return discs(CENTRES, 10).astype(np.uint16), [], []

    models = types.SimpleNamespace(CellposeModel=CellposeModel)
    core = types.SimpleNamespace(use_gpu=lambda: False)
    monkeypatch.setitem(sys.modules, "cellpose", types.ModuleType("cellpose"))
    monkeypatch.setitem(sys.modules, "cellpose.models", models)
    monkeypatch.setitem(sys.modules, "cellpose.core", core)
    cellpose._model.cache_clear()
    field = np.random.default_rng(0).integers(0, 9, (3, 96, 96)).astype(np.uint16)
    settings = CellposeSegmentation(method="cellpose", channels=["c", "a"], diameter=30)
    found = cellpose.cellpose_cells(field, ["a", "b", "c"], settings, 0.5)
    cellpose._model.cache_clear()
    np.testing.assert_array_equal(found.cells, discs(CENTRES, 10))
    np.testing.assert_array_equal(asked.pop("first"), field[2])
    expected = {"gpu": False, "model": "cpsam", "shape": (2, 96, 96), "axis": 0, "diameter": 60}
    assert asked == expected


def test_without_cellpose_the_message_says_how_to_install_it(monkeypatch):
    for name in ("cellpose", "cellpose.models", "cellpose.core"):
        monkeypatch.setitem(sys.modules, name, None)
    cellpose._model.cache_clear()
    settings = CellposeSegmentation(method="cellpose", channels=["a"])
    with pytest.raises(UserError, match=re.escape(install_hint("cellpose"))):
        cellpose.cellpose_cells(np.zeros((1, 4, 4), np.uint8), ["a"], settings, None)

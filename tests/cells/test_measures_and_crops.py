"""Measures and tiles of cells against plain transcriptions, on label images of any kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from transferscope.cards import CropSettings, DatasetCard
from transferscope.cells.crops import background, crop_side, cut_cell, place_around
from transferscope.cells.measures import measure_cells, measure_columns, nucleus_centroids
from transferscope.cells.segmentation.segmented import SegmentedField, counted

CARD = {
    "name": "d",
    "sheet": "s.tsv",
    "channels": ["nucleus", "protein"],
    "labels": ["a", "b"],
    "pixel_size_um": 0.5,
    "cells": {"segmentation": {"method": "watershed"}, "crop": {"size": 16}},
}


def card(**changes: object) -> DatasetCard:
    return DatasetCard.model_validate({**CARD, **changes})


shapes = st.tuples(st.integers(1, 14), st.integers(1, 14))


@st.composite
def fields(draw):
    """A field, labels with gaps in their numbers, and nuclei."""
    shape = draw(shapes)
    labels = draw(arrays(np.uint16, shape, elements=st.sampled_from([0, 0, 1, 2, 5, 300])))
    field = draw(arrays(np.uint16, (2, *shape), elements=st.integers(0, 65535)))
    nuclei = draw(arrays(np.bool_, shape))
    return field, labels, nuclei


@given(fields())
@settings(deadline=None)
def test_labels_are_counted_and_keep_their_numbers(made):
    _, labels, _ = made
    found = counted(labels)
    assert found.numbers.tolist() == sorted(set(labels.ravel().tolist()) - {0})
    np.testing.assert_array_equal(np.concatenate([[0], found.numbers])[found.cells], labels)


def test_huge_numbers_are_counted_too():
    labels = np.array([[0, 4_000_000_000], [7, 7]], dtype=np.int64)
    found = counted(labels)
    assert found.numbers.tolist() == [7, 4_000_000_000]
    assert found.cells.tolist() == [[0, 2], [1, 1]]
    assert counted(labels + 1).numbers.tolist() == [1, 8, 4_000_000_001]


@given(fields())
@settings(deadline=None)
def test_measures_are_those_of_regionprops(made):
    field, labels, nuclei = made
    found = measure_cells(field, counted(labels, nuclei), card())
    assert list(found) == measure_columns(card(), with_nuclei=True)
    props = regionprops(labels.astype(np.int32), intensity_image=np.moveaxis(field, 0, -1))
    assert found["cell"].tolist() == [p.label for p in props]
    height, width = labels.shape
    for i, p in enumerate(props):
        top, left, bottom, right = p.bbox
        assert found["area_px"][i] == p.area
        assert found["area_um2"][i] == pytest.approx(p.area * 0.25)
        assert (found["centroid_y"][i], found["centroid_x"][i]) == pytest.approx(p.centroid)
        assert [found[f"box_{side}"][i] for side in ("top", "left", "bottom", "right")] == [
            *(top, left, bottom, right)
        ]
        at_border = top == 0 or left == 0 or bottom == height or right == width
        assert found["touches_border"][i] == at_border
        np.testing.assert_allclose(
            [found["mean_nucleus"][i], found["mean_protein"][i]], p.intensity_mean
        )
        own = labels == p.label
        inner, outer = own & nuclei, own & ~nuclei
        for channel, plane in zip(("nucleus", "protein"), field, strict=True):
            assert found[f"total_{channel}"][i] == plane[own].sum(dtype=np.int64)
            in_nucleus = plane[inner].mean() if inner.any() else np.nan
            around = plane[outer].mean() if outer.any() else np.nan
            ratio = in_nucleus / around if around > 0 else np.nan
            for name, expected in (
                (f"nucleus_mean_{channel}", in_nucleus),
                (f"cytoplasm_mean_{channel}", around),
                (f"nucleus_to_cytoplasm_{channel}", ratio),
            ):
                np.testing.assert_allclose(found[name][i], expected)


@given(fields(), st.integers(1, 9), st.booleans(), st.sampled_from([(0, 0), (3, 70)]))
@settings(deadline=None)
def test_a_tile_is_that_of_the_plain_way(made, side, masked, fill):
    field, labels, _ = made
    segmented = counted(labels)
    measures = measure_cells(field, segmented, card())
    values = np.array(fill, np.uint16)
    for i, number in enumerate(segmented.numbers):
        y, x = measures["centroid_y"][i], measures["centroid_x"][i]
        place = place_around(y, x, side)
        tile, _ = cut_cell(field, labels, int(number), place, values, masked=masked)
        expected = np.empty((2, side, side), np.uint16)
        for row in range(side):
            for column in range(side):
                at = int(np.floor(y + 0.5)) - side // 2 + row
                over = int(np.floor(x + 0.5)) - side // 2 + column
                inside = 0 <= at < labels.shape[0] and 0 <= over < labels.shape[1]
                own = inside and (not masked or labels[at, over] == number)
                expected[:, row, column] = field[:, at, over] if own else values
        np.testing.assert_array_equal(tile, expected)


def test_the_background_is_the_median_outside_all_cells():
    field = np.array([[[1, 2, 9], [4, 50, 60]]], np.uint16)
    outside = np.array([[True, True, True], [True, False, False]])
    assert background(field, outside).tolist() == [3]
    assert background(field, np.zeros_like(outside)).tolist() == [1]


def test_a_nucleus_is_that_of_the_cell_that_it_lies_in():
    cells = np.array([[1, 1, 0, 2], [1, 1, 0, 2]], np.int32)
    nuclei = np.array([[0, 1, 1, 0], [0, 1, 0, 0]], bool)
    found = nucleus_centroids(SegmentedField(cells, np.array([1, 2]), nuclei))
    np.testing.assert_array_equal(found, [[0.5, 1.0], [np.nan, np.nan]])


def test_a_size_in_um_is_rounded_to_pixels():
    assert crop_side(CropSettings(size_um=20), 0.3) == 67
    assert crop_side(CropSettings(size=64), 0.3) == 64

"""Overlap of pixels and of outlines, against definitions in plain loops and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import f1_score, jaccard_score

from transferscope.cells.outlines import outlines
from transferscope.segmentation.semantic_metrics import (
    boundary_f1,
    count_all_foreground,
    count_pixels,
    dice,
    dice_of_counts,
    jaccard,
    jaccard_of_counts,
    mean_over_groups,
    pooled_dice,
    pooled_jaccard,
)


def two_masks():
    shape = array_shapes(min_dims=3, max_dims=3, max_side=7)
    return shape.flatmap(lambda s: st.tuples(arrays(bool, s), arrays(bool, s)))


@settings(max_examples=100)
@given(two_masks())
def test_overlap_equals_scikit_learn_per_image(masks):
    predicted, true = masks
    for p, t, d, j in zip(predicted, true, dice(*masks), jaccard(*masks), strict=True):
        if not p.any() and not t.any():
            assert math.isnan(d)
            assert math.isnan(j)
        else:
            assert d == pytest.approx(f1_score(t.ravel(), p.ravel(), zero_division=0))
            assert j == pytest.approx(jaccard_score(t.ravel(), p.ravel(), zero_division=0))


@settings(max_examples=50)
@given(two_masks())
def test_pooled_overlap_is_that_of_one_large_image(masks):
    counts = count_pixels(*masks)
    one_image = [mask.reshape(1, -1, 1) for mask in masks]
    assert pooled_dice(counts) == pytest.approx(dice(*one_image)[0], nan_ok=True)
    assert pooled_jaccard(counts) == pytest.approx(jaccard(*one_image)[0], nan_ok=True)


def test_empty_masks():
    empty, full = np.zeros((1, 4, 5), bool), np.ones((1, 4, 5), bool)
    for metric in (dice, jaccard):
        assert np.isnan(metric(empty, empty)).all()
        assert metric(empty, full) == metric(full, empty) == 0
        assert metric(full, full) == 1
    none = np.zeros((0, 4, 5), bool)
    assert dice(none, none).shape == (0,)
    assert math.isnan(pooled_dice(count_pixels(none, none)))


def test_the_floor_is_a_prediction_of_foreground_everywhere():
    true = np.zeros((2, 10, 10), bool)
    true[0, :, :5] = True
    counts = count_all_foreground(true)
    np.testing.assert_allclose(dice_of_counts(counts), [2 * 50 / 150, 0])
    np.testing.assert_allclose(jaccard_of_counts(counts), [0.5, 0])


def test_groups_count_once_and_undefined_values_not_at_all():
    values = np.array([1.0, 0.5, np.nan, 0.25, np.nan])
    groups = np.array(["a", "a", "a", "b", "c"], dtype=object)
    assert mean_over_groups(values, groups) == pytest.approx((0.75 + 0.25) / 2)
    assert math.isnan(mean_over_groups(values[[2, 4]], groups[[2, 4]]))
    assert math.isnan(mean_over_groups(values[:0], groups[:0]))


@pytest.mark.parametrize("metric", [dice, jaccard, boundary_f1])
def test_other_shapes_are_refused(metric):
    with pytest.raises(ValueError, match="not the same"):
        metric(np.zeros((1, 4, 5), bool), np.zeros((1, 5, 4), bool))
    with pytest.raises(ValueError, match="not the same"):
        metric(np.zeros((4, 5), bool), np.zeros((4, 5), bool))


def slow_outline(mask):
    found = np.zeros(mask.shape, bool)
    for y, x in np.ndindex(*mask.shape):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        inside = [(i, j) for i, j in around if 0 <= i < mask.shape[0] and 0 <= j < mask.shape[1]]
        found[y, x] = mask[y, x] and any(mask[at] != mask[y, x] for at in inside)
    return found


def slow_boundary_f1(predicted, true, tolerance):
    lines = [[*zip(*np.nonzero(slow_outline(mask)), strict=True)] for mask in (predicted, true)]
    if not lines[0] and not lines[1]:
        return math.nan
    if not lines[0] or not lines[1]:
        return 0.0

    def near(line, other):
        return sum(min(math.dist(a, b) for b in other) <= tolerance for a in line) / len(line)

    precision, recall = near(*lines), near(*lines[::-1])
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@settings(max_examples=60)
@given(
    array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(
        lambda s: st.tuples(*[arrays(np.int32, s, elements=st.integers(0, 2))] * 2)
    ),
    st.sampled_from([0.0, 1.0, 1.5, 2.0]),
)
def test_outlines_equal_plain_loops(masks, tolerance):
    predicted, true = masks
    np.testing.assert_array_equal(outlines(true), slow_outline(true))
    found = boundary_f1(predicted[None], true[None], tolerance)[0]
    assert found == pytest.approx(slow_boundary_f1(predicted, true, tolerance), nan_ok=True)


def test_a_shift_within_the_tolerance_costs_nothing():
    true = np.zeros((1, 30, 30), bool)
    true[0, 10:20, 10:20] = True
    shifted = np.roll(true, 2, axis=2)
    assert boundary_f1(shifted, true, 2) == 1
    assert boundary_f1(shifted, true, 1) < 1
    far = np.zeros_like(true)
    far[0, 24:28, 24:28] = True
    assert boundary_f1(far, true, 2) == 0


def test_the_line_between_objects_that_touch_counts():
    merged = np.zeros((1, 20, 20), np.int32)
    merged[0, 5:15, 2:18] = 1
    split = merged.copy()
    split[0, :, 10:] *= 2
    assert boundary_f1(split, split) == 1
    assert boundary_f1(merged, split, 1) < 1

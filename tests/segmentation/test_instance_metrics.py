"""Metrics of objects, against the published formulas in plain loops."""

import math
from fractions import Fraction

import numpy as np
import pytest

from transferscope.segmentation.instance_metrics import (
    IOU_THRESHOLDS,
    aggregated_jaccard,
    aggregated_jaccard_plus,
    f1_of_objects,
    instance_scores,
    overlaps_of,
    panoptic_quality,
)


def random_maps(rng):
    """Return a predicted and a true label map with gaps in the numbers; either may be empty."""
    height, width = rng.integers(1, 13, size=2)
    numbers = rng.permutation(60)[:6] + 1
    seeds = rng.integers(0, [height, width], size=(rng.integers(0, 6), 2))
    true = np.zeros((height, width), np.int32)
    grid = np.indices((height, width)).transpose(1, 2, 0)
    if len(seeds):
        distances = np.linalg.norm(grid[:, :, None] - seeds, axis=-1)
        true = numbers[distances.argmin(axis=-1)] * (distances.min(axis=-1) < rng.uniform(1, 5))
    kind = rng.integers(5)
    if kind == 0:
        predicted = rng.choice([0, *numbers[:4]], size=true.shape)
    elif kind == 1:
        predicted = np.roll(true, rng.integers(-2, 3, size=2), axis=(0, 1))
    elif kind == 2:  # merged objects
        predicted = np.where(true == numbers[0], numbers[1], true)
    elif kind == 3:  # split, and missed in part
        predicted = true + (true > 0) * (grid[..., 1] % 4 > 1) * 100
        predicted[rng.random(true.shape) < 0.2] = 0
    else:
        predicted = true * (rng.random() < 0.7)
    return predicted.astype(np.uint16), true.astype(np.int64)


def objects_of(labels):
    return [frozenset(zip(*np.nonzero(labels == n), strict=True)) for n in np.unique(labels) if n]


def iou(one, other):
    return Fraction(len(one & other), len(one | other))


def panoptic_formula(predicted, true, threshold=0.5):
    """Kirillov et al. 2019, equation 1; also the F1 score at another threshold."""
    matched = [iou(p, t) for p in predicted for t in true if iou(p, t) > Fraction(str(threshold))]
    tp, fp, fn = len(matched), len(predicted) - len(matched), len(true) - len(matched)
    if tp + fp + fn == 0:
        return math.nan, math.nan, math.nan
    dq = tp / (tp + fp / 2 + fn / 2)
    sq = float(sum(matched)) / tp if tp else 0.0
    return float(sum(matched)) / (tp + fp / 2 + fn / 2), dq, sq


def kumar_formula(predicted, true):
    """Kumar et al. 2017, algorithm 1."""
    intersection, union, used = 0, 0, set()
    for t in true:
        best, largest = None, Fraction(0)
        for j, p in enumerate(predicted):
            if iou(t, p) > largest:
                best, largest = j, iou(t, p)
        if best is None:
            union += len(t)
            continue
        intersection += len(t & predicted[best])
        union += len(t | predicted[best])
        used.add(best)
    union += sum(len(p) for j, p in enumerate(predicted) if j not in used)
    return intersection / union if union else math.nan


def one_to_one_formula(predicted, true):
    """AJI+ by trying every assignment, with exact fractions."""

    def best(rest, free):
        if not rest:
            return Fraction(0), 0
        options = [best(rest[1:], free)]
        for j in free:
            if both := len(rest[0] & predicted[j]):
                total, pixels = best(rest[1:], free - {j})
                options.append((total + iou(rest[0], predicted[j]), pixels + both))
        return max(options)

    _, pixels = best(true, frozenset(range(len(predicted))))
    union = sum(map(len, predicted)) + sum(map(len, true)) - pixels
    return pixels / union if union else math.nan


def test_1000_random_maps_equal_the_published_formulas():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(1000):
        maps = random_maps(rng)
        predicted, true = map(objects_of, maps)
        scores = instance_scores(*maps)
        expected = [kumar_formula(predicted, true), one_to_one_formula(predicted, true)]
        expected += panoptic_formula(predicted, true)
        found = [scores.aji, scores.aji_plus, scores.pq, scores.dq, scores.sq]
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=str(maps))
        assert scores.f1 == pytest.approx(
            {t: panoptic_formula(predicted, true, t)[1] for t in IOU_THRESHOLDS}, nan_ok=True
        )
        assert (scores.n_predicted, scores.n_true) == (len(predicted), len(true))
        seen |= {(len(predicted), len(true)), "differ" if found[0] != found[1] else "equal"}
    assert len(seen) > 30, "maps of many kinds"
    assert {"differ", (0, 0)} <= seen


@pytest.mark.parametrize("shape", [(4, 5), (0, 0)])
def test_without_objects_nothing_is_defined(shape):
    scores = instance_scores(np.zeros(shape, np.uint8), np.zeros(shape, bool))
    values = [scores.aji, scores.aji_plus, scores.pq, scores.dq, scores.sq, *scores.f1.values()]
    assert np.isnan(values).all()


def test_one_empty_map_scores_zero():
    empty, some = np.zeros((4, 5), np.int32), np.eye(4, 5, dtype=np.int32)
    for maps in [(empty, some), (some, empty), (np.flip(some, 1), some * 0 + 3 * (some == 0))]:
        scores = instance_scores(*maps)
        assert scores.pq == scores.dq == scores.sq == 0
        assert set(scores.f1.values()) == {0}
    assert instance_scores(empty, some).aji == instance_scores(some, empty).aji_plus == 0


def test_objects_of_one_pixel():
    true = np.arange(1, 21).reshape(4, 5)
    same = instance_scores(true[::-1, ::-1] * 7, true)
    assert same.aji == same.aji_plus == same.pq == same.f1[0.9] == 1
    assert instance_scores(np.ones((4, 5), int), true).pq == 0
    assert instance_scores(np.ones((4, 5), int), true).aji == pytest.approx(20 / 400)
    assert instance_scores(np.ones((4, 5), int), true).aji_plus == pytest.approx(1 / 20 / 1.95)


def test_touching_objects_that_are_merged_are_one_miss_each():
    true = np.repeat([[1, 2]], 5, axis=1) * np.ones((10, 1), int)
    scores = instance_scores(np.ones_like(true), true)
    assert scores.pq == 0, "an IoU of exactly one half is no match"
    assert scores.aji == pytest.approx(100 / 200)
    assert scores.aji_plus == pytest.approx(50 / (100 + 50))


def test_a_threshold_is_to_be_exceeded():
    true = np.array([[1] * 10])
    for n_pixels, threshold in [(5, 0.5), (6, 0.6), (7, 0.7), (8, 0.8), (9, 0.9)]:
        predicted = np.array([[1] * n_pixels + [0] * (10 - n_pixels)])
        found = overlaps_of(predicted, true)
        assert f1_of_objects(found, threshold) == 0
        assert f1_of_objects(found, math.nextafter(threshold, 1)) == 0
        if threshold > 0.5:
            assert f1_of_objects(found, math.nextafter(threshold, 0)) == 1
    with pytest.raises(ValueError, match="several partners"):
        f1_of_objects(found, 0.4)


def test_numbers_do_not_matter():
    rng = np.random.default_rng(1)
    predicted, true = rng.integers(0, 9, size=(2, 20, 20))
    predicted, true = np.kron(predicted, np.ones((3, 3), int)), np.kron(true, np.ones((3, 3), int))
    large = np.concatenate([[0], 2**32 - 1 - rng.permutation(1000)[:8]]).astype(np.uint32)
    assert instance_scores(large[predicted], true) == instance_scores(predicted, true)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 4), int), "not the same"),
        (np.zeros((3, 4), float), "not integers"),
        (np.full((3, 4), -1), "not integers"),
    ],
)
def test_what_is_no_label_map_of_this_image_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        instance_scores(labels, np.zeros((3, 4), int))


def many_cells(n_per_side, pitch):
    """Return a grid of cells that fill the field."""
    row = np.repeat(np.arange(n_per_side, dtype=np.int32), pitch)
    return 1 + row[:, None] * n_per_side + row


def test_10000_touching_objects_in_a_map_of_4000_px():
    # Shifted by a third of a cell: all objects hang together in one net of overlaps.
    true = many_cells(100, 40)
    predicted = np.roll(true, (13, 13), axis=(0, 1)) * 3
    predicted[:13] = predicted[:, :13] = 0
    found = overlaps_of(predicted, true)
    assert len(found.true_sizes) == 10_000
    assert len(found.pixels) == (99 + 100) ** 2
    assert panoptic_quality(found) == (0, 0, 0)
    shared = 10_000 * 27**2
    expected = shared / (true.size + int((predicted > 0).sum()) - shared)
    assert aggregated_jaccard_plus(found) == pytest.approx(expected)
    assert aggregated_jaccard(found) == pytest.approx(expected)

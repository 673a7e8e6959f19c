"""Label maps to the maps of an instance head, and back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.segmentation.instance_metrics import instance_scores
from transferscope.segmentation.instances import instance_maps, instances_in_blocks, instances_of

PITCH = 24


def ellipse(shape, centre, radii, angle):
    y, x = np.indices(shape) - np.array(centre)[:, None, None]
    u = math.cos(angle) * x + math.sin(angle) * y
    v = math.cos(angle) * y - math.sin(angle) * x
    return (u / radii[0]) ** 2 + (v / radii[1]) ** 2 <= 1


def box(shape, centre, radii, angle):
    y, x = np.indices(shape) - np.array(centre)[:, None, None]
    u = math.cos(angle) * x + math.sin(angle) * y
    v = math.cos(angle) * y - math.sin(angle) * x
    return (abs(u) <= radii[0]) & (abs(v) <= radii[1])


@st.composite
def separate_objects(draw):
    """Return a label map of convex objects, none of which touches another one."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    labels = np.zeros((rows * PITCH, columns * PITCH), np.uint16)
    numbers = draw(st.permutations(range(1, 40)))
    for cell in range(rows * columns):
        kind = draw(st.sampled_from([ellipse, box, None]))
        if kind is None:
            continue
        radii = draw(st.tuples(st.floats(0.8, 7.5), st.floats(0.8, 7.5)))
        centre = np.array(divmod(cell, columns)) * PITCH + PITCH / 2
        inside = kind(labels.shape, centre, radii, draw(st.floats(0, math.pi)))
        labels[inside] = numbers[cell]
    return labels


@settings(max_examples=60, deadline=None)
@given(separate_objects())
def test_separate_convex_objects_come_back_as_they_were(labels):
    maps = instance_maps(labels)
    found = instances_of(maps)
    pairs = set(zip(found.ravel().tolist(), labels.ravel().tolist(), strict=True))
    assert len(pairs) == len(set(labels.ravel().tolist()) | {0}) == found.max() + 1
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    assert maps.max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(3, 20), st.integers(3, 20)), st.floats(0, math.pi), st.floats(0.8, 1.0)
)
def test_discs_that_touch_are_separated(radii, angle, overlap):
    apart = overlap * sum(radii) * np.array([math.sin(angle), math.cos(angle)])
    labels = np.zeros((100, 120), int)
    labels[ellipse(labels.shape, (40, 60), (radii[0],) * 2, 0)] = 7
    second = ellipse(labels.shape, (40 + apart[0], 60 + apart[1]), (radii[1],) * 2, 0)
    labels[second & (labels == 0)] = 3
    found = instances_of(instance_maps(labels))
    assert found.max() == 2
    # Two pixels on the border of a disc of radius 3 are .07 of it.
    assert instance_scores(found, labels).aji > (0.94 if min(radii) > 4 else 0.9)


def test_objects_that_fill_the_field_come_back():
    labels = np.kron(1 + np.arange(30).reshape(5, 6), np.ones((9, 8), int))
    np.testing.assert_array_equal(instances_of(instance_maps(labels)), labels)


def test_each_map_is_normalised_per_object():
    labels = np.zeros((40, 60), int)
    labels[ellipse(labels.shape, (20, 15), (12, 12), 0)] = 1
    labels[ellipse(labels.shape, (20, 45), (4, 4), 0)] = 2
    foreground, centre, depth = instance_maps(labels)
    np.testing.assert_array_equal(foreground, labels > 0)
    for number, middle in [(1, (20, 15)), (2, (20, 45))]:
        inside = labels == number
        assert centre[middle] == depth[middle] == 1
        assert centre[inside].min() == depth[inside].min() == 0
    assert centre[labels == 0].max() == depth[labels == 0].max() == 0


@pytest.mark.parametrize("shape", [(1, 1), (5, 7)])
def test_empty_maps_hold_no_objects(shape):
    empty = np.zeros(shape, np.uint8)
    maps = instance_maps(empty)
    assert maps.shape == (3, *shape)
    assert instances_of(maps).max(initial=0) == 0


def test_objects_of_one_pixel_and_of_the_whole_field():
    single = np.zeros((5, 5), int)
    single[1, 1], single[3, 4] = 9, 4
    found = instances_of(instance_maps(single))
    assert found[single > 0].tolist() == [1, 2]
    assert np.count_nonzero(found) == 2
    whole = np.full((6, 7), 3)
    assert (instances_of(instance_maps(whole)) == 1).all()


def test_foreground_without_a_seed_is_an_object_and_small_ones_are_left_out():
    maps = np.zeros((3, 20, 20))
    maps[0, 2:8, 2:8] = 0.9
    maps[0, 12:14, 12:14] = 0.9
    found = instances_of(maps)
    assert np.bincount(found.ravel()).tolist() == [400 - 40, 36, 4]
    assert np.bincount(instances_of(maps, min_pixels=5).ravel()).tolist() == [400 - 36, 36]


def test_noise_on_the_maps_changes_little():
    rng = np.random.default_rng(0)
    labels = np.zeros((64, 64), int)
    for number, middle in enumerate([(16, 16), (16, 41), (46, 20), (44, 46)], start=1):
        labels[ellipse(labels.shape, middle, (13, 12), 0.3) & (labels == 0)] = number
    maps = instance_maps(labels) + 0.1 * rng.normal(size=(3, *labels.shape))
    found = instances_of(maps, min_pixels=20)
    assert instance_scores(found, labels).pq > 0.9


@settings(max_examples=20, deadline=None)
@given(separate_objects(), st.integers(10, 60))
def test_a_field_in_blocks_is_the_whole_field(labels, block):
    maps = np.round(instance_maps(labels) * 255).astype(np.uint8)
    whole = instances_of(maps / np.float32(255))
    found = instances_in_blocks(maps, block=block, margin=20)
    pairs = set(zip(found.ravel().tolist(), whole.ravel().tolist(), strict=True))
    assert len(pairs) == found.max() + 1 == whole.max() + 1


def test_small_objects_are_left_out_of_blocks_too():
    labels = np.zeros((50, 50), int)
    labels[5:15, 5:15], labels[30:32, 30:32] = 1, 2
    maps = (instance_maps(labels) * 255).astype(np.uint8)
    assert instances_in_blocks(maps, 5, block=16, margin=20).max() == 1
    assert instances_in_blocks(np.zeros_like(maps), 5).max() == 0

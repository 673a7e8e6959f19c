"""What is said of odd masks, compared with one cell at a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from transferscope.cells.mask_doubts import hole_areas, mask_doubts
from transferscope.cells.segmentation.segmented import counted

Mask = npt.NDArray[np.int32]


def blobs(seed: int, side: int = 60) -> Mask:
    """Return a mask of random objects with random holes, numbered with gaps."""
    rng = np.random.default_rng(seed)
    pieces, count = ndimage.label(ndimage.gaussian_filter(rng.random((side, side)), 2) > 0.52)
    numbers = np.concatenate([[0], rng.permutation(3 * count)[:count] + 1])
    return numbers[pieces].astype(np.int32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_areas_of_holes(seed: int) -> None:
    segmented = counted(blobs(seed))
    expected = []
    for cell in range(1, segmented.count + 1):
        own = segmented.cells == cell
        inside = ndimage.binary_fill_holes(own) & ~own
        # Only background that touches no other cell is a hole of this one.
        parts, count = ndimage.label(inside & (segmented.cells == 0))
        grown = (ndimage.binary_dilation(parts == part) for part in range(1, count + 1))
        alone = [
            int((parts == part).sum())
            for part, around in enumerate(grown, start=1)
            if set(np.unique(segmented.cells[around])) <= {0, cell}
        ]
        expected.append(sum(alone))
    assert hole_areas(segmented.cells, segmented.count).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_two_cells_with_one_number(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((64, 64), np.int32)
    for number in range(16):
        y, x = 16 * (number // 4) + 4, 16 * (number % 4) + 4
        mask[y : y + 8, x : x + 8] = number + 1
    assert mask_doubts(counted(mask)) == []
    one, other = rng.permutation(16)[:2] + 1
    mask[mask == other] = one
    (text,) = mask_doubts(counted(mask))
    assert text.startswith(f"1 of 15 cells are in pieces far apart (number {one}: 2 pieces")


def test_specks_and_small_holes_are_no_doubt() -> None:
    mask = np.zeros((64, 64), np.int32)
    mask[4:24, 4:24], mask[34:54, 34:54] = 1, 2
    mask[60, 60] = 1
    mask[10, 10] = 0
    assert mask_doubts(counted(mask)) == []


def test_a_background_with_a_number_and_nuclei_of_another_field() -> None:
    mask = np.ones((64, 64), np.int32)
    for number in range(16):
        y, x = 16 * (number // 4) + 4, 16 * (number % 4) + 4
        mask[y : y + 8, x : x + 8] = number + 2
    (text,) = mask_doubts(counted(mask))
    assert text == "number 1 covers 75% of the field: is it the background?"
    cells = np.where(mask > 1, mask, 0)
    assert mask_doubts(counted(cells, cells > 0)) == []
    (text,) = mask_doubts(counted(cells, mask == 1))
    assert text.startswith("only 0% of the nuclei lie in cells")

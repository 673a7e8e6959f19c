"""What is odd about a mask that was given: one number for several objects, holes, and more."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from transferscope.cells.segmentation.segmented import SegmentedField
from transferscope.runtime.arrays import Indices, Integers, Labels

# Pieces of a cell that count, as a share of its largest one: smaller ones are specks.
PIECE = 0.05
# How far pieces are apart that cannot be one cell, in usual widths of a piece.
FAR = 0.5
# Share of a cell, with its holes, from which holes count.
HOLES = 0.05
FEWEST_CELLS = 10
# More than this share of cells, of a field or of nuclei is most of them.
MOST = 0.5


def mask_doubts(segmented: SegmentedField, noun: str = "cells") -> list[str]:
    """Return what is odd about the cells of a mask, each with its numbers.

    Parameters
    ----------
    segmented
        The cells, with the numbers that they have in the mask.
    noun
        What they are called.
    """
    doubts = (_single_pixels, _background, _nuclei_elsewhere, _pieces, _holes)
    return [text for doubt in doubts for text in doubt(segmented, noun)]


def _areas(segmented: SegmentedField) -> Integers:
    """Return [n]: the area of each cell in px."""
    return np.bincount(segmented.cells.ravel(), minlength=segmented.count + 1)[1:]


def _single_pixels(segmented: SegmentedField, noun: str) -> Iterator[str]:
    single = int((_areas(segmented) == 1).sum())
    if segmented.count >= FEWEST_CELLS and single > MOST * segmented.count:
        yield (
            f"{single:,} of {segmented.count:,} {noun} are a single pixel: the mask may be an "
            "image, or scaled with interpolation"
        )


def _background(segmented: SegmentedField, _: str) -> Iterator[str]:
    """Say that one cell of many covers most of the field."""
    areas = _areas(segmented)
    if segmented.count >= FEWEST_CELLS and areas.max() > MOST * segmented.cells.size:
        largest = int(areas.argmax())
        yield (
            f"number {segmented.numbers[largest]} covers {areas.max() / segmented.cells.size:.0%} "
            "of the field: is it the background?"
        )


def _nuclei_elsewhere(segmented: SegmentedField, noun: str) -> Iterator[str]:
    if segmented.nuclei is None or not segmented.nuclei.any():
        return
    inside = float((segmented.cells[segmented.nuclei] > 0).mean())
    if inside < MOST:
        yield f"only {inside:.0%} of the nuclei lie in {noun}: are both masks of this field?"


def _pieces(segmented: SegmentedField, noun: str) -> Iterator[str]:
    from skimage.measure import label

    pieces, count = label(segmented.cells, connectivity=2, return_num=True)
    if count == segmented.count:
        return
    # Of each piece: its cell, area and box. Of noise there are as many as pixels.
    order = np.argsort(pieces, axis=None, kind="stable")
    start = np.searchsorted(pieces.ravel()[order], np.arange(1, count + 1))
    cell = segmented.cells.ravel()[order[start]].astype(np.int64)
    areas = np.diff(start, append=pieces.size)
    boxes = [_ends(place, start) for place in np.divmod(order, pieces.shape[1])]
    largest = np.zeros(segmented.count + 1, np.int64)
    by_area = np.lexsort((-np.arange(count), areas))
    largest[cell[by_area]] = by_area
    counted = areas >= np.maximum(2, PIECE * areas[largest[cell]])
    gaps = np.zeros(count, np.int64)
    for low, high in boxes:
        beside = np.maximum(low - high[largest[cell]], low[largest[cell]] - high)
        gaps = np.maximum(gaps, beside)
    gap = np.zeros(segmented.count + 1, np.int64)
    np.maximum.at(gap, cell[counted], gaps[counted])
    width = float(np.sqrt(np.median(areas)))
    apart = gap > FAR * width
    if not apart.any():
        return
    worst = int(gap.argmax())
    n = int((counted & (cell == worst)).sum())
    text = (
        f"{apart.sum():,} of {segmented.count:,} {noun} are in pieces far apart (number "
        f"{segmented.numbers[worst - 1]}: {n} pieces, up to {gap[worst]} px apart)"
    )
    if apart.sum() > MOST * segmented.count or int(segmented.numbers.max()) == 255:
        text += ": are its numbers classes, or cut to 8 bits?"
    yield text


def _ends(places: Integers, start: Indices) -> tuple[Integers, Integers]:
    """Return the first place of each piece along an axis, and the one after its last.

    Parameters
    ----------
    places
        Places of the pixels along the axis, piece by piece.
    start
        Where each piece begins.
    """
    used = places[start[0] :]
    own = start - start[0]
    return np.minimum.reduceat(used, own), np.maximum.reduceat(used, own) + 1


def _holes(segmented: SegmentedField, noun: str) -> Iterator[str]:
    holes = hole_areas(segmented.cells, segmented.count)
    share = holes / np.maximum(1, holes + _areas(segmented))
    odd = np.flatnonzero(share >= HOLES)
    if len(odd):
        worst = int(odd[share[odd].argmax()])
        yield (
            f"{len(odd):,} of {segmented.count:,} {noun} have holes (number "
            f"{segmented.numbers[worst]}: {share[worst]:.0%} of it)"
        )


def hole_areas(cells: Labels, count: int) -> Integers:
    """Return [n]: the area of the holes of each cell in px.

    A hole is background that one cell alone encloses.

    Parameters
    ----------
    cells
        [H, W], cells numbered from 1.
    count
        Number of cells.
    """
    outside, n = ndimage.label(np.pad(cells, 1) == 0)
    if n <= 1:
        return np.zeros(count, np.int64)
    padded = np.pad(cells, 1).astype(np.int64)
    pairs = []
    for axis in (0, 1):
        for step in (1, -1):
            neighbour = np.roll(padded, step, axis)
            at = (outside > 0) & (neighbour > 0)
            pairs.append(outside[at].astype(np.int64) * (count + 1) + neighbour[at])
    both = np.unique(np.concatenate(pairs))
    part, cell = np.divmod(both, count + 1)
    border = outside[0, 0]
    alone = (np.bincount(part, minlength=n + 1)[part] == 1) & (part != border)
    areas = np.bincount(outside.ravel(), minlength=n + 1)
    found = np.zeros(count + 1, np.int64)
    np.add.at(found, cell[alone], areas[part[alone]])
    return found[1:]

"""What decoders of single objects learn, next to foreground: nearness to the centre, and depth."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit
from torch.nn import functional

from transferscope.runtime.arrays import Floats32, Integers, Labels, Mask, Masks, Values
from transferscope.segmentation.instances import MAPS, instance_maps, instances_of
from transferscope.segmentation.label_maps import numbered
from transferscope.stores.target_store import IGNORE, TargetStore

# Shares of a pixel are kept in a byte.
FULL = 255
# Smaller objects are specks, whatever a decoder is trained on.
MIN_PIXELS = 4
# This share of the objects that it is trained on may be specks, of an annotation that was not
# cleaned. One of less than half the area of another has an IoU below .5 with it, wherever it lies:
# so small, it matches none of the rest.
SPECKS, MATCHED = 0.01, 0.5
LEARNED = len(MAPS) - 1


@dataclass(frozen=True)
class TrueObjects:
    """Single objects of some tiles.

    Parameters
    ----------
    labels
        Number of each pixel's object, int32 [n, H, W]; 0 outside, and where the truth is unknown.
    maps
        Nearness to the centre and depth at the training size, uint8 [n, 2, s, s], shares of 255.
    known
        Share of each pixel of which they are known, uint8 [n, s, s]: not of objects that the edge
        of the tile may cut.
    """

    labels: Labels
    maps: Values
    known: Values

    @classmethod
    def read(cls, store: TargetStore, rows: Integers, size: tuple[int, int]) -> TrueObjects:
        """Read masks of `kind: instances`.

        Parameters
        ----------
        store
            The targets.
        rows
            Rows that are read, and no other.
        size
            Height and width of the maps in px.
        """
        labels = np.empty((len(rows), *store.tile_size), np.int32)
        maps = np.empty((len(rows), LEARNED, *size), np.uint8)
        known = np.empty((len(rows), *size), np.uint8)
        for place, row in enumerate(rows):
            [found] = store.read(np.array([row]))
            labels[place] = _known_objects(found)
            known[place], maps[place] = _reduced_maps(found, size)
        return cls(labels, maps, known)


def least_pixels(labels: Iterable[Labels]) -> int:
    """Return the area in px below which a predicted object is taken for a speck.

    It is half the area of the smallest object that is learned from, of which a few are ignored.

    Parameters
    ----------
    labels
        Number of each pixel's object, [H, W] each, of the tiles that a decoder is trained on:
        objects that the edge of a tile cuts are among those of other tiles, too.

    Examples
    --------
    >>> least_pixels([np.repeat([0, 1, 2], [5, 30, 20])[None]])
    10
    """
    areas = [np.bincount(one.ravel())[1:] for one in labels]
    found = np.concatenate([part[part > 0] for part in areas] or [np.zeros(0, np.int64)])
    if not len(found):
        return MIN_PIXELS
    smallest = float(np.quantile(found, SPECKS, method="lower"))
    return max(MIN_PIXELS, math.ceil(MATCHED * smallest))


def least_pixels_of(store: TargetStore, rows: Integers) -> int:
    """Return `least_pixels` of rows of a store of `kind: instances`, which are read one by one."""
    return least_pixels(_known_objects(store.read(np.array([row]))[0]) for row in rows)


def _known_objects(labels: Masks) -> Labels:
    return numbered(np.where(labels == IGNORE, 0, labels))


def _reduced_maps(labels: Masks, size: tuple[int, int]) -> tuple[Values, Values]:
    """Return the share that is known, uint8 [s, s], and maps, uint8 [2, s, s]."""
    whole = np.where(_goes_on(labels), 0, labels)
    maps = np.stack([whole == labels, *instance_maps(whole)[1:]]).astype(np.float32)
    reduced = functional.adaptive_avg_pool2d(torch.from_numpy(maps), size)
    values = (reduced * FULL).round().to(torch.uint8).numpy()
    return values[0], values[1:]


def _goes_on(labels: Masks) -> Mask:
    """Return the pixels of objects that the edge of the tile may cut, and of what is unknown."""
    edges = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    cut = np.unique(np.concatenate([*edges, [IGNORE]]))
    return np.isin(labels, cut[cut > 0])


def predicted_objects(logits: Floats32, min_pixels: int) -> Labels:
    """Return the number of each pixel's object, int32 [H, W], of logits [3, H, W] of `MAPS`."""
    return instances_of(expit(logits), min_pixels)

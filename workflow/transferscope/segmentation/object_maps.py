"""What decoders of single objects learn, next to foreground: nearness to the centre, and depth."""

from __future__ import annotations

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
# Smaller objects are specks.
MIN_PIXELS = 4
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
            labels[place] = numbered(np.where(found == IGNORE, 0, found))
            known[place], maps[place] = _reduced_maps(found, size)
        return cls(labels, maps, known)


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


def predicted_objects(logits: Floats32) -> Labels:
    """Return the number of each pixel's object, int32 [H, W], of logits [3, H, W] of `MAPS`."""
    return instances_of(expit(logits), MIN_PIXELS)

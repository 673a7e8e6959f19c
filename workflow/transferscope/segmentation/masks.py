"""True masks of tiles, as decoders are trained on them and scored by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferscope.runtime.arrays import Integers, Values
from transferscope.segmentation.object_maps import FULL, LEARNED, TrueObjects, least_pixels
from transferscope.segmentation.views import turned
from transferscope.stores.target_store import IGNORE, TargetStore

# Tiles that are read at once.
READ_TILES = 64
# Value of an unknown pixel of `TrueMasks.values`.
UNKNOWN = 2**16 - 1


@dataclass(frozen=True)
class TrueMasks:
    """Masks of some tiles.

    Parameters
    ----------
    rows
        Rows of the store, int64 [n], ascending.
    classes
        Names of the classes of the foreground.
    values
        Class of each pixel, uint16 [n, H, W]: 0 is background, `UNKNOWN` unknown.
    shares
        Share of each pixel of the training size that each class takes, uint8 [n, classes, s, s].
    known
        Share of it of which the truth is known, uint8 [n, s, s].
    objects
        Single objects, where they are asked for and masks tell them apart.
    """

    rows: Integers
    classes: tuple[str, ...]
    values: Values
    shares: Values
    known: Values
    objects: TrueObjects | None = None

    @classmethod
    def read(
        cls, store: TargetStore, rows: Integers, size: int | None, *, objects: bool = False
    ) -> TrueMasks:
        """Read masks.

        Parameters
        ----------
        store
            The targets.
        rows
            Rows that are read, and no other, ascending.
        size
            Longest side at which masks are compared in training; None: that of the tiles.
        objects
            Whether single objects are read, too, where the masks are instances.
        """
        n_classes, shape = len(store.classes), store.tile_size
        small = _reduced(shape, size)
        values = np.empty((len(rows), *shape), np.uint16)
        shares = np.empty((len(rows), n_classes, *small), np.uint8)
        known = np.empty((len(rows), *small), np.uint8)
        for start in range(0, len(rows), READ_TILES):
            part = slice(start, start + READ_TILES)
            values[part] = _classes_of(store.read(rows[part]), store.kind)
            shares[part], known[part] = _shares_of(values[part], n_classes, small)
        found = None
        if objects and store.kind == "instances":
            found = TrueObjects.read(store, rows, small)
        return cls(rows, store.classes, values, shares, known, found)

    @property
    def n_out(self) -> int:
        """Logits per pixel: of one class one, of several one more for the background.

        With single objects, those of nearness to the centre and of depth follow.
        """
        if self.objects is not None:
            return 1 + LEARNED
        return 1 if len(self.classes) == 1 else 1 + len(self.classes)

    def least_pixels(self, rows: Integers) -> int:
        """Return `least_pixels` of the single objects of some rows; without any, as of none."""
        if self.objects is None:
            return least_pixels([])
        return least_pixels(self.objects.labels[np.searchsorted(self.rows, rows)])

    def learned(
        self, rows: Integers, device: torch.device, views: Integers | None = None
    ) -> list[Tensor]:
        """Return what decoders learn of some rows, or of a view of each, float32.

        Shares [..., classes, s, s] and known [..., s, s]; with single objects, their maps
        [..., 2, s, s], and where these are known [..., s, s].
        """
        places = np.searchsorted(self.rows, rows)
        parts = [self.shares, self.known]
        if self.objects is not None:
            parts += [self.objects.maps, self.objects.known]
        chosen = [torch.from_numpy(part[places]) for part in parts]
        if views is not None and views.any():
            chosen = [_turned_each(part, views) for part in chosen]
        return [part.to(device).float() / FULL for part in chosen]


def _turned_each(maps: Tensor, views: Integers) -> Tensor:
    """Return one view of each of some maps, [*views.shape, ..., h, w]."""
    flat = maps.flatten(0, views.ndim - 1)
    found = [turned(one, view) for one, view in zip(flat, views.ravel().tolist(), strict=True)]
    return torch.stack(found).view(maps.shape)


def _reduced(shape: tuple[int, int], size: int | None) -> tuple[int, int]:
    """Return height and width of masks in training, with the same ratio of sides."""
    longest = max(shape)
    if size is None or size >= longest:
        return shape
    height, width = (max(1, round(side * size / longest)) for side in shape)
    return height, width


def _classes_of(masks: Values, kind: str) -> Values:
    """Return the class of each pixel, uint16, of masks as a target store holds them."""
    found = masks if kind == "classes" else np.where(masks == IGNORE, masks, masks > 0)
    return np.where(found == IGNORE, UNKNOWN, found).astype(np.uint16)


def _shares_of(values: Values, n_classes: int, size: tuple[int, int]) -> tuple[Values, Values]:
    known = values != UNKNOWN
    classes = [values == n for n in range(1, n_classes + 1)]
    stacked = torch.from_numpy(np.stack([known, *classes], axis=1)).float()
    pooled = functional.adaptive_avg_pool2d(stacked, size)
    # Of the part of a pixel that is known.
    pooled[:, 1:] /= pooled[:, :1].clamp(min=1e-6)
    rounded = (pooled * FULL).round().to(torch.uint8).numpy()
    return rounded[:, 1:], rounded[:, 0]

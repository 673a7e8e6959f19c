"""The store of targets: the masks of the tiles of a tile store, in the same order."""

from __future__ import annotations

import itertools
from functools import cached_property
from pathlib import Path

import numpy as np

from transferscope.cards.masks import MaskKind
from transferscope.runtime.arrays import Indices, Mask, Masks
from transferscope.stores.manifest import TARGETS_FORMAT
from transferscope.stores.row_store import RowStore

# Value of the pixels of which the truth is not known: outside the field, ignored by the card, or
# of a tile without a mask. They are neither trained on nor scored.
IGNORE = np.iinfo(np.uint32).max


class TargetStore(RowStore):
    """A finished target store: masks [N, H, W] of the tiles, as uint32.

    0 is background; other values are ids of objects that are unique in a field (`instances`), 1
    (`binary`), or ids of classes (`classes`); `IGNORE` is unknown.

    Parameters
    ----------
    manifest
        Path of the manifest.

    Raises
    ------
    UserError
        If manifest or store is missing or damaged, or if they do not agree.
    """

    format = TARGETS_FORMAT
    array_name = "targets"

    @classmethod
    def open(cls, manifest: Path | str) -> TargetStore:
        """Open the store of a manifest; see the class."""
        return cls(manifest)

    @property
    def kind(self) -> MaskKind:
        """What the values mean: `instances`, `binary` or `classes`."""
        kind: MaskKind = self.attributes["kind"]
        return kind

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the foreground, whose ids are 1 to K; of objects, one."""
        return tuple(self.attributes["classes"])

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of a tile in px."""
        height, width = self.manifest.shape[-2:]
        return height, width

    @cached_property
    def has_mask(self) -> Mask:
        """Whether each tile has a mask, [N]; the others hold `IGNORE` alone."""
        found = np.ones(len(self), np.bool_)
        for start, stop in self.attributes["without_mask"]:
            found[start:stop] = False
        return found

    def read(self, rows: Indices) -> Masks:
        """Return the masks of some tiles, verified.

        Parameters
        ----------
        rows
            Rows of the store, [n], in any order.

        Returns
        -------
        ndarray
            [n, H, W] uint32.

        Raises
        ------
        DamagedBlockError
            If they differ from their checksum.
        UserError
            If they cannot be read.
        """
        rows = np.asarray(rows, np.int64)
        distinct, where = np.unique(rows, return_inverse=True)
        if len(distinct) and not 0 <= distinct[0] <= distinct[-1] < len(self):
            raise IndexError(f"rows {distinct[0]} to {distinct[-1]} of a store of {len(self)}")
        found = np.empty((len(distinct), *self.tile_size), np.uint32)
        # Rows that follow each other are read at once.
        cuts = [0, *(np.flatnonzero(np.diff(distinct) > 1) + 1).tolist(), len(distinct)]
        for start, stop in itertools.pairwise(cuts):
            if start < stop:
                first, last = distinct[[start, stop - 1]].tolist()
                found[start:stop] = self.values(first, last + 1)
        return found if np.array_equal(rows, distinct) else found[where]

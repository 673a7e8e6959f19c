"""What the targets of each tile hold, as a table, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.cards.masks import MaskSettings
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.spreadsheets import guarded
from transferscope.stores.target_store import IGNORE, TargetStore


def target_table(store: TargetStore) -> pd.DataFrame:
    """Return one row per tile, in store order; all of the store is read.

    Columns: `tile_id`; `has_mask`; `ids`, how many objects, or classes, a tile shows; `foreground`,
    the share of the known pixels that they cover; `unknown`, the share of all pixels that are
    ignored.

    Parameters
    ----------
    store
        A target store.
    """
    counts = []
    for block in range(store.blocks):
        for target in store.block(block):
            is_known = target != IGNORE
            values = target[is_known & (target > 0)]
            known = int(is_known.sum())
            foreground = len(values) / known if known else np.nan
            counts.append((len(np.unique(values)), foreground, 1 - known / target.size))
    table = pd.DataFrame(counts, columns=["ids", "foreground", "unknown"])
    table.insert(0, "has_mask", store.has_mask)
    table.insert(0, "tile_id", store.tile_ids)
    return table


def doubts(table: pd.DataFrame, settings: MaskSettings, dataset: str) -> Iterator[str]:
    """Yield what a user should know of the targets of a dataset, each as a sentence.

    Parameters
    ----------
    table
        Of `target_table`.
    settings
        What the values mean.
    dataset
        Name of the dataset.
    """
    masked = table[table["has_mask"]]
    empty = int((masked["ids"] == 0).sum())
    if without := len(table) - len(masked):
        yield (
            f"{dataset}: {without:,} of {len(table):,} tiles have no mask: they are neither "
            "trained on nor scored"
        )
    if empty:
        yield f"{dataset}: {empty:,} of {len(masked):,} tiles with a mask show no foreground"
    if settings.kind == "instances" and len(masked) > 1 and masked["ids"].max() == 1:
        yield (
            f"{dataset}: no tile shows more than one object: if the masks are foreground and "
            "background, set `masks.kind: binary` in the card"
        )


def write_target_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table of `target_table` as CSV."""
    text = guarded(table).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomically(path, text)

"""A small target store, made from arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TARGETS_FORMAT


def write_targets(
    manifest: Path,
    masks: np.ndarray,
    kind: str = "instances",
    classes: Sequence[str] = ("object",),
    *,
    ids: Sequence[str] | None = None,
    without_mask: Sequence[Sequence[int]] = (),
    block_rows: int = 16,
) -> Path:
    """Write a store of these masks [N, H, W]; return its manifest."""
    store = BlockStore.open_or_create(
        manifest.with_suffix(".zarr"), format=TARGETS_FORMAT, array="targets",
        fingerprint="targets", shape=masks.shape, dtype="uint32", block_rows=block_rows,
        ids=ids or [f"tile{i}" for i in range(len(masks))],
        attributes={
            "dataset": manifest.stem, "kind": kind, "classes": list(classes),
            "without_mask": [list(part) for part in without_mask],
        },
    )  # fmt: skip
    for block, start, stop in store.blocks():
        store.write_block(block, masks[start:stop])
    store.finish(manifest)
    return manifest

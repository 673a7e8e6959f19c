"""Predicted masks that are kept: small in memory, and as a store when a job has ended."""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.errors import Problem, UserError, suggest
from transferscope.runtime.arrays import Masks, Pixels
from transferscope.runtime.fingerprint import fingerprint
from transferscope.segmentation.table_names import MASK
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TARGETS_FORMAT, store_of
from transferscope.stores.target_store import IGNORE, TargetStore
from transferscope.tiles.contact_sheets import file_name
from transferscope.tiles.store import rows_per_block

# Masks are of few values in large pieces: the fastest level makes them as small as any.
LEVEL = 1
# Between the decoder and the tile in the ids of a store of predicted masks.
SEPARATOR = "/"
DECODERS = "decoders"
WHITE = 255


def packed(mask: Pixels) -> bytes:
    """Return a mask [H, W] as few bytes; see `unpacked`."""
    return zlib.compress(np.ascontiguousarray(mask, np.uint32).tobytes(), LEVEL)


def unpacked(found: bytes, shape: tuple[int, int]) -> Masks:
    """Return what `packed` was given, uint32 [H, W].

    Examples
    --------
    >>> unpacked(packed(np.eye(2)), (2, 2)).tolist()
    [[1, 0], [0, 1]]
    """
    return np.frombuffer(zlib.decompress(found), np.uint32).reshape(shape)


def write_kept(
    rows: Sequence[dict[str, Any]],
    manifest: Path,
    tile_ids: Sequence[str],
    shape: tuple[int, int],
    attributes: dict[str, Any],
) -> None:
    """Write the predicted masks of a job as a target store: the tiles of each decoder in turn.

    Its ids are `<decoder>/<tile id>`. Tiles that no decoder was tested on have no mask there.

    Parameters
    ----------
    rows
        Of the table of tiles; those with a mask count.
    manifest
        Manifest to write, last of all; the store lies next to it.
    tile_ids
        Of the tile store.
    shape
        Height and width of a tile.
    attributes
        Of the store: `dataset`, `tiles_sha256`, `kind` and `classes` as of true masks, and what
        the masks were predicted by.
    """
    n_tiles = len(tile_ids)
    decoders = list(dict.fromkeys(row["head"] for row in rows if MASK in row))
    place = {head: n * n_tiles for n, head in enumerate(decoders)}
    masks = {place[row["head"]] + row["row"]: row[MASK] for row in rows if MASK in row}
    total = len(decoders) * n_tiles
    content = [[at, hashlib.sha256(masks[at]).hexdigest()] for at in sorted(masks)]
    height, width = shape
    store = BlockStore.open_or_create(
        store_of(manifest),
        format=TARGETS_FORMAT,
        array="targets",
        fingerprint=fingerprint([attributes, decoders, content]),
        shape=(total, *shape),
        dtype=np.uint32,
        block_rows=rows_per_block(height * width * np.dtype(np.uint32).itemsize, total),
        ids=[f"{head}{SEPARATOR}{tile}" for head in decoders for tile in tile_ids],
        attributes={**attributes, DECODERS: decoders, "without_mask": _without(masks, total)},
    )
    unknown = np.full(shape, IGNORE, np.uint32)
    for block, start, stop in store.missing():
        found = [
            unpacked(masks[at], shape) if at in masks else unknown for at in range(start, stop)
        ]
        store.write_block(block, np.stack(found))
    store.finish(manifest)


def image_masks(
    store: TargetStore, decoder: str | None, folder: Path, suffix: str
) -> tuple[list[Path], Iterator[Pixels]]:
    """Return where the masks of a store are written as images, and the masks, one by one.

    Parameters
    ----------
    store
        Predicted masks, or true ones.
    decoder
        Whose masks; None: of the only one.
    folder, suffix
        Where they go; each is named after its tile.

    Returns
    -------
    list of Path, iterator of ndarray
        A mask is unsigned, of as few bytes as its values need, [H, W]: 255 in the foreground of
        `binary`, numbers of objects or of classes; 0 where the truth is not known.

    Raises
    ------
    UserError
        Where the decoder is not one of the store, or two tiles would have one name.
    """
    decoders = store.attributes.get(DECODERS)
    rows, begin = np.flatnonzero(store.has_mask), ""
    if decoders is None:
        if decoder is not None:
            what = f"{store.path} holds true masks, of no decoder"
            raise UserError(Problem("--decoder", what, "Leave it out."))
    else:
        chosen = decoders[0] if decoder is None and len(decoders) == 1 else decoder
        if chosen not in decoders:
            what = f"{store.path} has masks of {', '.join(decoders)}"
            fix = suggest(chosen, decoders) if chosen else "Say which."
            raise UserError(Problem("--decoder", what, fix))
        each = len(store) // len(decoders)
        rows = rows[rows // each == decoders.index(chosen)]
        begin = f"{chosen}{SEPARATOR}"
    names, first = [], dict[str, str]()
    for row in rows.tolist():
        tile = store.tile_ids[row].removeprefix(begin)
        names.append(file_name(tile, "tile") + suffix)
        if (other := first.setdefault(names[-1].casefold(), tile)) != tile:
            what = f'"{tile}" and "{other}" would both be written to {names[-1]}'
            raise UserError(Problem(str(store.path), what, "Give them other tile ids."))
    return [folder / name for name in names], (_as_image(store, row) for row in rows.tolist())


def _as_image(store: TargetStore, row: int) -> Pixels:
    mask = store.read(np.array([row]))[0]
    mask = np.where(mask == IGNORE, 0, mask)
    if store.kind == "binary":
        mask = WHITE * (mask > 0)
    found: Pixels = mask.astype(np.min_scalar_type(max(1, int(mask.max(initial=0)))))
    return found


def _without(masks: dict[int, bytes], total: int) -> list[list[int]]:
    """Return first and last + 1 of the runs of rows that have no mask.

    Examples
    --------
    >>> _without({1: b"", 2: b""}, 5)
    [[0, 1], [3, 5]]
    """
    edges = [-1, *sorted(masks), total]
    return [[a + 1, b] for a, b in itertools.pairwise(edges) if b > a + 1]

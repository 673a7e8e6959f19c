"""Conversion of a store of version 1 into the current one, block by block, each verified.

The values keep their identity: what was made from the store stays valid. A converted store takes
the place of the old one by two renames; a conversion that was cut short is undone by the next.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from transferscope.errors import first_line, user_error
from transferscope.runtime.arrays import Values
from transferscope.runtime.atomic_files import sync
from transferscope.stores.block_store import (
    FORMER_CONTENT,
    BlockStore,
    RowSource,
    attributes_of,
    opened_group,
    read_ids,
    remove_store,
)
from transferscope.stores.manifest import (
    FORMAT_VERSION,
    Manifest,
    folder_during_conversion,
    how_to_remake,
    store_of,
)
from transferscope.stores.reader import StoreReader
from transferscope.stores.version_1 import sha256_of

logger = logging.getLogger(__name__)


def convert(manifest: Path, kind: type[StoreReader], source: RowSource | None = None) -> bool:
    """Convert a finished store; its manifest keeps its time, so that nothing is made again.

    Parameters
    ----------
    manifest
        Manifest of the store.
    kind
        Its reader.
    source
        Of an embedding store: the tiles that it was made from.

    Returns
    -------
    bool
        Whether it was of version 1, and here.

    Raises
    ------
    UserError
        If the manifest does not vouch for the store, if blocks are damaged, or if the tiles have
        changed since; the store is left as it is.
    """
    path = store_of(manifest)
    _undo(path)
    described = Manifest.read(manifest, kind.format)
    if described.version == FORMAT_VERSION or described.store is not None:
        return False
    if attributes_of(path).get("version") == 1:
        kind(manifest)
    times = manifest.stat()
    convert_folder(path, kind.array_name, source, manifest)
    BlockStore(path, kind.array_name).finish(manifest)
    os.utime(manifest, ns=(times.st_atime_ns, times.st_mtime_ns))
    return True


def convert_folder(
    path: Path, array: str, source: RowSource | None = None, manifest: Path | None = None
) -> None:
    """Convert a store; one that is not of version 1 is left as it is.

    Parameters
    ----------
    path
        Folder of the store.
    array
        Name of its main array.
    source
        Of an embedding store: the tiles that it was made from.
    manifest
        Of a finished store; None: blocks that are damaged or of other tiles are left out.

    Raises
    ------
    UserError
        If a finished store has such blocks.
    """
    _undo(path)
    attributes = attributes_of(path) if path.exists() else {}
    if attributes.get("version") != 1:
        return
    logger.info("%s: converting it to version %d of the format", path, FORMAT_VERSION)
    group = opened_group(path)
    done = group["done"][:]
    new = _empty_copy(folder_during_conversion(path, "new"), array, group, attributes)
    for block, start, stop in new.blocks():
        if not done[block]:
            continue
        try:
            values = _values_of(group, array, block, start, stop)
            new.write_block(block, values, _source_of(group, block, start, stop, source))
        except ValueError as error:
            if manifest is not None:
                remove_store(new.path)
                what = f"block {block} {error}"
                raise user_error(path, what, how_to_remake(manifest)) from None
            logger.warning("%s: block %d %s: it is left out", path, block, error)
    if not new.missing():
        former = hashlib.sha256(group["digest"][:].tobytes()).hexdigest()
        new.group.attrs.update({FORMER_CONTENT: former})
    old = folder_during_conversion(path, "old")
    _rename(path, old)
    _rename(new.path, path)
    remove_store(old)


def _rename(path: Path, new: Path) -> None:
    """Rename a store, and wait until its new name is on disk."""
    path.rename(new)
    sync(new.parent)


def _undo(path: Path) -> None:
    """Undo a conversion that was cut short."""
    old, new = (folder_during_conversion(path, kind) for kind in ("old", "new"))
    if old.exists() and not path.exists():
        _rename(old, path)
    for left in (old, new):
        if left.exists():
            remove_store(left)


def _empty_copy(path: Path, array: str, group: Any, attributes: dict[str, Any]) -> BlockStore:
    """Make an empty store of the current version with the layout and attributes of another."""
    main = group[array]
    return BlockStore.open_or_create(
        path,
        format=attributes["format"],
        array=array,
        fingerprint=attributes["fingerprint"],
        shape=main.shape,
        dtype=main.dtype,
        block_rows=attributes["block_rows"],
        ids=read_ids(group),
        attributes=attributes,
        width=main.chunks[1],
        recipe=attributes.get("recipe"),
    )


def _values_of(group: Any, array: str, block: int, start: int, stop: int) -> Values:
    """Return the values of a block, or raise a `ValueError` if they are damaged."""
    try:
        values: Values = group[array][start:stop]
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot be read ({first_line(error)})") from None
    if sha256_of(values) != group["digest"][block].tobytes():
        raise ValueError("differs from its checksum")
    return values


def _source_of(
    group: Any, block: int, start: int, stop: int, source: RowSource | None
) -> bytes | None:
    """Return the source of a block as it is recorded now, or raise a `ValueError` if it differs."""
    if group.attrs.get("recipe") is None or source is None:
        return None
    is_of_these = group.attrs.get("tiles_sha256") == source.content_sha256
    if not is_of_these and source.values_sha256(start, stop) != group["source"][block].tobytes():
        raise ValueError("was made from other tiles")
    return source.source_of(start, stop)

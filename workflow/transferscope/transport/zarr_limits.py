"""Limits of Zarr arrays, from what their metadata declare, before a chunk is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

MOST_CHUNKS = 1_000_000
MOST_CHUNK_BYTES = 2 * 2**30
# A chunk may be larger than its array, but not without bound.
SMALL_CHUNK_BYTES = 64 * 2**20
MOST_CHUNK_TO_ARRAY = 8
# Codecs of objects: they run what a file says, or trust its lengths.
OBJECT_CODECS = ("pickle", "json2", "msgpack", "vlen", "categorize")
TEXT_CODEC = "vlen-utf8"


def fault_of_array(array: Any, *, text: bool = False) -> str | None:
    """Return why an array is not safe to read; None if it is.

    Parameters
    ----------
    array
        A Zarr array, opened.
    text
        Whether it is one of our own arrays of texts, which have a codec of variable length.
    """
    metadata = array.metadata.to_dict()
    for name in _codecs_in({key: metadata.get(key) for key in ("codecs", "filters", "compressor")}):
        if any(part in name.lower() for part in OBJECT_CODECS) and not (
            text and name == TEXT_CODEC
        ):
            return f"its codec {name} would execute or trust what the file says"
    if not text and array.dtype.kind not in "biuf":
        return f"it holds {array.dtype}, not plain numbers"
    chunks = tuple(getattr(array, "shards", None) or array.chunks)
    sizes = list(zip(array.shape, chunks, strict=True))
    count = math.prod(-(-n // side) for n, side in sizes if side)
    if count > MOST_CHUNKS:
        return f"it declares {count:,} chunks, more than {MOST_CHUNKS:,}"
    item = 1 if text else array.dtype.itemsize
    # Of a sharded array, one inner chunk is decoded at a time.
    chunk, whole = math.prod(array.chunks) * item, math.prod(array.shape) * item
    if chunk > MOST_CHUNK_BYTES or chunk > max(SMALL_CHUNK_BYTES, MOST_CHUNK_TO_ARRAY * whole):
        return f"it declares chunks of {chunk / 2**20:,.0f} MiB for {whole / 2**20:,.1f} MiB"
    return None


def _codecs_in(value: Any) -> Iterator[str]:
    """Yield the names of all codecs in metadata of version 2 or 3."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("name", "id") and isinstance(inner, str):
                yield inner
            else:
                yield from _codecs_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _codecs_in(inner)
    elif hasattr(value, "to_dict"):
        yield from _codecs_in(value.to_dict())
    elif hasattr(value, "get_config"):
        yield from _codecs_in(value.get_config())

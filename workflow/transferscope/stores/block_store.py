"""A Zarr store that is written block by block and resumes after a kill; each block has a sha256.

The store is next to its manifest, so that a resumed job finds the finished blocks.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle

from transferscope.runtime.arrays import Values
from transferscope.runtime.atomic_files import writing
from transferscope.stores.manifest import FORMAT_VERSION, Manifest, digest_of_ids
from transferscope.transport.zarr_stores import RemoteStore

EMBEDDING_BLOCK_ROWS = 4096
DIGEST_BYTES = 32

logger = logging.getLogger(__name__)
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def opened_group(place: Path | str) -> Any:
    """Open the Zarr group of a store, given by path or URL, for reading."""
    source = place if isinstance(place, Path) else RemoteStore(place)
    return zarr.open_group(source, mode="r")


class BlockStore:
    """A store whose main array is written in blocks of rows, each flagged when done.

    Parameters
    ----------
    path
        Folder of the store.
    array
        Name of the main array.
    """

    def __init__(self, path: Path, array: str) -> None:
        self.path = path
        self.group: Any = zarr.open_group(path, mode="r+")
        self.array: Any = self.group[array]
        attributes: dict[str, Any] = dict(self.group.attrs)
        self.block_rows = int(attributes["block_rows"])
        self._done: Any = self.group["done"]
        self._digests: Any = self.group["digest"]
        self._sources: Any = self.group.get("source")

    @classmethod
    def open_or_create(
        cls,
        path: Path,
        *,
        format: str,
        array: str,
        fingerprint: str,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        block_rows: int,
        chunks: tuple[int, ...],
        shards: tuple[int, ...] | None,
        compress: bool,
        ids: Sequence[str],
        attributes: Mapping[str, Any],
        recipe: str | None = None,
        source_of: Callable[[int, int], bytes] | None = None,
    ) -> BlockStore:
        """Open a store to resume it, or create it anew if its fingerprint differs.

        If only the rows differ, but not the recipe, blocks with unchanged rows are kept.

        Parameters
        ----------
        path, format, array, fingerprint, shape, dtype
            Folder; format name; name of the main array; digest of all that its content depends on;
            shape and type of the main array.
        block_rows
            Rows per block; a multiple of the chunk and shard lengths.
        chunks, shards
            Chunk and shard shapes.
        compress
            Whether to compress (Blosc: LZ4, bit shuffle).
        ids
            Tile ids, in row order.
        attributes
            Further attributes of the store.
        recipe
            Digest of what a block depends on in addition to its source; None: blocks are not kept.
        source_of
            With `recipe`: returns the source digest of rows [start, stop); see `write_block`.
        """
        final = {
            **attributes,
            "format": format,
            "version": FORMAT_VERSION,
            "block_rows": block_rows,
            "recipe": recipe,
            "fingerprint": fingerprint,
        }
        if path.exists():
            found = attributes_of(path)
            linked = any(part.is_symlink() for part in (path, *path.rglob("*")))
            if found.get("fingerprint") == fingerprint and not linked:
                return cls(path, array)
            if source_of is not None and found.get("recipe") == recipe and not linked:
                store = cls(path, array)
                if store._fits(shape, dtype, block_rows, chunks):
                    store._renew(shape[0], source_of, ids, final)
                    return store
            if linked:
                logger.warning("%s contains symbolic links, as no store does: made anew", path)
            elif found.get("fingerprint") is not None:
                logger.warning("%s was made from other input or settings: starting it over", path)
            remove_store(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        group: Any = zarr.open_group(path, mode="w", zarr_format=3)
        codec = BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle)
        group.create_array(
            array,
            shape=shape,
            dtype=dtype,
            chunks=chunks,
            shards=shards,
            compressors=[codec] if compress else None,
        )
        blocks = -(-shape[0] // block_rows)
        # One chunk per flag, so that writers of different blocks never write the same file.
        sizes: dict[str, tuple[int, ...]] = {"done": (blocks,), "digest": (blocks, DIGEST_BYTES)}
        if recipe is not None:
            sizes["source"] = sizes["digest"]
        for name, size in sizes.items():
            group.create_array(
                name, shape=size, dtype="uint8", chunks=(1, *size[1:]), compressors=None
            )
        write_ids(group, ids)
        # The fingerprint comes last: a store without it is incomplete and is made anew.
        group.attrs.update(final)
        return cls(path, array)

    def _fits(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        block_rows: int,
        chunks: tuple[int, ...],
    ) -> bool:
        """Return whether blocks of this store have the given layout."""
        mine = (self.array.shape[1:], self.array.dtype, self.block_rows, self.array.chunks)
        return mine == (shape[1:], np.dtype(dtype), block_rows, chunks)

    def _renew(
        self,
        rows: int,
        source_of: Callable[[int, int], bytes],
        ids: Sequence[str],
        attributes: dict[str, Any],
    ) -> None:
        """Change the rows; blocks with an unchanged source stay done.

        Flags are cleared first and the fingerprint is written last, so that an interruption only
        costs time.
        """
        done, n_blocks = self._done[:], -(-rows // self.block_rows)
        kept = {
            block
            for block, start, stop in self.blocks()
            if done[block]
            and stop == min(start + self.block_rows, rows)
            and self._sources[block].tobytes() == source_of(start, stop)
        }
        for block in set(range(len(done))) - kept:
            self.forget(block)
        self._resize(rows)
        for block in set(range(n_blocks)) - kept:
            self.forget(block)
        write_ids(self.group, ids)
        self.group.attrs.update(attributes)
        logger.info(
            "%s: the rows have changed; %d blocks of %d are kept", self.path, len(kept), n_blocks
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return (block, start row, stop row) of each block."""
        starts = range(0, self.rows, self.block_rows)
        return [(b, s, min(s + self.block_rows, self.rows)) for b, s in enumerate(starts)]

    def missing(self) -> list[tuple[int, int, int]]:
        """Return (block, start row, stop row) of the blocks that are not done."""
        done = self._done[:]
        return [block for block in self.blocks() if not done[block[0]]]

    def write_block(self, block: int, values: Values, source: bytes | None = None) -> None:
        """Write one whole block, then its digest, then its flag.

        Parameters
        ----------
        block
            Number of the block.
        values
            Its rows.
        source
            Digest of its source, in a store with a recipe.
        """
        _, start, stop = self.blocks()[block]
        if values.shape[0] != stop - start:
            raise ValueError(f"block {block} has {stop - start} rows, got {values.shape[0]}")
        values = np.ascontiguousarray(values, dtype=self.array.dtype)
        with writing(self.path):
            self.array[start:stop] = values
            self._digests[block] = np.frombuffer(content_digest([values]), dtype=np.uint8)
            if source is not None:
                self._sources[block] = np.frombuffer(source, dtype=np.uint8)
            self._done[block] = 1

    def forget(self, block: int) -> None:
        """Clear the flag of a block, so that it is written again."""
        self._done[block] = 0

    def trim(self, ids: Sequence[str]) -> None:
        """Shorten the store to the rows of these ids, if fewer were found than planned."""
        self._resize(len(ids))
        write_ids(self.group, ids)

    def _resize(self, rows: int) -> None:
        blocks = -(-rows // self.block_rows)
        self.array.resize((rows, *self.array.shape[1:]))
        for array in (self._done, self._digests, self._sources):
            if array is not None:
                array.resize((blocks, *array.shape[1:]))

    def damaged(self) -> list[int]:
        """Return the finished blocks with non-finite values or a wrong checksum; all are read."""
        done = self._done[:]
        return [
            block
            for block, start, stop in self.blocks()
            if done[block] and not self._is_sound(block, self.array[start:stop])
        ]

    def _is_sound(self, block: int, values: Values) -> bool:
        digest = content_digest([values])
        return digest == self._digests[block].tobytes() and bool(np.isfinite(values).all())

    def finish(self, manifest: Path) -> Manifest:
        """Write the manifest of a complete store."""
        if missing := self.missing():
            raise RuntimeError(f"{self.path}: {len(missing)} blocks are not done")
        attributes = dict(self.group.attrs)
        described = Manifest(
            format=attributes["format"],
            fingerprint=attributes["fingerprint"],
            shape=tuple(int(n) for n in self.array.shape),
            ids_sha256=digest_of_ids(read_ids(self.group)),
            content_sha256=hashlib.sha256(self._digests[:].tobytes()).hexdigest(),
        )
        described.write(manifest)
        return described


def content_digest(parts: Iterable[Values]) -> bytes:
    """Return the sha256 of the concatenated values of arrays, `DIGEST_BYTES` long."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def attributes_of(place: Path | str) -> dict[str, Any]:
    """Return the attributes of a store, complete or not; none if it cannot be read.

    Raises
    ------
    UnreachableError
        If it is in an object store that cannot be reached.
    """
    try:
        return dict(opened_group(place).attrs)
    except (OSError, ValueError, KeyError):
        return {}


def blocks_done(path: Path) -> tuple[int, int] | None:
    """Return the number of finished blocks and of all blocks; None if the path is no store."""
    try:
        group: Any = zarr.open_group(path, mode="r")
        done = group["done"][:]
    except (OSError, ValueError, KeyError, RuntimeError):
        return None
    return int((done > 0).sum()), len(done)


def remove_store(path: Path) -> None:
    """Delete a store; of a symbolic link only the link."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def write_ids(group: Any, ids: Sequence[str]) -> None:
    """Write the tile ids of a store, in row order."""
    array = group.create_array("tile_id", shape=(len(ids),), dtype=str, overwrite=True)
    array[:] = np.array(ids, dtype=object)


def read_ids(group: Any) -> list[str]:
    """Return the tile ids of a store, in row order."""
    return [str(i) for i in group["tile_id"][:]]

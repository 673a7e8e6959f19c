"""A Zarr store that is written block by block and resumes after a kill or a power cut.

The store is next to its manifest, so that a resumed job finds the finished blocks. A block is
written in this order, each file synced to disk before the next: its data, the sums of their files,
its flag. The manifest comes last.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

from transferscope.runtime.arrays import Values
from transferscope.runtime.atomic_files import (
    disk_problem,
    make_folder,
    remove_durably,
    writing,
)
from transferscope.stores.chunk_files import Shard
from transferscope.stores.file_sums import (
    END_BYTES,
    SHA256_BYTES,
    SUM_BYTES,
    FileSum,
    SyncedStore,
    sha256_of_rows,
)
from transferscope.stores.manifest import (
    EMBEDDINGS_FORMAT,
    FORMAT_VERSION,
    TARGETS_FORMAT,
    TILED_FORMATS,
    TILES_FORMAT,
    Manifest,
    digest_of_ids,
    manifest_of,
    refuse_newer,
)
from transferscope.transport.zarr_stores import RemoteStore, portable_codecs

EMBEDDING_BLOCK_ROWS = 4096
# What damaged or incomplete metadata raise, zarrs among others.
UNREADABLE = (
    *(OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError),
    *(ArithmeticError, MemoryError, struct.error),
)
# Content of the flag of a block that is done.
DONE = b"\1"
# Of each tile: the sha256 of its values, so that it is known what an embedding was made from
# without reading a pixel, and the checksum at the end of its chunk.
TILE_SUMS = "tile_sum"
TILE_SUM_BYTES = SHA256_BYTES + END_BYTES
# Names of the dimensions of the main array, as xarray needs them.
DIMENSIONS = {
    TILES_FORMAT: ("tile", "channel", "y", "x"),
    TARGETS_FORMAT: ("tile", "y", "x"),
    EMBEDDINGS_FORMAT: ("tile", "column"),
}
BLOCK_DIMENSIONS = {
    "done": ("block",),
    "digest": ("block", "file", "sum_byte"),
    "source": ("block", "sha256_byte"),
    TILE_SUMS: ("tile", "tile_sum_byte"),
}
# Attribute: the arrays that hold the data of a block, the main one first.
PARTS = "block_arrays"
# Attributes: the identity of the values, and of a converted store the one that version 1 gave it.
CONTENT, FORMER_CONTENT = "content_sha256", "version_1_content_sha256"
IDENTITIES = (CONTENT, FORMER_CONTENT)
# Threads that read files of blocks and compare them with their sums.
HASHING_THREADS = 4

logger = logging.getLogger(__name__)
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


class RowSource(Protocol):
    """What the rows of a store are made from, row by row."""

    @property
    def content_sha256(self) -> str:
        """Identity of all rows."""

    def source_of(self, start: int, stop: int) -> bytes:
        """Return a digest of what rows [start, stop) are made from."""

    def values_sha256(self, start: int, stop: int) -> bytes:
        """Return the same as version 1 has it: the sha256 of all values."""


def opened_group(place: Path | str) -> Any:
    """Open the Zarr group of a store, given by path or URL, for reading."""
    source = place if isinstance(place, Path) else RemoteStore(place)
    return zarr.open_group(source, mode="r")


@contextmanager
def _writable() -> Iterator[None]:
    """Open arrays so that each chunk is a file, and goes through `SyncedStore`."""
    with portable_codecs(), zarr.config.set({"array.write_empty_chunks": True}):
        yield


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
        self._files = SyncedStore(path)
        with _writable():
            self.group: Any = zarr.open_group(self._files, mode="r+")
            attributes: dict[str, Any] = dict(self.group.attrs)
            self._parts = {name: self.group[name] for name in attributes[PARTS]}
            self._done: Any = self.group["done"]
            self._digests: Any = self.group["digest"]
        self.array: Any = self._parts[array]
        self._sources: Any = self._parts.get("source")
        self._tile_sums: Any = self._parts.get(TILE_SUMS)
        self.block_rows = int(attributes["block_rows"])

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
        ids: Sequence[str],
        attributes: Mapping[str, Any],
        width: int | None = None,
        recipe: str | None = None,
        source: RowSource | None = None,
        own: range | None = None,
    ) -> BlockStore:
        """Open a store to resume it, or create it anew if its fingerprint differs.

        If only the rows differ, but not the recipe, blocks with unchanged rows are kept. What is
        called done is read again and compared with its sums; damaged blocks are forgotten, and a
        store with damaged metadata is started over. Its manifest is removed first.

        Parameters
        ----------
        path, format, array, fingerprint, shape, dtype
            Folder; format name; name of the main array; digest of all that its content depends on;
            shape and type of the main array.
        block_rows
            Rows per block.
        ids
            Tile ids, in row order.
        attributes
            Further attributes of the store.
        width
            Columns per file of an embedding store; None: all.
        recipe
            Digest of what a block depends on in addition to its source; None: blocks are not kept.
        source
            With `recipe`: what the rows are made from.
        own
            The blocks that are read again, where several jobs fill the store; None: all.

        Raises
        ------
        UserError
            If a newer version has written it.
        """
        parts = [TILE_SUMS] if format in TILED_FORMATS else []
        parts += ["source"] if recipe is not None else []
        final = {
            **attributes,
            PARTS: [array, *parts],
            "format": format,
            "version": FORMAT_VERSION,
            "block_rows": block_rows,
            "recipe": recipe,
            "fingerprint": fingerprint,
        }
        new = _New(path, shape, np.dtype(dtype), width, list(ids), final)
        refuse_newer(path, attributes_of(path).get("version") if path.exists() else None)
        # From here on it is not what the manifest describes.
        with writing(path):
            remove_durably(manifest_of(path))
        try:
            store = cls._found(path, array, fingerprint, recipe)
            if store is not None and store._resumed(new, source, own):
                return store
        except UNREADABLE as error:
            if disk_problem(error):
                raise
            logger.warning("%s is damaged: starting it over", path)
        if path.is_symlink() or path.exists():
            remove_store(path)
        _create(SyncedStore(path), new)
        return cls(path, array)

    def _resumed(self, new: _New, source: RowSource | None, own: range | None) -> bool:
        """Make the store go on as a new one would be; return whether it can."""
        if self.group.attrs["fingerprint"] != new.attributes["fingerprint"]:
            if source is None or not self._fits(new):
                return False
            self._forget_damaged(own)
            self._renew(new.shape[0], source, new.ids, new.attributes)
            return True
        if not self._is_like(new):
            logger.warning("%s: its metadata are damaged: starting it over", self.path)
            return False
        self._forget_damaged(own)
        kept = {key: self.group.attrs[key] for key in self.group.attrs if key in IDENTITIES}
        if dict(self.group.attrs) != (wanted := {**_plain(new.attributes), **kept}):
            self.group.attrs.put(wanted)
        return True

    @classmethod
    def _found(
        cls, path: Path, array: str, fingerprint: str, recipe: str | None
    ) -> BlockStore | None:
        """Return the store that is there, if its fingerprint or its recipe is the wanted one."""
        found = attributes_of(path) if path.exists() else {}
        if any(part.is_symlink() for part in (path, *path.rglob("*"))):
            logger.warning("%s contains symbolic links, as no store does: made anew", path)
            return None
        is_wanted = found.get("fingerprint") == fingerprint or (
            recipe is not None and found.get("recipe") == recipe
        )
        if is_wanted and found.get("version") == FORMAT_VERSION:
            return cls(path, array)
        if found.get("fingerprint") is not None:
            logger.warning("%s was made from other input or settings: starting it over", path)
        return None

    def _fits(self, new: _New) -> bool:
        """Return whether blocks of this embedding store have the layout of a new one."""
        rows = new.block_rows
        layout = _layout(EMBEDDINGS_FORMAT, new.shape, rows, new.width)
        mine = (self.array.shape[1:], self.array.dtype, self.block_rows, self.array.chunks)
        has_parts = list(self._parts) == new.attributes[PARTS]
        return has_parts and mine == (new.shape[1:], new.dtype, rows, layout["chunks"])

    def _is_like(self, new: _New) -> bool:
        """Return whether all arrays, ids and names are those of a new store.

        One that was shortened, because fewer rows were found than planned, may have fewer.
        """
        ids, wanted = read_ids(self.group), iter(new.ids)
        # In the same order, though some may have been left out.
        if not ids or not all(name in wanted for name in ids):
            return False
        if self.rows not in (len(ids), len(new.ids)):
            return False
        if (list(self._parts), self.block_rows) != (new.attributes[PARTS], new.block_rows):
            return False
        template = _create(zarr.storage.MemoryStore(), replace(new, ids=ids))
        names = sorted(name for name, _ in template.members())
        labels = (self.group[name][:].tolist() for name in _labels(new.attributes) if name in names)
        expected = (texts for _, texts in _labels(new.attributes).values() if len(texts))
        return list(labels) == list(expected) and all(
            _kind_of(self.group[name]) == _kind_of(template[name]) for name in names
        )

    def _forget_damaged(self, own: range | None) -> None:
        """Forget blocks that are called done and are not what was written."""
        for block in self._unlike(own):
            logger.warning("%s: block %d is damaged and is made again", self.path, block)
            self.forget(block)

    def _unlike(self, own: range | None = None) -> list[int]:
        """Return the finished blocks with a file that is not what was written.

        Parameters
        ----------
        own
            The blocks to look at; None: all. Those of others may be being written.
        """
        blocks = [block for block, _, _ in self.blocks() if own is None or block in own]
        with ThreadPoolExecutor(HASHING_THREADS) as pool:
            sound = pool.map(self._is_sound, blocks)
            return [block for block, is_sound in zip(blocks, sound, strict=True) if not is_sound]

    def is_done(self, block: int) -> bool:
        """Return whether a block is called done."""
        (flag,) = keys_of_block(self._done, block)
        try:
            return (self.path / flag).read_bytes() == DONE
        except FileNotFoundError:
            return False

    def _is_sound(self, block: int) -> bool:
        """Return whether a block is what was written, or is not called done."""
        if not self.is_done(block):
            return True
        (sums,), keys = keys_of_block(self._digests, block), self._keys(block)
        try:
            content = (self.path / sums).read_bytes()
            if len(content) != len(keys) * SUM_BYTES:
                return False
            records = np.frombuffer(content, dtype=np.uint8).reshape(len(keys), SUM_BYTES)
            return all(
                FileSum.from_record(record).fits((self.path / key).read_bytes())
                for key, record in zip(keys, records, strict=True)
            )
        except FileNotFoundError:
            return False

    def _renew(
        self, rows: int, source: RowSource, ids: Sequence[str], attributes: dict[str, Any]
    ) -> None:
        """Change the rows; blocks with an unchanged source stay done.

        Flags are cleared first and the fingerprint is written last, so that an interruption only
        costs time.
        """
        sources = self._read("source")
        n_blocks = -(-rows // self.block_rows)
        kept = {
            block
            for block, start, stop in self.blocks()
            if self.is_done(block)
            and stop == min(start + self.block_rows, rows)
            and sources[block].tobytes() == source.source_of(start, stop)
        }
        for block in set(range(len(sources))) - kept:
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
        return [block for block in self.blocks() if not self.is_done(block[0])]

    def _read(self, name: str) -> Values:
        """Return an array of the store as it is now, read by the fast codecs."""
        return np.asarray(opened_group(self.path)[name][:])

    def write_block(self, block: int, values: Values, source: bytes | None = None) -> None:
        """Write one whole block: its data, then the sums of their files, then its flag.

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
            self.forget(block)
            self.array[start:stop] = values
            if self._tile_sums is not None:
                self._tile_sums[start:stop] = self._sums_of_tiles(block, values)
            if source is not None:
                self._sources[block] = np.frombuffer(source, dtype=np.uint8)
            sums = [self._files.written(key).record for key in self._keys(block)]
            self._digests[block] = np.stack(sums)
            self._done[block] = 1

    def _sums_of_tiles(self, block: int, values: Values) -> Values:
        """Return the sums of the tiles of a block whose images have been written."""
        (name,) = keys_of_block(self.array, block)
        with Shard.opened(self.path / name, self.block_rows) as shard:
            return np.concatenate([sha256_of_rows(values), shard.ends(len(values))], axis=1)

    def _keys(self, block: int) -> list[str]:
        """Return the names of the data files of a block, those of the main array first."""
        return [key for part in self._parts.values() for key in keys_of_block(part, block)]

    def forget(self, block: int) -> None:
        """Remove a block, its flag first, so that it is written again."""
        if FORMER_CONTENT in self.group.attrs:
            # The block that takes its place may have other values.
            self.group.attrs.put({k: v for k, v in self.group.attrs.items() if k != FORMER_CONTENT})
        for array in (self._done, self._digests):
            self._files.remove(*keys_of_block(array, block))
        for key in self._keys(block):
            self._files.remove(key)

    def trim(self, ids: Sequence[str]) -> None:
        """Shorten the store to the rows of these ids, if fewer were found than planned."""
        # The ids first: until the array is short, too, a resumed job trims it again.
        write_ids(self.group, ids)
        self._resize(len(ids))

    def _resize(self, rows: int) -> None:
        blocks = -(-rows // self.block_rows)
        by_block = {"done": self._done, "digest": self._digests, "source": self._sources}
        # The main array last: until it has the new length, an interrupted change is made again.
        for name, array in reversed({**self._parts, **by_block}.items()):
            if array is not None:
                array.resize((blocks if name in by_block else rows, *array.shape[1:]))

    def damaged(self) -> list[int]:
        """Return the finished blocks whose files are not what was written; all are read."""
        return self._unlike()

    def finish(self, manifest: Path) -> Manifest:
        """Write the manifest of a complete store."""
        if missing := self.missing():
            raise RuntimeError(f"{self.path}: {len(missing)} blocks are not done")
        digests = self._read("digest")
        content = self.group.attrs.get(FORMER_CONTENT) or self._content(digests)
        self.group.attrs.update({CONTENT: content})
        attributes = dict(self.group.attrs)
        described = Manifest(
            format=attributes["format"],
            fingerprint=attributes["fingerprint"],
            shape=tuple(int(n) for n in self.array.shape),
            ids_sha256=digest_of_ids(read_ids(self.group)),
            content_sha256=content,
            digests_sha256=hashlib.sha256(digests.tobytes()).hexdigest(),
            files=self.other_files(),
        )
        described.write(manifest)
        return described

    def _content(self, digests: Values) -> str:
        """Return the identity of the values; see `Manifest.content_sha256`."""
        if self._tile_sums is not None:
            sums = self._read(TILE_SUMS)[:, :SHA256_BYTES]
        else:
            sums = digests[:, : len(keys_of_block(self.array, 0)), :SHA256_BYTES]
        return hashlib.sha256(sums.tobytes()).hexdigest()

    def other_files(self) -> dict[str, str]:
        """Return the sha256 of each file that belongs to no block, by name."""
        of_blocks = tuple(f"{name}/c/" for name in ("digest", "done", *self._parts))
        names = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return {
            name.as_posix(): hashlib.sha256((self.path / name).read_bytes()).hexdigest()
            for name in sorted(names)
            if not name.name.startswith(".") and not name.as_posix().startswith(of_blocks)
        }


@dataclass(frozen=True)
class _New:
    """A store to create; see the parameters of `BlockStore.open_or_create`."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    width: int | None
    ids: list[str]
    attributes: dict[str, Any]

    @property
    def block_rows(self) -> int:
        """Rows per block."""
        return int(self.attributes["block_rows"])


def _create(store: Store, new: _New) -> Any:
    """Create a store without any block; return its group."""
    attributes, shape = new.attributes, new.shape
    format, block_rows = attributes["format"], new.block_rows
    array, *parts = attributes[PARTS]
    with _writable(), writing(new.path):
        make_folder(new.path.parent)
        group: Any = zarr.open_group(store, mode="w", zarr_format=3)
        main = group.create_array(
            array,
            shape=shape,
            dtype=new.dtype,
            dimension_names=DIMENSIONS[format],
            **_layout(format, shape, block_rows, new.width),
        )
        n_files = len(keys_of_block(main, 0)) + len(parts)
        _create_block_arrays(group, shape[0], block_rows, n_files, parts)
        for name, (dimension, labels) in _labels(attributes).items():
            _write_texts(group, name, dimension, labels)
        write_ids(group, new.ids)
        # The fingerprint comes last: a store without it is incomplete and is made anew.
        group.attrs.update(attributes)
    return group


def _kind_of(array: Any) -> dict[str, Any]:
    """Return the metadata of an array, but for the number of its rows."""
    described: dict[str, Any] = array.metadata.to_dict()
    return {**described, "shape": described["shape"][1:]}


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as they are read back from JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(attributes))
    return plain


def _layout(
    format: str, shape: tuple[int, ...], block_rows: int, width: int | None
) -> dict[str, Any]:
    """Return how the main array is divided and encoded: see docs/store-format.md."""
    sum_ = Crc32cCodec()
    if format in TILED_FORMATS:
        codec = BloscCodec(cname="lz4", clevel=5, shuffle=BloscShuffle.bitshuffle)
        chunks, shards = (1, *shape[1:]), (block_rows, *shape[1:])
        return {"chunks": chunks, "shards": shards, "compressors": [codec, sum_]}
    chunks = min(block_rows, shape[0]), width or shape[1]
    return {"chunks": chunks, "compressors": [sum_]}


def _create_block_arrays(
    group: Any, rows: int, block_rows: int, n_files: int, parts: Sequence[str]
) -> None:
    """Create the arrays that say what each block is, one chunk per block.

    Writers of different blocks never write the same file.
    """
    blocks = -(-rows // block_rows)
    shapes = {
        "done": (blocks,),
        "digest": (blocks, n_files, SUM_BYTES),
        "source": (blocks, SHA256_BYTES),
        TILE_SUMS: (rows, TILE_SUM_BYTES),
    }
    for name in ("done", "digest", *parts):
        dimensions, shape = BLOCK_DIMENSIONS[name], shapes[name]
        group.create_array(
            name,
            shape=shape,
            dtype="uint8",
            chunks=(block_rows if name == TILE_SUMS else 1, *shape[1:]),
            compressors=[Crc32cCodec()] if name == TILE_SUMS else None,
            dimension_names=dimensions,
        )


def keys_of_block(array: Any, block: int) -> list[str]:
    """Return the names of the files that hold a block of an array."""
    sides = array.shards or array.chunks
    counts = [range(-(-n // side)) for n, side in zip(array.shape[1:], sides[1:], strict=True)]
    encode = array.metadata.encode_chunk_key
    return [f"{array.basename}/{encode((block, *place))}" for place in itertools.product(*counts)]


def attributes_of(place: Path | str) -> dict[str, Any]:
    """Return the attributes of a store, complete or not; none if it cannot be read.

    Raises
    ------
    UnreachableError
        If it is in an object store that cannot be reached.
    """
    try:
        return dict(opened_group(place).attrs)
    except UNREADABLE:
        return {}


def main_array(store: Path) -> str:
    """Return the name of the array of a store that holds its rows."""
    name: str = attributes_of(store)[PARTS][0]
    return name


def blocks_done(path: Path) -> tuple[int, int] | None:
    """Return the number of finished blocks and of all blocks; None if the path is no store."""
    try:
        done = opened_group(path)["done"][:]
    except UNREADABLE:
        return None
    return int((done > 0).sum()), len(done)


def remove_store(path: Path) -> None:
    """Delete a store; of a symbolic link only the link."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path)


def _labels(attributes: Mapping[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """Return name -> dimension and names along it, of the channels or of the columns."""
    if attributes["format"] == TILES_FORMAT:
        return {"channel": ("channel", list(attributes.get("channels", [])))}
    if attributes["format"] == TARGETS_FORMAT:
        return {}
    columns = attributes.get("columns", [])
    widths = [c["stop"] - c["start"] for c in columns]
    return {
        key: ("column", np.repeat([str(c[key] or "") for c in columns], widths).tolist())
        for key in ("output", "channel")
    }


def write_ids(group: Any, ids: Sequence[str]) -> None:
    """Write the tile ids of a store, in row order."""
    _write_texts(group, "tile_id", "tile", ids)


def _write_texts(group: Any, name: str, dimension: str, texts: Sequence[str]) -> None:
    """Write an array of strings in one chunk; none where there is none."""
    if len(texts):
        shape = (len(texts),)
        array = group.create_array(
            name,
            shape=shape,
            chunks=shape,
            dtype=str,
            overwrite=True,
            dimension_names=(dimension,),
        )
        array[:] = np.array(texts, dtype=object)


def read_ids(group: Any) -> list[str]:
    """Return the tile ids of a store, in row order."""
    return [str(i) for i in group["tile_id"][:]]

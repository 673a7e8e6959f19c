"""Zarr stores that fill block by block, survive a kill, and are described by a manifest.

The manifest is what Snakemake sees: small, deterministic, written last and by rename. The store is
its sibling, so that a killed job finds its finished blocks again. Each block carries its sha256.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle

from transferscope.backbones.strategies import MEAN, single_channel
from transferscope.disk import write_atomically, writing
from transferscope.errors import Problem, UnreachableError, UserError, first_line, suggest
from transferscope.paths import store_of
from transferscope.transport.access import PUBLISH_AGAIN
from transferscope.transport.files import RemoteFile
from transferscope.transport.urls import checked_url
from transferscope.transport.whole_blocks import WholeBlocks
from transferscope.transport.zarr_stores import RemoteStore, portable_codecs

FORMAT_VERSION = 1
TILES_FORMAT = "transferscope.tiles"
EMBEDDINGS_FORMAT = "transferscope.embeddings"
EMBEDDING_BLOCK_ROWS = 4096
DIGEST_BYTES = 32
DIFFERS = "its values differ from their checksum"

logger = logging.getLogger(__name__)
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def digest_of_ids(ids: Sequence[str]) -> str:
    """Return the sha256 over tile ids in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """What a finished store holds.

    Parameters
    ----------
    format
        `TILES_FORMAT` or `EMBEDDINGS_FORMAT`.
    fingerprint
        sha256 over everything that the content depends on.
    shape
        Shape of the main array; rows first.
    ids_sha256
        `digest_of_ids` of the tile ids.
    content_sha256
        sha256 over the blocks' digests: equal content, equal manifest.
    version
        Version of the store's layout.
    store
        URL of the store, where it lies in an object store; None: beside the manifest.
    """

    format: str
    fingerprint: str
    shape: tuple[int, ...]
    ids_sha256: str
    content_sha256: str
    version: int = FORMAT_VERSION
    store: str | None = None

    def write(self, path: Path) -> None:
        """Write the manifest by rename."""
        told = {key: value for key, value in self.__dict__.items() if value is not None}
        write_atomically(path, json.dumps(told, indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path | str, expected_format: str) -> Manifest:
        """Read a manifest, checking format and version.

        Parameters
        ----------
        path
            The file, or the URL of one that was published.
        expected_format
            `TILES_FORMAT` or `EMBEDDINGS_FORMAT`.

        Raises
        ------
        UserError
            Where it is missing, damaged, of another format or of a newer version.
        """
        try:
            value = json.loads(_bytes_of(path))
            manifest = cls(**{**value, "shape": tuple(value["shape"])})
            if manifest.store is not None:
                checked_url(manifest.store)
        except FileNotFoundError:
            raise UserError(
                Problem(str(path), "the manifest does not exist", _mend(path))
            ) from None
        except (ValueError, TypeError, KeyError):
            raise UserError(Problem(str(path), "the manifest is damaged", _mend(path))) from None
        if manifest.format != expected_format:
            what = f"describes a {manifest.format} store, not {expected_format}"
            raise UserError(Problem(str(path), what, "Give the manifest of the right store."))
        if manifest.version > FORMAT_VERSION:
            what = (
                f"format version {manifest.version} is newer than this program's {FORMAT_VERSION}"
            )
            raise UserError(Problem(str(path), what, "Update transferscope."))
        return manifest


def _bytes_of(path: Path | str) -> bytes:
    return path.read_bytes() if isinstance(path, Path) else RemoteFile(path, 0).read_bytes()


def _store_of(manifest: Path | str, described: Manifest) -> Path | str:
    """Return the store of a manifest: beside it, or in an object store."""
    if described.store is not None:
        return described.store
    if isinstance(manifest, Path):
        return store_of(manifest)
    return f"{manifest.removesuffix('.json')}.zarr"


def _opened(place: Path | str) -> Any:
    source = place if isinstance(place, Path) else RemoteStore(place)
    return zarr.open_group(source, mode="r")


def _mend(manifest: Path | str, store: Path | str | None = None) -> str:
    if isinstance(manifest, str) or isinstance(store, str):
        return PUBLISH_AGAIN
    return f"Remake it: rm -rf {manifest} {store_of(manifest)}, then the same snakemake command."


class BlockStore:
    """A store whose main array fills in blocks of rows, each marked when done.

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
        """Open a store to go on with it, or make it anew where its fingerprint differs.

        Where only the rows differ, and not the recipe, blocks made from the same rows are kept.

        Parameters
        ----------
        path, format, array, fingerprint, shape, dtype
            Folder; format name; name, shape and type of the main array; what it depends on.
        block_rows
            Rows a block; a multiple of the rows of a chunk and of a shard.
        chunks, shards
            Shapes of a chunk and of a shard.
        compress
            Blosc (LZ4, bit shuffle); else raw.
        ids
            Tile ids, in row order.
        attributes
            Further attributes of the store.
        recipe
            What a block depends on beside its source; None: blocks are not kept.
        source_of
            With `recipe`: returns the digest of what rows [start, stop) are made from; see
            `write_block`.
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
                logger.warning("%s holds symbolic links, which it never does: made anew", path)
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
        # One chunk a flag, so that writers of different blocks never touch the same file.
        group.create_array("done", shape=(blocks,), dtype="uint8", chunks=(1,), compressors=None)
        for name in ("digest", "source") if recipe is not None else ("digest",):
            group.create_array(
                name,
                shape=(blocks, DIGEST_BYTES),
                dtype="uint8",
                chunks=(1, DIGEST_BYTES),
                compressors=None,
            )
        _write_ids(group, ids)
        # The fingerprint comes last: a store without it was never whole and is made anew.
        group.attrs.update(final)
        return cls(path, array)

    def _fits(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        block_rows: int,
        chunks: tuple[int, ...],
    ) -> bool:
        """Tell whether blocks of this store may stand in one of that layout."""
        mine = (self.array.shape[1:], self.array.dtype, self.block_rows, self.array.chunks)
        return mine == (shape[1:], np.dtype(dtype), block_rows, chunks)

    def _renew(
        self,
        rows: int,
        source_of: Callable[[int, int], bytes],
        ids: Sequence[str],
        attributes: dict[str, Any],
    ) -> None:
        """Take over other rows; only blocks that are made from them already stay done.

        Flags are cleared first and the fingerprint is written last, so that an interruption costs
        time only.
        """
        missing = {block for block, _, _ in self.missing()}
        before = {block: stop for block, _, stop in self.blocks() if block not in missing}
        n_blocks = -(-rows // self.block_rows)
        kept = 0
        for block, stop in before.items():
            start = block * self.block_rows
            unchanged = stop <= rows and min(start + self.block_rows, rows) == stop
            if unchanged and self._sources[block].tobytes() == source_of(start, stop):
                kept += 1
            else:
                self._done[block] = 0
        self._resize(rows)
        for block in set(range(n_blocks)) - set(before):
            self._done[block] = 0
        _write_ids(self.group, ids)
        self.group.attrs.update(attributes)
        logger.info(
            "%s: the rows have changed; %d blocks of %d are kept", self.path, kept, n_blocks
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return (block, start row, stop row) of every block."""
        starts = range(0, self.rows, self.block_rows)
        return [(b, s, min(s + self.block_rows, self.rows)) for b, s in enumerate(starts)]

    def missing(self) -> list[tuple[int, int, int]]:
        """Return (block, start row, stop row) of the blocks that are not done."""
        done = self._done[:]
        return [block for block in self.blocks() if not done[block[0]]]

    def write_block(
        self, block: int, values: npt.NDArray[Any], source: bytes | None = None
    ) -> None:
        """Write one whole block, then its digest, then its flag.

        Parameters
        ----------
        block
            Number of the block.
        values
            Its rows.
        source
            Digest of what it is made from, in a store with a recipe.
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
        """Take back the flag of a block, so that it is written again."""
        self._done[block] = 0

    def set_attribute(self, key: str, value: Any) -> None:
        """Record a further attribute."""
        self.group.attrs[key] = value

    def trim(self, ids: Sequence[str]) -> None:
        """End the store after as many rows as there are ids: fewer were found than planned.

        Parameters
        ----------
        ids
            The tile ids, in row order.
        """
        self._resize(len(ids))
        _write_ids(self.group, ids)

    def _resize(self, rows: int) -> None:
        blocks = -(-rows // self.block_rows)
        self.array.resize((rows, *self.array.shape[1:]))
        self._done.resize((blocks,))
        self._digests.resize((blocks, DIGEST_BYTES))
        if self._sources is not None:
            self._sources.resize((blocks, DIGEST_BYTES))

    def damaged(self) -> list[int]:
        """Read all done blocks and return those that are not finite or not what was written."""
        missing = {block for block, _, _ in self.missing()}
        return [
            block
            for block, start, stop in self.blocks()
            if block not in missing and not self._is_sound(block, self.array[start:stop])
        ]

    def _is_sound(self, block: int, values: npt.NDArray[Any]) -> bool:
        digest = content_digest([values])
        return digest == self._digests[block].tobytes() and bool(np.isfinite(values).all())

    def finish(self, manifest: Path) -> Manifest:
        """Write the manifest of a store whose blocks are all done."""
        if missing := self.missing():
            raise RuntimeError(f"{self.path}: {len(missing)} blocks are not done")
        attributes = dict(self.group.attrs)
        described = Manifest(
            format=attributes["format"],
            fingerprint=attributes["fingerprint"],
            shape=tuple(int(n) for n in self.array.shape),
            ids_sha256=digest_of_ids(_read_ids(self.group)),
            content_sha256=hashlib.sha256(self._digests[:].tobytes()).hexdigest(),
        )
        described.write(manifest)
        return described


def content_digest(parts: Iterable[npt.NDArray[Any]]) -> bytes:
    """Return a sha256 over the values of arrays in a row, `DIGEST_BYTES` long."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


def attributes_of(place: Path | str) -> dict[str, Any]:
    """Return the attributes of a store, whole or not; none where it cannot be read.

    Raises
    ------
    UnreachableError
        Where it lies in an object store that cannot be asked.
    """
    try:
        return dict(_opened(place).attrs)
    except (OSError, ValueError, KeyError):
        return {}


def blocks_done(path: Path) -> tuple[int, int] | None:
    """Return how many blocks of a store are done, and how many it has; None where it is none."""
    try:
        group: Any = zarr.open_group(path, mode="r")
        done = group["done"][:]
    except (OSError, ValueError, KeyError, RuntimeError):
        return None
    return int((done > 0).sum()), len(done)


def remove_store(path: Path) -> None:
    """Delete a store; of a link only the link."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def _write_ids(group: Any, ids: Sequence[str]) -> None:
    array = group.create_array("tile_id", shape=(len(ids),), dtype=str, overwrite=True)
    array[:] = np.array(ids, dtype=object)


def _read_ids(group: Any) -> list[str]:
    return [str(i) for i in group["tile_id"][:]]


@dataclass(frozen=True)
class Damage:
    """A block of a store that does not hold what was written.

    Parameters
    ----------
    block
        Its number, from 0.
    start, stop
        Its rows [start, stop).
    what
        What is wrong with it.
    """

    block: int
    start: int
    stop: int
    what: str


class DamagedBlockError(UserError):
    """A block of a store does not hold what was written.

    Parameters
    ----------
    problem
        What is wrong with it, and what repairs it.
    damage
        The block.
    """

    def __init__(self, problem: Problem, damage: Damage) -> None:
        super().__init__(problem)
        self.damage = damage


class StoreReader:
    """A finished store, checked against its manifest."""

    format: str
    array_name: str

    def __init__(self, manifest: Path | str) -> None:
        self.manifest_path = manifest
        self.manifest = Manifest.read(manifest, self.format)
        self.path = _store_of(manifest, self.manifest)
        try:
            with portable_codecs() if self.is_far else nullcontext():
                group: Any = _opened(self.path)
                self.attributes: dict[str, Any] = dict(group.attrs)
                self.array: Any = group[self.array_name]
                self.block_rows = int(self.attributes["block_rows"])
                self.tile_ids = _read_ids(group)
                complete = bool(group["done"][:].all())
                self._digests = group["digest"][:]
                content = hashlib.sha256(self._digests.tobytes()).hexdigest()
        # The library beneath the stores reports damage as RuntimeError.
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            what = f"the store is missing or damaged ({first_line(error)})"
            raise UserError(Problem(str(self.path), what, _mend(manifest, self.path))) from None
        agrees = (
            complete
            and self.attributes.get("fingerprint") == self.manifest.fingerprint
            and tuple(self.array.shape) == self.manifest.shape
            and digest_of_ids(self.tile_ids) == self.manifest.ids_sha256
            and content == self.manifest.content_sha256
        )
        if not agrees:
            what = f"does not agree with its manifest {Path(manifest).name}"
            raise UserError(Problem(str(self.path), what, _mend(manifest, self.path)))

    @property
    def fingerprint(self) -> str:
        """What the store's content depends on, 64 hexadecimal digits."""
        return self.manifest.fingerprint

    @property
    def is_far(self) -> bool:
        """Whether it lies in an object store."""
        return isinstance(self.path, str)

    def __len__(self) -> int:
        return self.manifest.shape[0]

    def damaged(self) -> Iterator[Damage]:
        """Yield the blocks whose values are not those that were written; all are read.

        Raises
        ------
        UnreachableError
            Where it lies in an object store that cannot be asked.
        """
        for block in range(self.blocks):
            try:
                self.block(block)
            except UnreachableError:
                raise
            except UserError as error:
                yield Damage(block, *self._rows_of(block), error.problems[0].what)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self._digests)

    def block(self, block: int) -> npt.NDArray[Any]:
        """Return the rows of a block; from an object store they are read by one request.

        Raises
        ------
        DamagedBlockError
            Where they differ from their checksum.
        UserError
            Where they cannot be read.
        """
        if self.is_far:
            name = self.array.metadata.encode_chunk_key((block, *(0 for _ in self.array.shape[1:])))
            self.array.store.hold(f"{self.array_name}/{name}")
        values = self._values(*self._rows_of(block))
        if content_digest([values]) != self.digest(block):
            raise self.damaged_block(block)
        return values

    def damaged_block(self, block: int) -> DamagedBlockError:
        """Return the error for a block that differs from its checksum."""
        damage = Damage(block, *self._rows_of(block), DIFFERS)
        return DamagedBlockError(self.problem(damage), damage)

    def _rows_of(self, block: int) -> tuple[int, int]:
        """Return start and stop of the rows of a block."""
        start = block * self.block_rows
        return start, min(start + self.block_rows, len(self))

    def _values(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return rows [start, stop) of the array, or raise a `UserError`."""
        try:
            return np.asarray(self.array[start:stop])
        except (OSError, ValueError, RuntimeError) as error:
            what = f"rows {start} to {stop - 1} cannot be read ({first_line(error)})"
            mend = _mend(self.manifest_path, self.path)
            raise UserError(Problem(str(self.path), what, mend)) from None

    def digest(self, block: int) -> bytes:
        """Return the sha256 of a block as it was written."""
        return bytes(self._digests[block].tobytes())

    def check(self) -> None:
        """Read all blocks and compare them with their checksums.

        Raises
        ------
        UserError
            Naming each damaged block and what repairs it.
        """
        if problems := [self.problem(damage) for damage in self.damaged()]:
            raise UserError(problems)

    def problem(self, damage: Damage) -> Problem:
        """Return what is wrong with a block, and what repairs it."""
        rows = f"rows {damage.start} to {damage.stop - 1}"
        where = f"{self.path}, block {damage.block} ({rows})"
        return Problem(where, damage.what, _mend(self.manifest_path, self.path))


class TileStore(StoreReader):
    """A finished tile store: raw tiles [N, C, H, W].

    Parameters
    ----------
    manifest
        Path of the manifest.

    Raises
    ------
    UserError
        Where manifest and store are missing, damaged or do not agree.
    """

    format = TILES_FORMAT
    array_name = "images"

    def __init__(self, manifest: Path | str) -> None:
        super().__init__(manifest)
        self._blocks = WholeBlocks(self._values, self.block, self.block_rows, len(self))

    @property
    def channels(self) -> list[str]:
        """What each channel shows."""
        return list(self.attributes["channels"])

    @property
    def intensity_range(self) -> npt.NDArray[np.float32]:
        """Raw values of black and white, [C, 2]."""
        return np.asarray(self.attributes["intensity_range"], dtype=np.float32)

    @property
    def tile_size(self) -> tuple[int, int]:
        """Height and width of a tile in px."""
        height, width = self.manifest.shape[-2:]
        return height, width

    @property
    def pixel_size_um(self) -> float | None:
        """Pixel size in um; None where it is not known, or is not the same for all tiles."""
        found = self.attributes.get("pixel_size_um")
        return None if found is None else float(found)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Return tiles [stop - start, C, H, W] in the raw dtype.

        Raises
        ------
        UserError
            Where they cannot be read.
        """
        return self._blocks.read(start, stop) if self.is_far else self._values(start, stop)

    def digest_of(self, start: int, stop: int, rows: int) -> bytes:
        """Return the `content_digest` of tiles [start, stop), of which `rows` are read at once."""
        parts = (self.read(first, min(first + rows, stop)) for first in range(start, stop, rows))
        return content_digest(parts)

    def batches(self, size: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield (start row, tiles) in blocks of `size` rows."""
        for start in range(0, len(self), size):
            yield start, self.read(start, min(start + size, len(self)))


@dataclass(frozen=True)
class Columns:
    """Which columns of an embedding store one pass and one output fill.

    Parameters
    ----------
    output
        Name of the backbone's output.
    channel
        Dataset channel of the pass, or None where all channels went in together.
    start, stop
        Columns [start, stop).
    """

    output: str
    channel: str | None
    start: int
    stop: int


class EmbeddingStore(StoreReader):
    """A finished embedding store: embeddings [N, D].

    Parameters
    ----------
    manifest
        Path of the manifest.

    Raises
    ------
    UserError
        Where manifest and store are missing, damaged or do not agree.
    """

    format = EMBEDDINGS_FORMAT
    array_name = "embeddings"

    @property
    def columns(self) -> list[Columns]:
        """What the columns hold."""
        return [Columns(**c) for c in self.attributes["columns"]]

    def read(
        self, output: str | None = None, strategy: str | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the embeddings of one output, [N, D] float32.

        Parameters
        ----------
        output
            Name of the output; None: the first.
        strategy
            The channel strategy that reads the store: ``mean`` averages over the per-channel
            passes, ``only-<channel>`` takes the pass of that channel; any other, or None,
            concatenates all passes.

        Raises
        ------
        UserError
            Where the store holds no such output or no pass of that channel.
        """
        chosen = self._of_channel(self._of_output(output), strategy)
        whole = self.array[:] if len(chosen) == len(self.columns) else None
        parts = [
            whole[:, c.start : c.stop] if whole is not None else self.array[:, c.start : c.stop]
            for c in chosen
        ]
        if strategy == MEAN:
            mean: npt.NDArray[np.float32] = np.mean(parts, axis=0, dtype=np.float32)
            return mean
        values = whole if whole is not None else np.concatenate(parts, axis=1)
        return np.asarray(values, dtype=np.float32)

    def _of_output(self, output: str | None) -> list[Columns]:
        outputs = [c.output for c in self.columns]
        name = outputs[0] if output is None else output
        chosen = [c for c in self.columns if c.output == name]
        if not chosen:
            what = f'holds no output "{name}"'
            raise UserError(Problem(str(self.path), what, suggest(name, sorted(set(outputs)))))
        return chosen

    def _of_channel(self, columns: list[Columns], strategy: str | None) -> list[Columns]:
        channel = single_channel(strategy or "")
        if channel is None:
            return columns
        chosen = [c for c in columns if c.channel == channel]
        if not chosen:
            what = f'holds no pass of the channel "{channel}" alone'
            known = sorted({c.channel for c in columns if c.channel is not None})
            raise UserError(Problem(str(self.path), what, suggest(channel, known)))
        return chosen

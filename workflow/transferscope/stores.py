"""Zarr stores that fill block by block, survive a kill, and are described by a manifest.

The manifest is what Snakemake sees: small, deterministic, written last and by rename. The store is
its sibling, so that a killed job finds its finished blocks again. Each block carries its sha256.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, BloscShuffle

from transferscope.backbones.strategies import MEAN, single_channel
from transferscope.disk import writing
from transferscope.errors import Problem, UserError, first_line, suggest
from transferscope.paths import store_of

FORMAT_VERSION = 1
TILES_FORMAT = "transferscope.tiles"
EMBEDDINGS_FORMAT = "transferscope.embeddings"
EMBEDDING_BLOCK_ROWS = 4096
DIGEST_BYTES = 32
DIFFERS = "its values differ from their checksum"

logger = logging.getLogger(__name__)
zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def write_atomically(path: Path, text: str) -> None:
    """Write a text file by rename, so that it is whole or absent."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


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
    """

    format: str
    fingerprint: str
    shape: tuple[int, ...]
    ids_sha256: str
    content_sha256: str
    version: int = FORMAT_VERSION

    def write(self, path: Path) -> None:
        """Write the manifest by rename."""
        write_atomically(path, json.dumps(self.__dict__, indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path, expected_format: str) -> Manifest:
        """Read a manifest, checking format and version.

        Raises
        ------
        UserError
            Where it is missing, damaged, of another format or of a newer version.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            manifest = cls(**{**value, "shape": tuple(value["shape"])})
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


def _mend(manifest: Path) -> str:
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
    ) -> BlockStore:
        """Open a store to go on with it, or make it anew where its fingerprint differs.

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
        """
        if path.exists():
            found = attributes_of(path).get("fingerprint")
            linked = any(part.is_symlink() for part in path.rglob("*"))
            if found == fingerprint and not linked:
                return cls(path, array)
            if linked:
                logger.warning("%s holds symbolic links, which it never does: made anew", path)
            elif found is not None:
                logger.warning("%s was made from other input or settings: starting it over", path)
            shutil.rmtree(path)
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
        group.create_array(
            "digest",
            shape=(blocks, DIGEST_BYTES),
            dtype="uint8",
            chunks=(1, DIGEST_BYTES),
            compressors=None,
        )
        _write_ids(group, ids)
        # The fingerprint comes last: a store without it was never whole and is made anew.
        group.attrs.update(
            {
                **attributes,
                "format": format,
                "version": FORMAT_VERSION,
                "block_rows": block_rows,
                "fingerprint": fingerprint,
            }
        )
        return cls(path, array)

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

    def write_block(self, block: int, values: npt.NDArray[Any]) -> None:
        """Write one whole block, then its digest, then its flag."""
        _, start, stop = self.blocks()[block]
        if values.shape[0] != stop - start:
            raise ValueError(f"block {block} has {stop - start} rows, got {values.shape[0]}")
        values = np.ascontiguousarray(values, dtype=self.array.dtype)
        with writing(self.path):
            self.array[start:stop] = values
            self._digests[block] = np.frombuffer(_digest(values), dtype=np.uint8)
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
        blocks = -(-len(ids) // self.block_rows)
        self.array.resize((len(ids), *self.array.shape[1:]))
        self._done.resize((blocks,))
        self._digests.resize((blocks, DIGEST_BYTES))
        _write_ids(self.group, ids)

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


def _digest(values: npt.NDArray[Any]) -> bytes:
    return hashlib.sha256(values.data).digest()


def attributes_of(path: Path) -> dict[str, Any]:
    """Return the attributes of a store, whole or not; none where it cannot be read."""
    try:
        return dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, KeyError):
        return {}


def blocks_done(path: Path) -> tuple[int, int] | None:
    """Return how many blocks of a store are done, and how many it has; None where it is none."""
    try:
        done = zarr.open_group(path, mode="r")["done"][:]  # type: ignore[index]
    except (OSError, ValueError, KeyError, RuntimeError):
        return None
    return int((done > 0).sum()), len(done)


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


class StoreReader:
    """A finished store, checked against its manifest."""

    format: str
    array_name: str

    def __init__(self, manifest: Path) -> None:
        self.manifest_path = manifest
        self.manifest = Manifest.read(manifest, self.format)
        self.path = store_of(manifest)
        try:
            group: Any = zarr.open_group(self.path, mode="r")
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
            raise UserError(Problem(str(self.path), what, _mend(manifest))) from None
        agrees = (
            complete
            and self.attributes.get("fingerprint") == self.manifest.fingerprint
            and tuple(self.array.shape) == self.manifest.shape
            and digest_of_ids(self.tile_ids) == self.manifest.ids_sha256
            and content == self.manifest.content_sha256
        )
        if not agrees:
            what = f"does not agree with its manifest {manifest.name}"
            raise UserError(Problem(str(self.path), what, _mend(manifest)))

    @property
    def fingerprint(self) -> str:
        """What the store's content depends on, 64 hexadecimal digits."""
        return self.manifest.fingerprint

    def __len__(self) -> int:
        return self.manifest.shape[0]

    def damaged(self) -> Iterator[Damage]:
        """Yield the blocks whose values are not those that were written; all are read."""
        for block, start in enumerate(range(0, len(self), self.block_rows)):
            stop = min(start + self.block_rows, len(self))
            try:
                values = np.ascontiguousarray(self.array[start:stop])
            except (OSError, ValueError, RuntimeError) as error:
                yield Damage(block, start, stop, f"cannot be read ({first_line(error)})")
                continue
            if _digest(values) != self.digest(block):
                yield Damage(block, start, stop, DIFFERS)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self._digests)

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
        return Problem(where, damage.what, _mend(self.manifest_path))


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
        try:
            return np.asarray(self.array[start:stop])
        except (OSError, ValueError, RuntimeError) as error:
            what = f"rows {start} to {stop - 1} cannot be read ({first_line(error)})"
            raise UserError(Problem(str(self.path), what, _mend(self.manifest_path))) from None

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

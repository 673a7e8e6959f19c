"""Verified reading of finished stores."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.errors import Problem, UnreachableError, UserError, first_line, user_error
from transferscope.runtime.arrays import Values
from transferscope.stores import version_1
from transferscope.stores.block_store import (
    CONTENT,
    DONE,
    PARTS,
    UNREADABLE,
    attributes_of,
    keys_of_block,
    opened_group,
    read_ids,
)
from transferscope.stores.chunk_files import DamagedChunkError, in_parallel
from transferscope.stores.file_sums import FileSum
from transferscope.stores.manifest import (
    Manifest,
    digest_of_ids,
    folder_during_conversion,
    how_to_remake,
    place_of_store,
    refuse_newer,
)
from transferscope.transport.files import RemoteFile
from transferscope.transport.urls import joined
from transferscope.transport.zarr_limits import fault_of_array
from transferscope.transport.zarr_stores import portable_codecs

CONVERSION_CUT = "its conversion to the current format was cut short"
FINISH_CONVERSION = "Finish it: transferscope convert, with the config of the study."
DIFFERS = "its values differ from their checksum"


@dataclass(frozen=True)
class Damage:
    """A damaged block of a store.

    Parameters
    ----------
    block
        Block number, from 0.
    start, stop
        Its rows [start, stop).
    what
        Kind of damage.
    """

    block: int
    start: int
    stop: int
    what: str


# Arrays of names; all others that are read hold numbers.
TEXT_ARRAYS = ("tile_id",)


class DamagedBlockError(UserError):
    """A block of a store is damaged.

    Parameters
    ----------
    problem
        The damage and its fix.
    damage
        The block.
    """

    def __init__(self, problem: Problem, damage: Damage) -> None:
        super().__init__(problem)
        self.damage = damage


class StoreReader(ABC):
    """A finished store, checked against its manifest.

    Each chunk is verified while it is decoded. Of version 1, whole blocks are read and compared
    with their sha256.
    """

    format: str
    array_name: str

    def __init__(self, manifest: Path | str) -> None:
        self.manifest_path = manifest
        self.manifest = Manifest.read(manifest, self.format)
        self.path = place_of_store(manifest, self.manifest)
        try:
            if not self._has_its_files():
                refuse_newer(self.path, attributes_of(self.path).get("version"))
                raise self._disagrees()
            with portable_codecs() if self.is_remote else nullcontext():
                self._group: Any = opened_group(self.path)
                self.attributes: dict[str, Any] = dict(self._group.attrs)
                refuse_newer(self.path, self.attributes.get("version"))
                self.array: Any = self._group[self.array_name]
                self._parts = [self._group[name] for name in self.attributes.get(PARTS, ())]
            self._check_declared()
            self.block_rows = int(self.attributes["block_rows"])
            self.tile_ids = read_ids(self._group)
            agrees = (
                bool(self._group["done"][:].all())
                and self.attributes.get("fingerprint") == self.manifest.fingerprint
                and tuple(self.array.shape) == self.manifest.shape
                and digest_of_ids(self.tile_ids) == self.manifest.ids_sha256
                and self._has_its_sums()
            )
        except UNREADABLE as error:
            what = f"the store is missing or damaged ({first_line(error)})"
            raise self._broken(what) from None
        if not agrees:
            raise self._disagrees()
        if self.is_remote and self._old_sums is None:
            self.array.store.expect_all_chunks()

    def _disagrees(self) -> UserError:
        return self._broken(f"does not agree with its manifest {Path(self.manifest_path).name}")

    def _has_its_files(self) -> bool:
        """Compare all files that belong to no block, before anything is read from them."""
        files = self.manifest.files or {}
        # Without them, nothing vouches for the metadata; version 1 had none.
        return bool(files or self.manifest.version == 1) and all(
            hashlib.sha256(self._content(name)).hexdigest() == expected
            for name, expected in files.items()
        )

    def _check_declared(self) -> None:
        """Refuse arrays that would take far more than a store does, before any is read.

        Raises
        ------
        ValueError
            With what an array declares.
        """
        checked = [(self.array_name, self.array)]
        checked += zip(self.attributes.get(PARTS, ()), self._parts, strict=True)
        if not self.is_remote:  # where each look at metadata is a request
            checked += [(name, self._group[name]) for name in ("tile_id", "done", "digest")]
        for name, array in checked:
            if fault := fault_of_array(array, text=name in TEXT_ARRAYS):
                raise ValueError(f"array {name}: {fault}")

    def _has_its_sums(self) -> bool:
        """Read the blocks' sums."""
        self._old_sums = version_1.BlockSums(self._group) if self.manifest.version == 1 else None
        if self._old_sums is not None:
            self.blocks = self._old_sums.blocks
            return self._old_sums.agree_with(self.manifest)
        self._digests: Values = self._group["digest"][:]
        self.blocks = len(self._digests)
        digests_sha256 = hashlib.sha256(self._digests.tobytes()).hexdigest()
        return (
            self.attributes[CONTENT] == self.manifest.content_sha256
            and digests_sha256 == self.manifest.digests_sha256
        )

    def _content(self, name: str) -> bytes:
        """Return a file of the store."""
        if isinstance(self.path, Path):
            return (self.path / name).read_bytes()
        return RemoteFile(joined(self.path, name), 0).read_bytes()

    def _broken(self, what: str) -> UserError:
        if isinstance(self.path, Path) and self.is_being_converted(self.path):
            return user_error(self.path, CONVERSION_CUT, FINISH_CONVERSION)
        return user_error(self.path, what, how_to_remake(self.manifest_path, self.path))

    @staticmethod
    def is_being_converted(store: Path) -> bool:
        """Return whether a conversion of a store has begun and not ended."""
        return any(folder_during_conversion(store, kind).exists() for kind in ("old", "new"))

    @property
    def fingerprint(self) -> str:
        """Digest of all that the content depends on, 64 hexadecimal digits."""
        return self.manifest.fingerprint

    @property
    def content_sha256(self) -> str:
        """Identity of the values; see `Manifest`."""
        return self.manifest.content_sha256

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return isinstance(self.path, str)

    @property
    def dataset(self) -> str | None:
        """Name of its dataset; None: older versions do not say it.

        Published stores have the name of another study's dataset, which counts for nothing here.
        """
        return None if self.is_remote else self.attributes.get("dataset")

    def __len__(self) -> int:
        return self.manifest.shape[0]

    def sums(self) -> dict[str, str]:
        """Return the sha256 of each file, as it was written, by name; none in version 1."""
        if self._old_sums is not None:
            return {}
        found = dict(self.manifest.files or {})
        for block in range(self.blocks):
            sums = self._files_of(block) | self._notes_of(block)
            found |= {name: sum_.sha256.hex() for name, sum_ in sums.items()}
        return found

    def _files_of(self, block: int) -> dict[str, FileSum]:
        """Return the sum of each data file of a block, by name; those of the main array first."""
        keys = [key for part in self._parts for key in keys_of_block(part, block)]
        return dict(zip(keys, map(FileSum.from_record, self._digests[block]), strict=True))

    def strange_files(self) -> list[str]:
        """Return the names of files in a local store that are not part of it; none in version 1."""
        if self._old_sums is not None or not isinstance(self.path, Path):
            return []
        known = self.sums()
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        names = (name.as_posix() for name in found if not name.name.startswith("."))
        return sorted(name for name in names if name not in known)

    def _notes_of(self, block: int) -> dict[str, FileSum]:
        """Return the sums of the files that say what the block is, and that it is done, by name."""
        contents = {"digest": self._digests[block].tobytes(), "done": DONE}
        keys = {name: keys_of_block(self._group[name], block)[0] for name in contents}
        return {keys[name]: FileSum.of(content) for name, content in contents.items()}

    def damaged(self) -> Iterator[Damage]:
        """Yield the damaged blocks; every file of each is read and compared with its sha256.

        Raises
        ------
        UnreachableError
            If it is in an object store that cannot be reached.
        """
        for block in range(self.blocks):
            try:
                self._verify(block)
            except UnreachableError:
                raise
            except UserError as error:
                yield Damage(block, *self._rows_of(block), error.problems[0].what)
            except OSError as error:
                yield Damage(block, *self._rows_of(block), first_line(error))

    def _verify(self, block: int) -> None:
        """Compare the files of a block with what was written; of version 1, its values."""
        if self._old_sums is not None:
            self.block(block)
            return
        for name, expected in (self._files_of(block) | self._notes_of(block)).items():
            try:
                is_sound = expected.fits(self._content(name))
            except FileNotFoundError:
                is_sound = False
            if not is_sound:
                self.block(block)  # names the tiles, if it is them
                raise self.damaged_block(block)

    def block(self, block: int) -> Values:
        """Return the rows of a block; from an object store, with one request per file.

        Raises
        ------
        DamagedBlockError
            If they differ from their checksum.
        UserError
            If they cannot be read.
        """
        if self.is_remote:
            (name, *_) = keys_of_block(self.array, block)
            content = self.array.store.hold(name)
            if self._old_sums is None and not self._files_of(block)[name].fits(content):
                raise self.damaged_block(block)
        values = self.values(*self._rows_of(block))
        if self._old_sums is not None and not self._old_sums.fit(block, values):
            raise self.damaged_block(block)
        return values

    def damaged_block(self, block: int, what: str = DIFFERS) -> DamagedBlockError:
        """Return the error for a block that differs from its checksum."""
        damage = Damage(block, *self._rows_of(block), what)
        return DamagedBlockError(self.problem(damage), damage)

    def _rows_of(self, block: int) -> tuple[int, int]:
        """Return start and stop of the rows of a block."""
        start = block * self.block_rows
        return start, min(start + self.block_rows, len(self))

    def values(
        self, start: int, stop: int, columns: slice = slice(None), out: Values | None = None
    ) -> Values:
        """Return rows [start, stop) of the array; of version 1, they are not verified.

        Parameters
        ----------
        start, stop
            The rows.
        columns
            Along the second axis.
        out
            Contiguous array to read into; None: a new one.

        Raises
        ------
        DamagedBlockError
            If they differ from their checksum.
        UserError
            If they cannot be read.
        """
        stop = min(stop, len(self))
        try:
            if self._old_sums is not None or self.is_remote:
                return np.asarray(self.array[start:stop, columns])
            width = len(range(*columns.indices(self.array.shape[1])))
            if out is None:
                shape = (stop - start, width, *self.array.shape[2:])
                out = np.empty(shape, dtype=self.array.dtype)
            self._read_blocks(start, stop, columns, out)
        except (OSError, ValueError, RuntimeError) as error:
            what = f"rows {start} to {stop - 1} cannot be read ({first_line(error)})"
            raise self._broken(what) from None
        return out

    def _read_blocks(self, start: int, stop: int, columns: slice, out: Values) -> None:
        """Read rows [start, stop) of a local store into an array."""
        blocks = range(start // self.block_rows, -(-stop // self.block_rows))

        def read(first: int, last: int) -> None:
            for block in blocks[first:last]:
                base, end = self._rows_of(block)
                begin, finish = max(start, base), min(stop, end)
                part = out[begin - start : finish - start]
                self._read_part(block, begin, finish, columns, part)

        # A shard's chunks are decoded by several threads themselves.
        if self.array.shards:
            read(0, len(blocks))
        else:
            in_parallel(read, len(blocks), out.nbytes)

    def _read_part(self, block: int, start: int, stop: int, columns: slice, out: Values) -> None:
        """Read rows [start, stop), of one block, or raise a `DamagedBlockError`."""
        try:
            self._decode(block, start - block * self.block_rows, columns, out)
        except FileNotFoundError:
            raise self.damaged_block(block) from None
        except DamagedChunkError as error:
            of_tile = f": tile {self.tile_ids[start + error.row]}" if self.array.shards else ""
            raise self.damaged_block(block, f"{DIFFERS}{of_tile}") from None

    @abstractmethod
    def _decode(self, block: int, first: int, columns: slice, out: Values) -> None:
        """Read rows of a local block, from its row `first` on, as many as `out` has."""

    def check(self) -> None:
        """Read all blocks and compare them with their checksums.

        Raises
        ------
        UserError
            Naming each damaged block and its fix.
        """
        if problems := [self.problem(damage) for damage in self.damaged()]:
            raise UserError(problems)

    def problem(self, damage: Damage) -> Problem:
        """Return the problem of a damaged block, with its fix."""
        rows = f"rows {damage.start} to {damage.stop - 1}"
        where = f"{self.path}, block {damage.block} ({rows})"
        return Problem(where, damage.what, how_to_remake(self.manifest_path, self.path))

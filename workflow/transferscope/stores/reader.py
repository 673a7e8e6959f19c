"""Verified reading of finished stores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.errors import Problem, UnreachableError, UserError, first_line, user_error
from transferscope.runtime.arrays import Values
from transferscope.stores.block_store import content_digest, opened_group, read_ids
from transferscope.stores.manifest import (
    Manifest,
    digest_of_ids,
    how_to_remake,
    place_of_store,
)
from transferscope.transport.zarr_stores import portable_codecs

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


class StoreReader:
    """A finished store, checked against its manifest."""

    format: str
    array_name: str

    def __init__(self, manifest: Path | str) -> None:
        self.manifest_path = manifest
        self.manifest = Manifest.read(manifest, self.format)
        self.path = place_of_store(manifest, self.manifest)
        try:
            with portable_codecs() if self.is_remote else nullcontext():
                group: Any = opened_group(self.path)
                self.attributes: dict[str, Any] = dict(group.attrs)
                self.array: Any = group[self.array_name]
                self.block_rows = int(self.attributes["block_rows"])
                self.tile_ids = read_ids(group)
                complete = bool(group["done"][:].all())
                self._digests = group["digest"][:]
                content = hashlib.sha256(self._digests.tobytes()).hexdigest()
        # zarrs reports damage as RuntimeError.
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            what = f"the store is missing or damaged ({first_line(error)})"
            raise self._broken(what) from None
        agrees = (
            complete
            and self.attributes.get("fingerprint") == self.manifest.fingerprint
            and tuple(self.array.shape) == self.manifest.shape
            and digest_of_ids(self.tile_ids) == self.manifest.ids_sha256
            and content == self.manifest.content_sha256
        )
        if not agrees:
            raise self._broken(f"does not agree with its manifest {Path(manifest).name}")

    def _broken(self, what: str) -> UserError:
        return user_error(self.path, what, how_to_remake(self.manifest_path, self.path))

    @property
    def fingerprint(self) -> str:
        """Digest of all that the content depends on, 64 hexadecimal digits."""
        return self.manifest.fingerprint

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return isinstance(self.path, str)

    def __len__(self) -> int:
        return self.manifest.shape[0]

    def damaged(self) -> Iterator[Damage]:
        """Yield the damaged blocks; all are read.

        Raises
        ------
        UnreachableError
            If it is in an object store that cannot be reached.
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

    def block(self, block: int) -> Values:
        """Return the rows of a block; from an object store, with one request.

        Raises
        ------
        DamagedBlockError
            If they differ from their checksum.
        UserError
            If they cannot be read.
        """
        if self.is_remote:
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

    def _values(self, start: int, stop: int) -> Values:
        """Return rows [start, stop) of the array, or raise a `UserError`."""
        try:
            return np.asarray(self.array[start:stop])
        except (OSError, ValueError, RuntimeError) as error:
            what = f"rows {start} to {stop - 1} cannot be read ({first_line(error)})"
            raise self._broken(what) from None

    def digest(self, block: int) -> bytes:
        """Return the recorded sha256 of a block."""
        return bytes(self._digests[block].tobytes())

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

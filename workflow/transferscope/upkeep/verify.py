"""Verification of all stores and tables of a study on disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from transferscope.config.paths import StudyPaths
from transferscope.errors import UnreachableError, UserError
from transferscope.stores.block_store import BlockStore, attributes_of
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import Manifest, store_of
from transferscope.stores.parquet import read_parquet
from transferscope.stores.reader import StoreReader
from transferscope.stores.tile_store import TileStore
from transferscope.transport.access import PUBLISH_AGAIN

# Pattern of the manifests in a study's folder -> what reads their stores.
READERS: dict[str, type[StoreReader]] = {
    "tiles/*.json": TileStore,
    "embeddings/*/*/*.json": EmbeddingStore,
}


@dataclass(frozen=True)
class Fault:
    """A damaged store or table.

    Parameters
    ----------
    file
        Manifest of the store, or the table.
    what
        What is wrong.
    block
        Block of the store; None: the whole file.
    is_far
        Whether it is a published store elsewhere, which has to be repaired there.
    """

    file: Path
    what: str
    block: int | None = None
    is_far: bool = False

    @property
    def is_store(self) -> bool:
        """Whether it is a store, described by a manifest."""
        return self.file.suffix == ".json"

    def repair(self, snakemake: str) -> str:
        """Return the commands that make the file again, or another way to repair it.

        Parameters
        ----------
        snakemake
            The command that runs the study.
        """
        if self.is_far:
            return PUBLISH_AGAIN
        removed = [self.file, store_of(self.file)] if self.is_store else [self.file]
        return f"rm -rf {' '.join(map(str, removed))} && {snakemake}"


@dataclass(frozen=True)
class Verified:
    """Result of a verification.

    Parameters
    ----------
    stores, blocks, tables
        Numbers that were read.
    faults
        Damage that was found.
    """

    stores: int
    blocks: int
    tables: int
    faults: list[Fault]


def verify(root: Path) -> Verified:
    """Compare every store and table of a study with manifests and checksums.

    Parameters
    ----------
    root
        Folder of the study, `<results>/<study>`.

    Raises
    ------
    UnreachableError
        If an object store with published tiles cannot be reached.
    """
    readers: dict[Path, StoreReader] = {}
    faults: list[Fault] = []
    manifests = manifests_in(root)
    for manifest, kind in manifests:
        try:
            readers[manifest] = kind(manifest)
        except UnreachableError:
            raise
        except UserError as error:
            far = _is_far(manifest, kind)
            faults += [Fault(manifest, problem.what, is_far=far) for problem in error.problems]
    for manifest, reader in readers.items():
        far_place = f" of {reader.path}" if reader.is_remote else ""
        for damage in reader.damaged():
            what = f"rows {damage.start} to {damage.stop - 1}{far_place}: {damage.what}"
            faults.append(Fault(manifest, what, damage.block, is_far=reader.is_remote))
    tables = [path for path in _named(root.rglob("*.parquet")) if not _in_store(path)]
    faults += [fault for table in tables for fault in _table_faults(root, table)]
    blocks = sum(reader.blocks for reader in readers.values())
    return Verified(len(manifests), blocks, len(tables), faults)


def _is_far(manifest: Path, kind: type[StoreReader]) -> bool:
    try:
        return Manifest.read(manifest, kind.format).store is not None
    except UserError:
        return False


def repair(found: list[Fault]) -> list[Fault]:
    """Remove damaged files, so that the next run makes them again; intact blocks are kept.

    Parameters
    ----------
    found
        Result of `verify`.

    Returns
    -------
    list of Fault
        Damage that cannot be repaired here.
    """
    faults = [fault for fault in found if not fault.is_far]
    # Whole stores first: nothing is left to do for their blocks.
    for fault in sorted(faults, key=lambda fault: fault.block is not None):
        store = store_of(fault.file)
        if fault.block is None and fault.is_store:
            fault.file.unlink(missing_ok=True)
            shutil.rmtree(store, ignore_errors=True)
        elif fault.block is not None and attributes_of(store).get("version") == 1:
            # The next run converts the store, without this block.
            (store / "done" / "c" / str(fault.block)).unlink(missing_ok=True)
        elif fault.block is not None and store.is_dir():
            reader = TileStore if fault.file.parent.name == "tiles" else EmbeddingStore
            BlockStore(store, reader.array_name).forget(fault.block)
    for fault in faults:
        # Last: without the manifest, the next run fills the blocks whose flags are missing.
        fault.file.unlink(missing_ok=True)
    return [fault for fault in found if fault.is_far]


def reader_of(name: str) -> type[StoreReader] | None:
    """Return the reader for the store of a manifest; None: the file is not a manifest.

    Parameters
    ----------
    name
        Path relative to the study's folder.
    """
    path = PurePosixPath("/", name)
    return next((kind for pattern, kind in READERS.items() if path.match(f"/{pattern}")), None)


def manifests_in(root: Path) -> list[tuple[Path, type[StoreReader]]]:
    """Return the manifest of every store, even if the config does not name it any more."""
    return [
        (path, kind) for pattern, kind in READERS.items() for path in _named(root.glob(pattern))
    ]


def _named(paths: Iterable[Path]) -> list[Path]:
    """Return files in order, without those that are hidden."""
    return [path for path in sorted(paths) if not path.name.startswith(".")]


def _in_store(path: Path) -> bool:
    return any(folder.suffix == ".zarr" for folder in path.parents)


def _table_faults(root: Path, path: Path) -> Iterator[Fault]:
    """Yield the faults of a table, by itself and compared with the tile store of its dataset."""
    try:
        table = read_parquet(path)
    except UserError as error:
        yield from (Fault(path, problem.what) for problem in error.problems)
        return
    store = _tile_store(root, path)
    if store is not None and (what := _mismatch(table, store)):
        yield Fault(path, what)


def _mismatch(table: pd.DataFrame, store: TileStore) -> str | None:
    """Return why a table does not match the tiles of a store, in order or by column `row`."""
    if "row" not in table:
        if "tile_id" in table and list(table["tile_id"]) != store.tile_ids:
            return f"its {len(table)} rows are not the {len(store)} tiles of the store"
    elif not len(table) or not table["row"].between(0, len(store) - 1).all():
        return f"names rows that the tile store of {len(store)} tiles does not have"
    elif "tile_id" in table:
        expected = pd.Series(store.tile_ids).iloc[table["row"]].to_numpy()
        if (table["tile_id"].to_numpy() != expected).any():
            return "its tile ids are not those of the tile store"
    return None


def _tile_store(root: Path, path: Path) -> TileStore | None:
    """Return the tile store that a table of tiles, labels, splits or predictions refers to."""
    paths = StudyPaths(root)
    dataset = path.name.partition(".")[0]
    parts = path.relative_to(root).parts
    if path not in {paths.tile_table(dataset), paths.relabelled(dataset), paths.splits(dataset)}:
        is_predictions = parts[0] == "scores" and path.name.endswith(".predictions.parquet")
        if not is_predictions or parts[1] == "aggregate":
            return None
        dataset = parts[2]
    try:
        return TileStore(paths.tiles(dataset))
    except UserError:
        return None

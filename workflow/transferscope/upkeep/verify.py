"""Verification of all stores and tables of a study on disk."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from transferscope.config.paths import StudyPaths
from transferscope.errors import Problem, UnreachableError, UserError, first_line
from transferscope.runtime.atomic_files import remove_durably
from transferscope.steps.freshness import CUT_SHORT, outdated_jobs
from transferscope.steps.plan import Plan
from transferscope.stores.block_store import BlockStore, attributes_of, main_array
from transferscope.stores.manifest import UPDATE, Manifest, store_of
from transferscope.stores.parquet import read_parquet
from transferscope.stores.reader import FINISH_CONVERSION, StoreReader
from transferscope.stores.tile_store import TileStore
from transferscope.upkeep.faults import Fault
from transferscope.upkeep.identity import differences
from transferscope.upkeep.layout import results_below
from transferscope.upkeep.listed import Listing, expected_files
from transferscope.upkeep.manifests import manifests_in
from transferscope.upkeep.status import is_running

RUN_AGAIN = "Run the study again: it makes this anew."


@dataclass(frozen=True)
class Verified:
    """Result of a verification.

    Parameters
    ----------
    stores, blocks, tables
        Numbers that were read.
    files
        Number of other files that were compared with what the jobs have recorded.
    faults
        Damage that was found.
    unchecked
        Files of the study that no job has recorded: of an older version, or their record is gone;
        and stores of version 1, whose metadata have no checksum.
    others
        Files that the study does not ask for and no job has recorded.
    """

    stores: int
    blocks: int
    tables: int
    files: int
    faults: list[Fault]
    unchecked: list[Path]
    others: list[Path]

    @property
    def is_sound(self) -> bool:
        """Whether every file of the study is what was written."""
        return not self.faults and not self.unchecked


def verify(root: Path, plan: Plan | None = None) -> Verified:
    """Compare every file of a study with what was written, and with what the study asks for.

    Parameters
    ----------
    root
        Folder of the study, `<results>/<study>`.
    plan
        What the study asks for; None: this is not known, and nothing is compared with it.

    Raises
    ------
    UnreachableError
        If an object store with published tiles cannot be reached.
    """
    paths = StudyPaths(root)
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
            faults += [
                Fault(manifest, problem.what, is_far=far, fix=_other_fix(problem))
                for problem in error.problems
            ]
    for manifest, reader in readers.items():
        far_place = f" of {reader.path}" if reader.is_remote else ""
        for damage in reader.damaged():
            what = f"rows {damage.start} to {damage.stop - 1}{far_place}: {damage.what}"
            faults.append(Fault(manifest, what, damage.block, is_far=reader.is_remote))
        if strange := reader.strange_files():
            what = f"its store holds files that are not part of it, such as {strange[0]}"
            removal = shlex.join(["rm", *(str(store_of(manifest) / name) for name in strange)])
            fix = f"Remove them: {removal}"
            faults.append(Fault(manifest, what, fix=fix))
    found = differences(paths, readers, plan)
    faults += [Fault(manifest, f"is another store: {what}") for manifest, what in found]
    listing = Listing.of(paths)
    altered = listing.altered()
    known = {fault.file for fault in faults}
    faults += [fault for fault in altered if fault.file not in known]
    faults += [*listing.faults, *listing.cut_short(is_running)]
    if plan is not None:
        faults += _outdated(plan)
    tables = [path for path in results_below(root, root) if path.suffix == ".parquet"]
    changed = {fault.file for fault in altered}
    faults += [
        fault
        for table in tables
        if table not in changed
        for fault in _table_faults(root, table, readers)
    ]
    unlisted = set(listing.unlisted())
    asked = expected_files(plan) if plan is not None else unlisted
    unchecked = {path for path in unlisted if not asked.isdisjoint((path, *path.parents))}
    others = unlisted - unchecked
    # Their metadata have no checksum.
    old = (manifest for manifest, reader in readers.items() if reader.manifest.version == 1)
    unchecked |= {store_of(manifest) for manifest in old}
    return Verified(
        stores=len(manifests),
        blocks=sum(reader.blocks for reader in readers.values()),
        tables=len(tables),
        files=len(listing.files),
        faults=faults,
        unchecked=sorted(unchecked),
        others=sorted(others),
    )


def _other_fix(problem: Problem) -> str | None:
    """Return the fix of a problem that must not be repaired by making the store again."""
    return problem.fix if problem.fix in (UPDATE, FINISH_CONVERSION) else None


def _outdated(plan: Plan) -> Iterator[Fault]:
    """Yield the results that were made from something else than the study asks for now."""
    for one in outdated_jobs(plan, is_running):
        if CUT_SHORT not in one.reasons:
            what = (
                f"was made from something else than the study asks for now: "
                f"{', '.join(one.reasons)}"
            )
            yield Fault(one.files[-1], what, fix=RUN_AGAIN)


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
    faults = [fault for fault in found if not fault.is_far and fault.fix is None]
    # Whole stores first: nothing is left to do for their blocks.
    for fault in sorted(faults, key=lambda fault: fault.block is not None):
        store = store_of(fault.file)
        if fault.block is None and fault.is_store:
            remove_durably(fault.file)
            shutil.rmtree(store, ignore_errors=True)
        elif fault.block is not None and attributes_of(store).get("version") == 1:
            # The next run converts the store, without this block.
            (store / "done" / "c" / str(fault.block)).unlink(missing_ok=True)
        elif fault.block is not None and store.is_dir():
            BlockStore(store, main_array(store)).forget(fault.block)
    for fault in faults:
        # Last: without the manifest, the next run fills the blocks whose flags are missing.
        for path in (fault.file, *fault.outputs):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    return [fault for fault in found if fault not in faults]


def _table_faults(root: Path, path: Path, readers: Mapping[Path, StoreReader]) -> Iterator[Fault]:
    """Yield the faults of a table, by itself and compared with the tile store of its dataset."""
    try:
        table = read_parquet(path)
    except UserError as error:
        yield from (Fault(path, problem.what) for problem in error.problems)
        return
    except Exception as error:  # what damage makes a reader raise
        yield Fault(path, f"cannot be read ({first_line(error)})")
        return
    store = _tile_store(root, path, readers)
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


def _tile_store(root: Path, path: Path, readers: Mapping[Path, StoreReader]) -> TileStore | None:
    """Return the tile store that a table of tiles, labels, splits or predictions refers to."""
    paths = StudyPaths(root)
    dataset = path.name.partition(".")[0]
    parts = path.relative_to(root).parts
    if path not in {paths.tile_table(dataset), paths.relabelled(dataset), paths.splits(dataset)}:
        is_predictions = parts[0] == "scores" and path.name.endswith(".predictions.parquet")
        if not is_predictions or parts[1] == "aggregate":
            return None
        dataset = parts[2]
    found = readers.get(paths.tiles(dataset))
    return found if isinstance(found, TileStore) else None

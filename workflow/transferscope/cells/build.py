"""Raw fields become a store of single-cell tiles: segmented first, then cut.

How many cells there are is known only when all fields are segmented. So a first pass over the
fields finds, measures and chooses the cells, and keeps a record of each field next to the store; a
second one cuts the tiles, in the order of the sheet, block by block. Both resume after a kill,
hold in parts of a few fields and give equal bytes with any number of workers.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.cells import VERSION
from transferscope.cells.cutting import cut_blocks
from transferscope.cells.field import record_field
from transferscope.cells.overlays import draw_overlays
from transferscope.cells.plan import CellPlan, make_cell_plan
from transferscope.cells.plausibility import plausibility_table
from transferscope.cells.records import DROPPED, FieldRecord, RecordFolder
from transferscope.cells.tables import write_quality, write_tile_table
from transferscope.errors import Problem, UserError
from transferscope.raw.masks import mask_columns
from transferscope.raw.names import warn_of_names
from transferscope.raw.one_place import equal_planes
from transferscope.raw.raw_files import raw_digest
from transferscope.raw.sheets import read_sheet, report_repeats
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.spreadsheets import guarded
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import store_of
from transferscope.tiles.blocks import BlockLog, Skipped
from transferscope.tiles.decoding import SKIP_FIX
from transferscope.tiles.finishing import look_at_tiles
from transferscope.tiles.plan import skip_field, skip_tile
from transferscope.tiles.store import drop_outdated, open_tile_store
from transferscope.tiles.tables import write_skipped

logger = logging.getLogger(__name__)


def make_cells(
    sheet_path: Path,
    card: DatasetCard,
    *,
    manifest: Path,
    tile_table: Path,
    quality: Path,
    skipped: Path,
    plausibility: Path,
    overlays: Path,
    bad_tiles: str = "stop",
    look: str = "warn",
    workers: int = 2,
) -> None:
    """Segment the fields of a cell dataset and cut one tile per cell.

    Parameters
    ----------
    sheet_path
        The sample sheet, one row per field.
    card
        A dataset with `cells`.
    manifest
        Manifest to write, last of all; the store and the records of the fields lie next to it.
    tile_table
        Parquet to write: one row per tile in store order, with the measures of its cell.
    quality
        CSV to write: one row per tile and channel, see `Quality`.
    skipped
        TSV to write: the fields that give no tile, and why.
    plausibility
        CSV to write: one row per field.
    overlays
        Folder to draw outlines into; what it held is removed.
    bad_tiles
        What to do about an unusable field or mask: `stop` (all of them are named at the end) or
        `skip`. A field in which no cell is found is left out in both cases, and said to be.
    look
        What to do about doubtful pixels, see `doubts_about`: `warn` or `stop`.
    workers
        Fields at a time.

    Raises
    ------
    UserError
        With every problem of the sheet, the headers, the masks or the pixels.
    """
    skip = bad_tiles == "skip"
    sheet = read_sheet(sheet_path, card)
    warn_of_names(sheet.table, card, sheet_path)
    plan = make_cell_plan(sheet, card, skip=skip)
    folder = _records_of(plan, manifest)
    left_out = [*plan.skipped, *_segment(plan, folder, skip=skip, workers=workers)]
    positions = list(filter(folder.has, plan.positions))
    with_cells: dict[int, int] = {}
    tile_ids: list[str] = []
    prints = []
    for position in positions:
        record = folder.read(position)
        prints.append((position, record.prints))
        if record.kept:
            with_cells[position] = record.kept
            tile_ids += plan.tile_ids(position, record.numbers)
        else:
            left_out.append(_without_cells(plan, position, record))
    report_repeats(plan.sheet, card, equal_planes(prints, len(card.channels)), "pixels")
    _warn_of_masks(plan, folder, positions, plausibility)
    if not tile_ids:
        what = f"no cell is left of {len(plan.sheet)} fields; first: {left_out[0].reason}"
        fix = "Check `cells.segmentation` and the limits in `cells.crop`."
        raise UserError(Problem(str(sheet_path), what, fix))
    store = _open(plan, manifest, tile_ids)
    cut_blocks(plan, folder, store, with_cells, workers)
    write_tile_table(plan, folder, list(with_cells), tile_table)
    write_quality(plan, folder, list(with_cells), quality)
    write_skipped(left_out, skipped)
    table = plausibility_table(plan, folder, positions)
    write_atomically(plausibility, guarded(table).to_csv(index=False, float_format="%.6g"))
    draw_overlays(plan, folder, positions, overlays, workers)
    if left_out:
        logger.warning("%d fields were left out: see %s", len(left_out), skipped)
    measured = np.concatenate([folder.read(position).quality for position in with_cells])
    what = f"the tiles of {card.name}"
    look_at_tiles(store, card, measured, tile_table, what, look, workers)
    store.finish(manifest)


def _records_of(plan: CellPlan, manifest: Path) -> RecordFolder:
    """Return the folder of the records, emptied with the store where the input has changed."""
    path, store = manifest.with_suffix(".fields"), store_of(manifest)
    stamps = raw_digest(plan.sheet, mask_columns(plan.sheet, plan.card))
    log = BlockLog(path, fingerprint([_made_from(plan), stamps]))
    drop_outdated(log, store)
    return RecordFolder(path)


def _made_from(plan: CellPlan) -> str:
    """Digest what cells are made from, the same in every run on the same data."""
    files = [*plan.sheet.file_columns, *mask_columns(plan.sheet, plan.card), "tile_id"]
    sources = plan.sheet.table[files].to_numpy().tolist()
    return fingerprint([VERSION, plan.card.image_fingerprint(), sources])


def _segment(plan: CellPlan, folder: RecordFolder, *, skip: bool, workers: int) -> list[Skipped]:
    """Make the records that are missing; return the fields that cannot be used."""
    problems: list[Problem] = []
    left_out: list[Skipped] = []
    description = f"Segmentation of {plan.card.name}"
    record = partial(record_field, plan, folder)
    with progress_bar(description, len(plan.positions), "fields") as bar:
        for position, found in ordered_map(record, plan.positions, workers):
            bar.update()
            if found and skip:
                left_out.append(skip_field(plan.sheet, position, found))
            for problem in [] if skip else found:
                logger.error("%s", problem)
                fix = f"{problem.fix} {SKIP_FIX}"
                problems.append(Problem(problem.where, problem.what, fix))
    if problems:
        raise UserError(problems)
    return left_out


def _warn_of_masks(plan: CellPlan, folder: RecordFolder, positions: list[int], table: Path) -> None:
    doubts = [(at, text) for at in positions if (text := folder.read(at).doubts)]
    if doubts:
        first, text = doubts[0]
        more = f" (and {len(doubts) - 1:,} more masks: see {table})" if len(doubts) > 1 else ""
        logger.warning("%s: the mask is odd: %s%s", plan.sheet.place(first), text, more)


def _without_cells(plan: CellPlan, position: int, record: FieldRecord) -> Skipped:
    counts = [f"{record.dropped[name]} {name}" for name in DROPPED if record.dropped[name]]
    what = f"all cells were dropped: {', '.join(counts)}" if counts else "no cell was found"
    return skip_tile(plan.sheet, position, plan.sheet.tile_ids[position], what)


def _open(plan: CellPlan, manifest: Path, ids: list[str]) -> BlockStore:
    return open_tile_store(
        manifest,
        plan.card,
        ids=ids,
        tile_shape=plan.tile_shape,
        dtype=plan.dtype,
        pixel_size_um=plan.pixel_size_um,
        made_from=fingerprint([_made_from(plan), ids]),
    )

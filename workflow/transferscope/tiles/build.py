"""Raw fields become a tile store: each file is decoded once, and a killed job resumes.

Headers fix which rows there will be. Then fields are decoded in parallel and written in the order
of the sheet, block by block, with a bounded number of fields in memory. Tiles that turn out to
be unusable are left out on the way (`skip`), or all reported at the end (`stop`).
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.names import warn_of_names
from transferscope.raw.one_place import equal_planes
from transferscope.raw.raw_files import raw_digest
from transferscope.raw.sheets import read_sheet, report_repeats
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import store_of
from transferscope.stores.parquet import write_parquet
from transferscope.tiles import VERSION
from transferscope.tiles.blocks import BlockLog, Entry, LoggedTile
from transferscope.tiles.decoding import SKIP_FIX, decode_from, problems_of
from transferscope.tiles.finishing import look_at_tiles
from transferscope.tiles.plan import TilePlan, make_plan
from transferscope.tiles.store import drop_outdated, open_tile_store
from transferscope.tiles.tables import FIRST_COLUMNS, quality_table, write_quality, write_skipped
from transferscope.tiles.writer import TileWriter

logger = logging.getLogger(__name__)


def make_tiles(
    sheet_path: Path,
    card: DatasetCard,
    *,
    manifest: Path,
    tile_table: Path,
    quality: Path,
    skipped: Path,
    bad_tiles: str = "stop",
    look: str = "warn",
    workers: int = 2,
) -> None:
    """Decode the raw fields of a dataset into a tile store, and describe its tiles.

    Parameters
    ----------
    sheet_path
        The sample sheet.
    card
        The dataset.
    manifest
        Manifest to write, last of all; the store and its log lie next to it.
    tile_table
        Parquet to write: one row per tile in store order.
    quality
        CSV to write: one row per tile and channel, see `Quality`.
    skipped
        TSV to write: the fields and tiles left out, and why.
    bad_tiles
        What to do about an unusable field or a tile that is constant in every channel: `stop`
        (all of them are named at the end) or `skip`.
    look
        What to do about doubtful pixels, see `doubts_about`: `warn` or `stop`.
    workers
        Fields decoded at a time.

    Raises
    ------
    UserError
        With every problem of the sheet, the headers or the pixels, and its file and row; at the
        end, where fields of several groups have the same pixels, or pixels are doubtful.
    """
    skip = bad_tiles == "skip"
    sheet = read_sheet(sheet_path, card)
    warn_of_names(sheet.table, card, sheet_path)
    plan = make_plan(sheet, card, skip=skip)
    store, log = _open(plan, manifest)
    entries = log.read(store)
    if not skip:
        _refuse_earlier_skips(plan, entries)
    _fill(plan, store, log, entries, skip=skip, workers=workers)
    prints = [one for entry in entries for one in entry.prints]
    report_repeats(plan.sheet, card, equal_planes(prints, len(card.channels)), "pixels")
    tiles = [tile for entry in entries for tile in entry.tiles]
    left_out = [*plan.skipped, *(skip for entry in entries for skip in entry.skipped)]
    write_parquet(_tile_table(plan, tiles), tile_table, {"dataset": card.name})
    write_quality((_quality_table(plan, entry) for entry in entries), quality)
    write_skipped(left_out, skipped)
    if left_out:
        logger.warning("%d fields or tiles were left out: see %s", len(left_out), skipped)
    measured = np.array([tile.quality for tile in tiles])
    what = f"the tiles of {card.name}"
    look_at_tiles(store, card, measured, tile_table, what, look, workers)
    store.finish(manifest)


def _refuse_earlier_skips(plan: TilePlan, entries: list[Entry]) -> None:
    """Raise where an interrupted run with `skip` has left out what must now stop."""
    left_out = [skipped for entry in entries for skipped in entry.skipped]
    if left_out:
        raise UserError(
            Problem(f"{plan.sheet.path}, row {one.row}: {one.source}", one.reason, SKIP_FIX)
            for one in left_out
        )


def _open(plan: TilePlan, manifest: Path) -> tuple[BlockStore, BlockLog]:
    """Open the store to resume it, or make it anew where anything it depends on differs."""
    path, ids = store_of(manifest), plan.tile_ids()
    sources = [plan.sheet.source(planned.position) for planned in plan.fields]
    # The same in every run on the same data; the log's digest holds file times, too.
    made_from = fingerprint([VERSION, plan.card.image_fingerprint(), sources, ids])
    inputs = fingerprint([made_from, raw_digest(plan.sheet)])
    log = BlockLog(manifest.with_suffix(".blocks"), inputs)
    drop_outdated(log, path)
    store = open_tile_store(
        manifest,
        plan.card,
        ids=ids,
        tile_shape=plan.tile_shape,
        dtype=plan.dtype,
        pixel_size_um=plan.pixel_size_um(),
        made_from=made_from,
    )
    return store, log


def _fill(
    plan: TilePlan,
    store: BlockStore,
    log: BlockLog,
    entries: list[Entry],
    *,
    skip: bool,
    workers: int,
) -> None:
    """Write the blocks that are missing, appending their log entries to `entries`."""
    writer = TileWriter(plan, store, log, entries)
    problems: list[Problem] = []
    doubts: list[str] = []
    first = writer.entry.next_field
    counts = [len(planned.places) for planned in plan.fields]
    done = sum(counts[:first]) + writer.entry.next_tile
    with progress_bar(f"Tiles of {plan.card.name}", sum(counts), "tiles", initial=done) as bar:
        for index, decoded in decode_from(plan, first, workers):
            bar.update(counts[index])
            if decoded.doubt:
                place = plan.sheet.place(plan.fields[index].position)
                doubts.append(f"{place}: {decoded.doubt}")
            found = [] if skip else problems_of(plan, index, decoded)
            for problem in found:
                logger.error("%s", problem)
            problems += found
            if not problems:  # a row that is missing would move all that follow
                writer.add(index, decoded)
    if doubts:
        more = f" (and {len(doubts) - 1:,} more fields)" if len(doubts) > 1 else ""
        logger.warning("%s%s", doubts[0], more)
    if problems:
        raise UserError(problems)
    writer.finish()


def _tile_table(plan: TilePlan, tiles: list[LoggedTile]) -> pd.DataFrame:
    """Return one row per tile: id, group, labels, fov, batch, carried columns, source, y and x."""
    sheet = plan.sheet
    table = sheet.table.iloc[[tile.position for tile in tiles]].reset_index(drop=True)
    carried = [c for c in table.columns if c not in (*FIRST_COLUMNS, *sheet.file_columns)]
    return table[[*FIRST_COLUMNS, *carried]].assign(
        tile_id=[plan.tile_id(tile.position, tile.y, tile.x) for tile in tiles],
        source=[sheet.source(tile.position) for tile in tiles],
        y=[tile.y for tile in tiles],
        x=[tile.x for tile in tiles],
    )


def _quality_table(plan: TilePlan, entry: Entry) -> pd.DataFrame:
    ids = [plan.tile_id(tile.position, tile.y, tile.x) for tile in entry.tiles]
    return quality_table(ids, plan.card.channels, np.array([tile.quality for tile in entry.tiles]))

"""The masks of a dataset become its target store: decoded once; a killed job resumes.

The tiles are finished, so all rows are known: fields are decoded in parallel and in order, cut
where their tiles were cut, and written block by block.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.cells.mask_doubts import mask_doubts
from transferscope.cells.segmentation.segmented import counted
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import first_problems, in_row
from transferscope.raw.masks import CELL_MASK, mask_file, read_mask
from transferscope.raw.raw_files import files_digest
from transferscope.raw.sheets import read_sheet
from transferscope.runtime.arrays import Masks
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TARGETS_FORMAT, store_of
from transferscope.stores.target_store import IGNORE, TargetStore
from transferscope.targets import LOOKED_AT, VERSION
from transferscope.targets.plan import MaskedField, TargetPlan, make_target_plan
from transferscope.targets.tables import doubts, target_table, write_target_table
from transferscope.targets.values import target_values
from transferscope.tiles.blocks import BlockLog
from transferscope.tiles.store import drop_outdated, rows_per_block
from transferscope.tiles.tiling import nearest, padded, resampled_shape, visible_part

UNKNOWN = np.array([IGNORE], np.uint32)
LEAVE_OUT = "To go on without it, leave its cell in the column mask empty."

logger = logging.getLogger(__name__)


def make_targets(
    sheet_path: Path,
    card: DatasetCard,
    tiles: Path,
    *,
    manifest: Path,
    table: Path,
    workers: int = 2,
) -> None:
    """Decode the masks of a dataset into a target store, and describe them.

    Parameters
    ----------
    sheet_path
        The sample sheet, with a column `mask`.
    card
        A dataset with `masks`.
    tiles
        Manifest of its tile store.
    manifest
        Manifest to write, last of all; the store and its log lie next to it.
    table
        CSV to write: one row per tile, see `targets.tables`.
    workers
        Fields at a time.

    Raises
    ------
    UserError
        With every problem of the masks, each with file and row.
    """
    sheet = read_sheet(sheet_path, card)
    plan = make_target_plan(sheet, card, tiles)
    store = _open(plan, manifest)
    _fill(plan, store, workers)
    store.finish(manifest)
    found = target_table(TargetStore(manifest))
    for doubt in doubts(found, plan.settings, card.name):
        logger.warning("%s", doubt)
    write_target_table(found, table)


def _open(plan: TargetPlan, manifest: Path) -> BlockStore:
    """Open the store to resume it, or make it anew where anything it depends on differs."""
    settings, tiles = plan.settings, plan.tiles
    named = plan.sheet.table[["tile_id", CELL_MASK]].to_numpy().tolist()
    meant = settings.model_dump(mode="json")
    made_from = fingerprint([VERSION, meant, tiles.fingerprint, tiles.manifest.ids_sha256, named])
    # File times count while it is made; the store's fingerprint is the same in every run.
    inputs = fingerprint([made_from, files_digest(plan.sheet, [CELL_MASK])])
    drop_outdated(BlockLog(manifest.with_suffix(".blocks"), inputs), store_of(manifest))
    height, width = tiles.tile_size
    return BlockStore.open_or_create(
        store_of(manifest),
        format=TARGETS_FORMAT,
        array=TargetStore.array_name,
        fingerprint=made_from,
        shape=(len(tiles), height, width),
        dtype=np.uint32,
        block_rows=rows_per_block(height * width * UNKNOWN.itemsize, len(tiles)),
        ids=tiles.tile_ids,
        attributes={
            "dataset": plan.card.name,
            "tiles_sha256": tiles.content_sha256,
            "kind": settings.kind,
            "classes": list(settings.names),
            "without_mask": [list(part) for part in plan.without_mask],
        },
    )


def _fill(plan: TargetPlan, store: BlockStore, workers: int) -> None:
    """Write the blocks that are missing; all bad masks are reported at the end."""
    rows = store.block_rows
    missing = {block for block, _, _ in store.missing()}
    needed = [
        field
        for field in plan.fields
        if not missing.isdisjoint(range(field.start // rows, -(-field.stop // rows)))
    ]
    problems: list[Problem] = []
    odd: list[str] = []
    block = np.empty((rows, *plan.tiles.tile_size), np.uint32)
    with progress_bar(f"Masks of {plan.card.name}", len(needed), "fields") as bar:
        for field, found in ordered_map(partial(_decode, plan), needed, workers):
            bar.update()
            if isinstance(found, UserError):
                problems += in_row(plan.sheet, field.planned.position, found)
                continue
            if found.doubts:
                odd.append(f"{plan.sheet.place(field.planned.position)}: {found.doubts}")
            for row, values in enumerate(found.targets, start=field.start):
                number, within = divmod(row, rows)
                block[within] = values
                is_last = within == rows - 1 or row == store.rows - 1
                if is_last and number in missing and not problems:
                    store.write_block(number, block[: within + 1])
    if odd:
        more = f" (and {len(odd) - 1:,} more masks)" if len(odd) > 1 else ""
        logger.warning("%s%s", odd[0], more)
    if problems:
        named = [Problem(p.where, p.what, f"{p.fix} {LEAVE_OUT}".strip()) for p in problems]
        raise UserError(first_problems(named, str(plan.sheet.path), "masks have problems"))


@dataclass(frozen=True)
class _Decoded:
    """The targets of a field's tiles.

    Parameters
    ----------
    targets
        [tiles, H, W].
    doubts
        What is odd about the mask, as a sentence; empty: nothing.
    """

    targets: Masks
    doubts: str = ""


def _decode(plan: TargetPlan, field: MaskedField) -> _Decoded | UserError:
    """Return the targets of a field's tiles, or what is wrong with its mask."""
    planned = field.planned
    out = np.full((len(field.places), *plan.tiles.tile_size), IGNORE, np.uint32)
    if not field.has_mask:
        return _Decoded(out)
    file = mask_file(plan.sheet, planned.position, CELL_MASK)
    try:
        mask = target_values(read_mask(file, planned.shape), plan.settings, file)
    except UserError as error:
        return error
    odd = _doubts(mask) if plan.settings.kind == "instances" else ""
    mask = nearest(mask, resampled_shape(planned.shape, plan.card))
    for row, place in enumerate(field.places):
        # What is outside the field is black in the tile, and unknown in its target.
        out[row] = padded(visible_part(mask[None], place), place, fill=UNKNOWN)[0]
    return _Decoded(out, f"the mask {file} is odd: {odd}" if odd else "")


def _doubts(mask: Masks) -> str:
    """Return what is odd about the objects of a mask; of a large one, of its corner."""
    corner = mask[:LOOKED_AT, :LOOKED_AT]
    return "; ".join(mask_doubts(counted(np.where(corner == IGNORE, 0, corner)), "objects"))

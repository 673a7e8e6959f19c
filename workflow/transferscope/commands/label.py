"""`transferscope label`: a page on which a person labels tiles by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option, Typer

from transferscope.commands.options import (
    CardIn,
    ManifestIn,
    TableIn,
    file_in,
    file_out,
)
from transferscope.errors import Problem, UserError, suggest

if TYPE_CHECKING:
    import pandas as pd

    from transferscope.cards import DatasetCard
    from transferscope.cards.lookup import Located
    from transferscope.labelling.page import EarlierRow
    from transferscope.stores.tile_store import TileStore

app = Typer(invoke_without_command=True)

BALANCES: tuple[Literal["labels", "none"], ...] = ("labels", "none")


@app.callback()
def label(
    tiles: ManifestIn,
    table: TableIn,
    card: CardIn,
    output: Annotated[Path, file_out("Page to write (.html).")] = Path("label.html"),
    n: Annotated[int, Option("--n", min=1, help="Number of tiles to draw.")] = 200,
    seed: Annotated[int, Option(min=0, help="Seed of the draw.")] = 0,
    balance: Annotated[
        str,
        Option(help="labels: equal numbers per present label; none: of all tiles alike."),
    ] = "labels",
    channels: Annotated[
        list[str] | None,
        Option(help="A channel to show; may be repeated. Default: all."),
    ] = None,
    size: Annotated[
        int, Option(min=16, max=8192, help="Side in px; larger tiles are shrunk.")
    ] = 256,
    labelled: Annotated[
        Path | None,
        file_in("An earlier label table: its tiles are not drawn, its rows are kept."),
    ] = None,
    first: Annotated[
        Path | None,
        file_in("Table of `predict --all`: its most doubtful labels instead of a random draw."),
    ] = None,
) -> None:
    """Write a page of tiles to label: one file, which works offline in any browser."""
    from transferscope.labelling.doubtful import doubtful_tiles
    from transferscope.labelling.drawing import draw_tiles
    from transferscope.labelling.label_table import marks_of
    from transferscope.labelling.page import LabelPage, PageTile, page_html
    from transferscope.labelling.thumbnails import grey_pictures
    from transferscope.runtime.atomic_files import write_atomically
    from transferscope.tiles.contact_sheets import display_limits, drawn_channels

    chosen = next((known for known in BALANCES if known == balance), None)
    if chosen is None:
        what = f'unknown balance "{balance}"'
        raise UserError(Problem("--balance", what, suggest(balance, BALANCES)))
    dataset = card.card
    store, tile_table = _read(tiles, table)
    shown = _channels(store, channels)
    earlier = _earlier(labelled, card, tile_table) if labelled else []
    done = {row.tile_id for row in earlier}
    if first is not None:
        rows = doubtful_tiles(first, tile_table, n, seed=seed, exclude=done)
    else:
        rows = draw_tiles(tile_table, dataset.labels, n, seed=seed, balance=chosen, exclude=done)
    if not rows:
        what = f"of {len(tile_table)} tiles, none is left to draw"
        fix = "Leave --labelled out, or name another table: all its tiles are labelled already."
        raise UserError(Problem("--labelled" if first is None else str(first), what, fix))
    kept = [store.channels.index(name) for name in shown]
    limits, drawn = display_limits(store, dataset)[kept], drawn_channels(shown)
    page = LabelPage(
        dataset=dataset.name,
        classes=dataset.labels,
        marks=marks_of(dataset.labels),
        multiple=dataset.task == "multi-label",
        channels=shown,
        colours=[_bytes(drawn[name]) if name in drawn else None for name in shown],
        tiles=[
            PageTile(
                store.tile_ids[row], grey_pictures(store.read(row, row + 1)[0, kept], limits, size)
            )
            for row in rows
        ],
        earlier=earlier,
    )
    write_atomically(output, page_html(page))
    print(f"wrote {output}: {len(rows)} tiles of {dataset.name}; open it in a browser")


def _read(tiles: Path, table: Path) -> tuple[TileStore, pd.DataFrame]:
    from transferscope.stores.origin import check_tiles
    from transferscope.stores.parquet import read_tile_table
    from transferscope.stores.tile_store import TileStore

    store, tile_table = TileStore(tiles), read_tile_table(table)
    check_tiles(table, tile_table, store)
    return store, tile_table


def _channels(store: TileStore, requested: list[str] | None) -> list[str]:
    for name in requested or ():
        if name not in store.channels:
            what = f'the tiles have no channel "{name}"'
            raise UserError(Problem("--channels", what, suggest(name, store.channels)))
    return [name for name in store.channels if not requested or name in requested]


def _earlier(path: Path, card: Located[DatasetCard], table: pd.DataFrame) -> list[EarlierRow]:
    """Read what was labelled before; the labels as written there, marks included."""
    from transferscope.labelling.label_table import read_label_table
    from transferscope.labelling.page import EarlierRow
    from transferscope.raw.text_tables import read_table

    read_label_table(path, card.card, card.path, table["tile_id"])
    cells = read_table(path, "label_table")
    columns = [name for name in ("tile_id", "labels", "labeller", "time") if name in cells]
    rows = zip(*(cells[name] for name in columns), strict=True)
    return [EarlierRow(**dict(zip(columns, row, strict=True))) for row in rows]


def _bytes(colour: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue

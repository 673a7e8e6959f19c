"""`transferscope label`: a page on which a person labels tiles by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferscope.errors import Problem, UserError, suggest

if TYPE_CHECKING:
    import pandas as pd

    from transferscope.cards import DatasetCard
    from transferscope.labelling.page import EarlierRow, LabelPage
    from transferscope.stores.tile_store import TileStore

app = typer.Typer(invoke_without_command=True)

BALANCES = ("labels", "none")


@app.callback()
def label(
    tiles: Annotated[Path, typer.Option(help="Manifest (.json) of the tile store.")],
    table: Annotated[Path, typer.Option(help="Tile table (.parquet).")],
    card: Annotated[Path, typer.Option(help="Dataset card (.yaml).")],
    output: Annotated[Path, typer.Option(help="Page to write (.html).")] = Path("label.html"),
    n: Annotated[int, typer.Option("--n", min=1, help="How many tiles to draw.")] = 200,
    seed: Annotated[int, typer.Option(help="Another seed, another draw.")] = 0,
    balance: Annotated[
        str, typer.Option(help="labels: as many of each present label; none: of all alike.")
    ] = "labels",
    channels: Annotated[
        list[str] | None,
        typer.Option(help="A channel to show; once for each. Unless given, all."),
    ] = None,
    size: Annotated[int, typer.Option(min=16, help="Side in px; larger tiles are shrunk.")] = 256,
    labelled: Annotated[
        Path | None,
        typer.Option(help="An earlier label table: its tiles are not drawn, its rows are kept."),
    ] = None,
) -> None:
    """Write a page of tiles to label: one file, which works offline in any browser."""
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.labelling.page import page_html
    from transferscope.runtime.atomic_files import write_atomically

    if balance not in BALANCES:
        what = f'unknown balance "{balance}"'
        raise UserError(Problem("--balance", what, suggest(balance, BALANCES)))
    dataset: DatasetCard = read_model(card, DatasetCard)
    store, tile_table = _read(tiles, table)
    shown = _channels(store, channels)
    earlier = _earlier(labelled, dataset, card, tile_table) if labelled else []
    rows = _draw(tile_table, dataset, n, seed, balance, earlier)
    page = _page(store, tile_table, dataset, rows, shown, size, earlier)
    write_atomically(output, page_html(page))
    print(f"wrote {output}: {len(rows)} tiles of {dataset.name}; open it in a browser")


def _read(tiles: Path, table: Path) -> tuple[TileStore, pd.DataFrame]:
    from transferscope.stores.parquet import read_parquet
    from transferscope.stores.tile_store import TileStore

    store, tile_table = TileStore(tiles), read_parquet(table)
    if tile_table["tile_id"].tolist() != store.tile_ids:
        fix = "Give store and table of the same dataset and study."
        raise UserError(Problem(str(table), f"holds other tiles than {tiles.name}", fix))
    return store, tile_table


def _channels(store: TileStore, asked: list[str] | None) -> list[str]:
    for name in asked or ():
        if name not in store.channels:
            what = f'the tiles have no channel "{name}"'
            raise UserError(Problem("--channels", what, suggest(name, store.channels)))
    return [name for name in store.channels if not asked or name in asked]


def _earlier(path: Path, dataset: DatasetCard, card: Path, table: pd.DataFrame) -> list[EarlierRow]:
    """Read what was labelled before; the labels as they stand there, marks included."""
    from transferscope.labelling.label_table import read_label_table
    from transferscope.labelling.page import EarlierRow
    from transferscope.raw.text_tables import read_table

    read_label_table(path, dataset, card, table["tile_id"])
    cells = read_table(path, "label_table")
    columns = [name for name in ("tile_id", "labels", "labeller", "time") if name in cells]
    rows = zip(*(cells[name] for name in columns), strict=True)
    return [EarlierRow(**dict(zip(columns, row, strict=True))) for row in rows]


def _draw(
    table: pd.DataFrame,
    dataset: DatasetCard,
    n: int,
    seed: int,
    balance: str,
    earlier: list[EarlierRow],
) -> list[int]:
    from transferscope.labelling.drawing import draw_tiles

    done = {row.tile_id for row in earlier}
    rows = draw_tiles(
        table,
        dataset.labels,
        n,
        seed=seed,
        balance="none" if balance == "none" else "labels",
        exclude=done,
    )
    if not rows:
        what = f"all {len(table)} tiles are labelled already"
        raise UserError(Problem("--labelled", what, "There is nothing left to draw."))
    return rows


def _page(
    store: TileStore,
    table: pd.DataFrame,
    dataset: DatasetCard,
    rows: list[int],
    shown: list[str],
    size: int,
    earlier: list[EarlierRow],
) -> LabelPage:
    from transferscope.labelling.label_table import marks_of
    from transferscope.labelling.page import LabelPage, PageTile
    from transferscope.labelling.thumbnails import grey_pictures
    from transferscope.tiles.contact_sheets import display_limits, drawn_channels

    kept = [store.channels.index(name) for name in shown]
    limits, drawn = display_limits(store, dataset)[kept], drawn_channels(shown)
    colours = [_bytes(drawn[name]) if name in drawn else None for name in shown]
    ids = table["tile_id"].tolist()
    pictures = (grey_pictures(store.read(row, row + 1)[0, kept], limits, size) for row in rows)
    return LabelPage(
        dataset=dataset.name,
        classes=dataset.labels,
        marks=marks_of(dataset.labels),
        multiple=dataset.task == "multi-label",
        channels=shown,
        colours=colours,
        tiles=[PageTile(str(ids[row]), made) for row, made in zip(rows, pictures, strict=True)],
        earlier=earlier,
    )


def _bytes(colour: tuple[float, float, float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue

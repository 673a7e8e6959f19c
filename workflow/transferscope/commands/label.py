"""`transferscope label`: a page on which a person labels tiles by keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option, Typer

from transferscope.commands.options import (
    file_argument,
    file_in,
    file_out,
)
from transferscope.errors import Problem, UserError, suggest
from transferscope.study.run_command import run_command

if TYPE_CHECKING:
    import pandas as pd

    from transferscope.cards import DatasetCard
    from transferscope.cards.lookup import Located
    from transferscope.labelling.page import EarlierRow
    from transferscope.stores.tile_store import TileStore

app = Typer()

BALANCES: tuple[Literal["labels", "none"], ...] = ("labels", "none")


@app.command()
def label(
    config: Annotated[Path | None, file_argument("Study config (.yaml).", "[CONFIG]")] = None,
    dataset: Annotated[
        str | None, Option(help="Dataset of the study to label. Default: its first.")
    ] = None,
    tiles: Annotated[
        Path | None, file_in("In place of a study: manifest (.json) of the tiles.")
    ] = None,
    table: Annotated[Path | None, file_in("The same: tile table (.parquet).")] = None,
    card: Annotated[Path | None, file_in("The same: dataset card (.yaml).")] = None,
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
        file_in(
            "An earlier label table: its tiles are not drawn, its rows are kept. Default: that "
            "of the study's dataset."
        ),
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
    place = _place(config, dataset, tiles, table, card)
    described = place.card.card
    store, tile_table = _read(place.tiles, place.table)
    shown = _channels(store, channels)
    known = labelled or place.labelled
    earlier = _earlier(known, place.card, tile_table) if known else []
    done = {row.tile_id for row in earlier}
    if first is None:
        rows = draw_tiles(tile_table, described.labels, n, seed=seed, balance=chosen, exclude=done)
    else:
        # Doubtful are labels of the study's own table, too: these tiles get new rows.
        done = done if labelled else set()
        rows = doubtful_tiles(first, tile_table, n, seed=seed, exclude=done)
        shown_again = set(tile_table["tile_id"].iloc[rows])
        earlier = [row for row in earlier if row.tile_id not in shown_again]
    if not rows:
        what = f"of {len(tile_table)} tiles, none is left to draw"
        fix = "Leave --labelled out, or name another table: all its tiles are labelled already."
        raise UserError(Problem("--labelled" if first is None else str(first), what, fix))
    kept = [store.channels.index(name) for name in shown]
    limits, drawn = display_limits(store, described)[kept], drawn_channels(shown)
    page = LabelPage(
        dataset=described.name,
        classes=described.labels,
        marks=marks_of(described.labels),
        multiple=described.task == "multi-label",
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
    print(f"wrote {output}: {len(rows)} tiles of {described.name}; open it in a browser")


@dataclass(frozen=True)
class _Place:
    """What is labelled: the files of a dataset, and what was labelled before."""

    tiles: Path
    table: Path
    card: Located[DatasetCard]
    labelled: Path | None = None


def _place(
    config: Path | None,
    dataset: str | None,
    tiles: Path | None,
    table: Path | None,
    card: Path | None,
) -> _Place:
    """Return the files of a dataset: of a study, or those given one by one."""
    given = {"--tiles": tiles, "--table": table, "--card": card}
    if config is not None:
        if more := [name for name, path in given.items() if path is not None]:
            what = "is given, and a study that says it, too"
            raise UserError(Problem(more[0], what, "Leave out one of them."))
        return _of_study(config, dataset)
    if tiles is None or table is None or card is None:
        missing = [name for name, path in given.items() if path is None]
        fix = "Give the file of the study: `transferscope label my.yaml`. Or give all three files."
        raise UserError(
            Problem("transferscope label", f"{', '.join(missing)} and a study are missing", fix)
        )
    if dataset is not None:
        fix = "Leave it out: the card says it."
        raise UserError(Problem("--dataset", "is for the dataset of a study", fix))
    from transferscope.cards import DatasetCard
    from transferscope.cards.lookup import Located
    from transferscope.config.model import read_model

    return _Place(tiles, table, Located(read_model(card, DatasetCard), card))


def _of_study(config: Path, dataset: str | None) -> _Place:
    """Return the files of a dataset of a study that has run as far as its tiles."""
    from transferscope.cards.lookup import card_roots
    from transferscope.study.defaults import merged_config
    from transferscope.study.loading import load_study

    # Paths in a study are those of the folder where it runs: here, or where its file lies.
    roots = [*card_roots(), config.parent]
    study = load_study(merged_config(config), roots, str(config))
    names = list(study.image_datasets)
    name = next(iter(names), "") if dataset is None else dataset
    if name not in names:
        what = f'the study has no images of a dataset "{name}"'
        raise UserError(Problem("--dataset", what, suggest(name, names)))
    located = study.datasets[name]
    paths = study.paths
    here, there = ((folder / paths.tiles(name)) for folder in (Path(), config.parent))
    tiles = here if here.exists() or not there.exists() else there
    if not tiles.exists():
        fix = f"Make them first: `{run_command('--until', 'tiles', configs=[config])}`."
        raise UserError(Problem(str(tiles), "the tiles are not made yet", fix))
    earlier = located.card.label_table and located.path.parent / located.card.label_table
    return _Place(
        tiles,
        tiles.parent / paths.tile_table(name).name,
        located,
        earlier if earlier and earlier.exists() else None,
    )


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

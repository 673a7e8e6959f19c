"""The steps from raw files to tiles and splits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from transferscope.commands.options import (
    BadFields,
    CardPath,
    ManifestIn,
    ManifestOut,
    QualityOut,
    SettingsJson,
    SkippedOut,
    TableIn,
    TileTableOut,
    settings_from_json,
)
from transferscope.errors import Problem, UserError

app = typer.Typer()
logger = logging.getLogger(__name__)


@app.command()
def simulate(
    sheet: Annotated[Path, typer.Option(help="Sample sheet to write; images go beside it.")],
    settings: SettingsJson = "",
    domain: Annotated[str, typer.Option(help="opencell or hpa; unless given in --settings.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the dataset.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Write the raw fields and the sample sheet of a demo dataset."""
    from transferscope.cards import SimulateSettings
    from transferscope.runtime.progress import progress_bar
    from transferscope.simulate import simulate_dataset

    given = settings or json.dumps({"domain": domain, "seed": seed})
    chosen: SimulateSettings = settings_from_json(given, SimulateSettings)
    total = chosen.n_groups * chosen.fovs_per_group
    with progress_bar(f"simulate {chosen.domain}", total, "fields") as bar:

        def show(done: int, _: int) -> None:
            bar.update(done - bar.n)

        simulate_dataset(
            chosen.domain,
            sheet.parent,
            n_groups=chosen.n_groups,
            fovs_per_group=chosen.fovs_per_group,
            fov_size=chosen.fov_size,
            seed=chosen.seed,
            workers=workers,
            progress=show,
        )
    logger.info("the sample sheet is %s", sheet)


@app.command()
def fetch(
    card: CardPath,
    sheet: Annotated[Path, typer.Option(help="Sample sheet to write; the files lie beside it.")],
    manifest: Annotated[
        Path | None, typer.Option(help="Manifest to write; fetched.json beside the sheet else.")
    ] = None,
) -> None:
    """Fetch the raw files of a public dataset, and write its sample sheet."""
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.datasets.fetch import fetch as run

    run(read_model(card, DatasetCard), card, sheet, manifest or sheet.with_name("fetched.json"))


@app.command()
def tiles(
    sheet: Annotated[Path, typer.Option(help="Sample sheet (TSV or CSV).")],
    card: CardPath,
    manifest: ManifestOut,
    table: TileTableOut,
    quality: QualityOut,
    skipped: SkippedOut,
    bad_tiles: BadFields = "stop",
    workers: Annotated[int, typer.Option(help="Fields decoded at a time.")] = 2,
) -> None:
    """Decode raw fields once, into a tile store."""
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.tiles.build import make_tiles

    make_tiles(
        sheet,
        read_model(card, DatasetCard),
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
        bad_tiles=bad_tiles,
        workers=workers,
    )


@app.command()
def published(
    card: CardPath,
    manifest: ManifestOut,
    table: TileTableOut,
    quality: QualityOut,
    skipped: SkippedOut,
) -> None:
    """Take tiles that were published: copy their tables, and read the store where it is."""
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.tiles.published import take_published

    take_published(
        read_model(card, DatasetCard),
        card,
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
    )


@app.command()
def relabel(
    table: TableIn,
    card: CardPath,
    output: TileTableOut,
    bad_tiles: Annotated[str, typer.Option(help="stop or skip, for a label of no tile.")] = "stop",
) -> None:
    """Put the labels given by hand in place of those of a tile table."""
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.labelling.label_table import relabel as run

    run(table, read_model(card, DatasetCard), card, output, skip=bad_tiles == "skip")


@app.command()
def cells(
    sheet: Annotated[Path, typer.Option(help="Sample sheet (TSV or CSV), one row a field.")],
    card: CardPath,
    manifest: ManifestOut,
    table: TileTableOut,
    quality: QualityOut,
    skipped: SkippedOut,
    plausibility: Annotated[Path, typer.Option(help="Table of the fields to write (.csv).")],
    overlays: Annotated[Path, typer.Option(help="Folder to draw the cells' outlines into.")],
    bad_tiles: BadFields = "stop",
    workers: Annotated[int, typer.Option(help="Fields at a time.")] = 2,
) -> None:
    """Segment raw fields, and cut one tile a cell into a tile store."""
    from transferscope.cards import DatasetCard
    from transferscope.cells.build import make_cells
    from transferscope.config.model import read_model

    make_cells(
        sheet,
        read_model(card, DatasetCard),
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
        plausibility=plausibility,
        overlays=overlays,
        bad_tiles=bad_tiles,
        workers=workers,
    )


@app.command("contact-sheets")
def contact_sheets(
    tiles: ManifestIn,
    table: TableIn,
    card: CardPath,
    output: Annotated[Path, typer.Option(help="Folder to write a figure a class into.")],
) -> None:
    """Draw a contact sheet of tiles for each class."""
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.tiles.contact_sheets import draw_contact_sheets

    draw_contact_sheets(tiles, table, read_model(card, DatasetCard), output)


@app.command()
def splits(
    table: TableIn,
    card: CardPath,
    splits: Annotated[Path, typer.Option(help="Split table to write (.parquet).")],
    settings: SettingsJson = "{}",
) -> None:
    """Divide the tiles into folds, once for all probes."""
    from transferscope.cards import DatasetCard
    from transferscope.config.model import read_model
    from transferscope.config.probes import SplitSettings
    from transferscope.probes.splits import make_splits, write_splits
    from transferscope.stores.parquet import read_parquet

    chosen = settings_from_json(settings, SplitSettings)
    divided = make_splits(read_parquet(table), read_model(card, DatasetCard), chosen, str(table))
    write_splits(divided, splits)


@app.command()
def sheet(
    folder: Annotated[Path, typer.Argument(help="Folder of the images.")],
    pattern: Annotated[
        str | None,
        typer.Option(help="Names of the files, such as '{group}_{fov}.tif'."),
    ] = None,
    regex: Annotated[
        str | None,
        typer.Option(help="A regular expression with named groups, in place of --pattern."),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="raw=channel: what a raw channel name shows; once for each."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="table.csv:key_column:label_column: where labels are looked up."),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(help="A label that means no label, such as Unknown; once for each."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Sheet to write; samples.tsv in the folder, else."),
    ] = None,
) -> None:
    """Write a sample sheet from a folder and a file-name pattern."""
    from transferscope.raw.sheet_builder import LabelTable, build_sheet

    if (pattern is None) == (regex is None):
        fix = "Write it as --pattern '{group}_{fov}.tif'."
        raise UserError(Problem("transferscope sheet", "give --pattern or --regex", fix))
    built = build_sheet(
        folder,
        pattern or regex or "",
        output or folder / "samples.tsv",
        regex=pattern is None,
        channel_names=_channel_names(channel) if channel else None,
        labels=LabelTable.parse(labels, unlabelled or ()) if labels else None,
    )
    logger.info("%s: %d rows, %d without a label", built.path, built.n_rows, built.n_unlabelled)
    if built.n_unused:
        logger.info("%d files match no part of the pattern and were left out", built.n_unused)
    for key, values in (("channels", built.channels), ("labels", built.labels)):
        if values:
            logger.info("for the dataset card:  %s: [%s]", key, ", ".join(values))
    if built.root is not None:
        logger.info("for the dataset card:  roots: [%s]", built.root)


def _channel_names(pairs: list[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if pair.count("=") != 1]
    if wrong:
        fix = "Write it as --channel red=microtubules."
        raise UserError(Problem("--channel", f'"{wrong[0]}" names no raw name and channel', fix))
    return dict(pair.split("=") for pair in pairs)

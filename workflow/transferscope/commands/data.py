"""The steps from raw files to tiles and splits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Literal

from typer import Option, Typer

from transferscope.cards import SimulateSettings
from transferscope.commands.options import (
    CardIn,
    LabelsIn,
    ManifestIn,
    ManifestOut,
    NoLabelsIn,
    PatternIn,
    RawChannelsIn,
    TableIn,
    TableOut,
    file_in,
    file_out,
    folder_argument,
    folder_out,
    raw_channels,
    same_path,
    settings_from_json,
    settings_option,
)
from transferscope.config.probes import SplitSettings
from transferscope.config.vocabulary import LEAST_SIDE, MOST_SIDE
from transferscope.config.yaml_text import flow_yaml
from transferscope.errors import Problem, UserError

app = Typer()
logger = logging.getLogger(__name__)

SheetIn = Annotated[Path, file_in("Sample sheet (TSV or CSV), one row per field.")]
QualityOut = Annotated[Path, file_out("Quality table to write (.csv).")]
SkippedOut = Annotated[Path, file_out("Table of skipped fields to write (.tsv).")]
Quality = Annotated[Literal["warn", "stop"], Option(help="warn or stop, at doubtful pixels.")]
BadFields = Annotated[Literal["stop", "skip"], Option(help="stop or skip, at an unusable field.")]
Workers = Annotated[int, Option(min=1, max=1024, help="Fields processed in parallel.")]


@app.command()
def simulate(
    sheet: Annotated[Path, file_out("Sample sheet to write; the images are written next to it.")],
    settings: Annotated[str, Option(help="Settings of this step as JSON.")] = "",
    domain: Annotated[
        str, Option(help="opencell, hpa, glands or glands-other-lab; unless given in --settings.")
    ] = "",
    seed: Annotated[int, Option(help="Seed of the dataset.")] = 0,
    workers: Annotated[int, Option(min=1, max=1024, help="Processes.")] = 1,
) -> None:
    """Write the raw fields and the sample sheet of a demo dataset."""
    from transferscope.runtime.progress import progress_bar
    from transferscope.simulate import simulate_dataset
    from transferscope.simulate.dataset import ImpossibleSettingError
    from transferscope.simulate.screen import Screen

    given = settings or json.dumps({"domain": domain, "seed": seed})
    chosen: SimulateSettings = settings_from_json(given, SimulateSettings)
    with progress_bar(f"simulate {chosen.domain}", chosen.n_fovs, "fields") as bar:

        def show(done: int, _: int) -> None:
            bar.update(done - bar.n)

        fields = chosen.model_dump(exclude={"screen"})
        screen = None if chosen.screen is None else Screen(**chosen.screen.model_dump())
        try:
            simulate_dataset(
                output=sheet.parent, workers=workers, progress=show, screen=screen, **fields
            )
        except ImpossibleSettingError as error:
            fix = "Give a number in these bounds."
            raise UserError(Problem("--settings", str(error), fix)) from None
    logger.info("the sample sheet is %s", sheet)


@app.command()
def fetch(
    card: CardIn,
    sheet: Annotated[Path, file_out("Sample sheet to write; the files are written next to it.")],
    manifest: Annotated[
        Path | None,
        file_out("Manifest to write. Default: fetched.json next to the sheet."),
    ] = None,
) -> None:
    """Fetch the raw files of a public dataset, and write its sample sheet."""
    from transferscope.datasets.fetch import fetch as run

    run(card.card, card.path, sheet, manifest or sheet.with_name("fetched.json"))


@app.command()
def tiles(
    sheet: SheetIn,
    card: CardIn,
    manifest: ManifestOut,
    table: TableOut,
    quality: QualityOut,
    skipped: SkippedOut,
    bad_tiles: BadFields = "stop",
    look: Quality = "warn",
    workers: Workers = 2,
) -> None:
    """Decode the raw fields and write a tile store."""
    from transferscope.tiles.build import make_tiles

    make_tiles(
        sheet,
        card.card,
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
        bad_tiles=bad_tiles,
        look=look,
        workers=workers,
    )


@app.command()
def reduce(
    tiles: ManifestIn,
    side: Annotated[
        int, Option(min=LEAST_SIDE, max=MOST_SIDE, help="Side of the reduced tiles in px.")
    ],
    manifest: ManifestOut,
    workers: Workers = 2,
) -> None:
    """Keep the tiles of a store once more, smaller, for backbones that would reduce them."""
    from transferscope.backbones.reduced_tiles import reduce_tiles

    reduce_tiles(tiles, side, manifest, workers)


@app.command()
def published(
    card: CardIn,
    manifest: ManifestOut,
    table: TableOut,
    quality: QualityOut,
    skipped: SkippedOut,
) -> None:
    """Use published tiles: copy their tables, and read the store where it is."""
    from transferscope.tiles.published import take_published

    take_published(
        card.card,
        card.path,
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
    )


@app.command()
def relabel(
    table: TableIn,
    card: CardIn,
    output: TableOut,
    bad_tiles: Annotated[
        Literal["stop", "skip"], Option(help="stop or skip, at a label of an unknown tile.")
    ] = "stop",
) -> None:
    """Replace the labels of a tile table by those given by hand."""
    from transferscope.labelling.label_table import relabel as run

    run(table, card.card, card.path, output, skip=bad_tiles == "skip")


@app.command()
def cells(
    sheet: SheetIn,
    card: CardIn,
    manifest: ManifestOut,
    table: TableOut,
    quality: QualityOut,
    skipped: SkippedOut,
    plausibility: Annotated[Path, file_out("Table of segmentation plausibility to write (.csv).")],
    overlays: Annotated[Path, folder_out("Folder to draw the cells' outlines into.")],
    bad_tiles: BadFields = "stop",
    look: Quality = "warn",
    workers: Workers = 2,
) -> None:
    """Segment the raw fields, and cut one tile per cell into a tile store."""
    from transferscope.cells.build import make_cells

    make_cells(
        sheet,
        card.card,
        manifest=manifest,
        tile_table=table,
        quality=quality,
        skipped=skipped,
        plausibility=plausibility,
        overlays=overlays,
        bad_tiles=bad_tiles,
        look=look,
        workers=workers,
    )


@app.command()
def targets(
    sheet: SheetIn,
    card: CardIn,
    tiles: ManifestIn,
    manifest: ManifestOut,
    counts: Annotated[
        Path, file_out("Table to write, of what the mask of each tile shows (.csv).")
    ],
    workers: Workers = 2,
) -> None:
    """Decode the masks of a dataset, and write those of its tiles to a store."""
    from transferscope.targets.build import make_targets

    make_targets(sheet, card.card, tiles, manifest=manifest, table=counts, workers=workers)


@app.command("contact-sheets")
def contact_sheets(
    tiles: ManifestIn,
    table: TableIn,
    card: CardIn,
    output: Annotated[Path, folder_out("Folder to write one figure per class into.")],
) -> None:
    """Draw a contact sheet of tiles for each class."""
    from transferscope.tiles.contact_sheets import draw_contact_sheets

    draw_contact_sheets(tiles, table, card.card, output)


@app.command()
def splits(
    table: TableIn,
    card: CardIn,
    splits: Annotated[Path, file_out("Split table to write (.parquet).")],
    settings: Annotated[SplitSettings, settings_option(SplitSettings)],
) -> None:
    """Divide the tiles into folds, once for all probes."""
    from transferscope.probes.splits import make_splits, write_splits
    from transferscope.stores.origin import check_origin
    from transferscope.stores.parquet import read_tile_table

    tiles = read_tile_table(table)
    check_origin(table, tiles.attrs, {"dataset": card.card.name})
    divided = make_splits(tiles, card.card, settings, str(table))
    write_splits(divided, splits)


@app.command()
def sheet(
    folder: Annotated[Path, folder_argument("Folder of the images.", "FOLDER")],
    pattern: PatternIn = None,
    regex: Annotated[
        str | None,
        Option(help="Regular expression with named groups, instead of --pattern."),
    ] = None,
    channel: RawChannelsIn = None,
    labels: LabelsIn = None,
    unlabelled: NoLabelsIn = None,
    output: Annotated[
        Path | None,
        file_out("Sheet to write. Default: samples.tsv in the folder."),
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Replace the sheet if it is there, with its labels.")
    ] = False,
) -> None:
    """Write a sample sheet from a folder and a file-name pattern."""
    from transferscope.raw.sheet_builder import LabelTable, build_sheet

    if (pattern is None) == (regex is None):
        fix = "Write it as --pattern '{group}_{fov}.tif'."
        raise UserError(Problem("transferscope sheet", "give --pattern or --regex", fix))
    table = LabelTable.parse(labels, unlabelled or ()) if labels else None
    written = output or folder / "samples.tsv"
    if table is not None and same_path(table.path, written):
        fix = "Give another --output."
        raise UserError(Problem(str(written), "is the table of labels, and would be lost", fix))
    if (written.exists() or written.is_symlink()) and not overwrite:
        fix = "Move it away, give another --output, or add --overwrite: labels in it are lost."
        raise UserError(Problem(str(written), "is there already, and is not replaced", fix))
    built = build_sheet(
        folder,
        pattern or regex or "",
        written,
        regex=pattern is None,
        channel_names=raw_channels(channel) if channel else None,
        labels=table,
    )
    for text in built.skipped:
        logger.warning("%s: %s: skipped", folder, text)
    logger.info("%s: %d rows, %d without a label", built.path, built.n_rows, built.n_unlabelled)
    if built.n_unused:
        logger.info("%d files do not match the pattern and were left out", built.n_unused)
    roots = [] if built.root is None else [str(built.root)]
    for key, values in (("channels", built.channels), ("labels", built.labels), ("roots", roots)):
        if values:
            logger.info("for the dataset card:  %s", flow_yaml(key, values))


@app.command()
def alike(
    card: CardIn,
    output: Annotated[
        Path, file_out("Sheet to write (.tsv), in the folder of the card's own sheet.")
    ],
    looks: Annotated[
        int, Option(min=2, max=10_000, help="Largest number of looks to tell apart.")
    ] = 16,
) -> None:
    """Write a dataset's sample sheet with new groups: of fields that look alike."""
    from transferscope.proposal.alike import regrouped
    from transferscope.raw.sheets import read_sheet
    from transferscope.runtime.atomic_files import write_atomically

    given = card.card.sheet
    if given is None:
        fix = "Give the card of a dataset with a sample sheet."
        raise UserError(Problem(str(card.path), "has no key `sheet`", fix))
    path = card.path.parent / given
    if output.resolve().parent != path.resolve().parent:
        fix = f"Give an --output in {path.parent}."
        raise UserError(Problem(str(output), "paths in the sheet would mean other files", fix))
    if output.exists() or output.is_symlink():
        fix = "Move it away, or give another --output."
        raise UserError(Problem(str(output), "is there already, and is not replaced", fix))
    found = regrouped(read_sheet(path, card.card, card.path), card.card, looks)
    write_atomically(output, found.table.to_csv(sep="\t", index=False))
    ids = found.table["tile_id"].tolist()
    for one, other in found.same:
        logger.warning("%s and %s show the same place", ids[one], ids[other])
    numbers = found.table["group"].value_counts()
    text = "%s: %d fields in %d groups, of %d to %d fields; %d pairs show the same place"
    told = len(ids), len(numbers), numbers.min(), numbers.max(), len(found.same)
    logger.info(text, output, *told)

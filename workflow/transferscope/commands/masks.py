"""`transferscope masks`: masks from anywhere against true ones; masks of whole fields."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option, Typer

from transferscope.commands.embed import CellName, ComputeOption, TrainedWeights, loadable
from transferscope.commands.options import (
    BackboneIn,
    CardIn,
    ManifestIn,
    TableIn,
    file_in,
    file_or_folder_argument,
    file_out,
    folder_out,
    given_files,
    print_table,
    strategy_name,
)
from transferscope.errors import Problem, UserError, escaped

if TYPE_CHECKING:
    import pandas as pd

app = Typer(
    no_args_is_help=True, help="Compare masks, whatever made them; predict those of whole fields."
)
MOST_ROWS = 50
# Headings of the printed tables, by column.
TABLES = {
    "Pixels": {
        "dice": "Dice",
        "dice_floor": "all foreground",
        "jaccard": "Jaccard",
        "boundary_f1": "boundary F1",
    },
    "Objects": {
        "aji": "AJI",
        "aji_plus": "AJI+",
        "pq": "PQ",
        "dq": "DQ",
        "sq": "SQ",
        "f1_50": "F1 at .5",
        "f1_60": ".6",
        "f1_70": ".7",
        "f1_80": ".8",
        "f1_90": ".9",
    },
}
# Characters of the columns other than the name.
WIDTH = 75


@app.callback()
def _masks() -> None:
    """Compare masks, whatever made them; predict those of whole fields."""


@app.command()
def compare(
    true: Annotated[Path, file_or_folder_argument("True mask, or folder of masks.", "TRUE")],
    predicted: Annotated[
        Path,
        file_or_folder_argument("Predicted mask, or folder of masks of equal names.", "PREDICTED"),
    ],
    output: Annotated[Path | None, file_out("Table to write (.csv).")] = None,
    objects: Annotated[
        Literal["auto", "numbers", "pieces", "none"],
        Option(
            help="numbers: values are numbers of objects; pieces: where a mask holds one value, "
            "its connected pieces are its objects; none: only pixels; auto: numbers, or none "
            "where all masks of one side hold one value each."
        ),
    ] = "auto",
    tolerance: Annotated[
        int, Option(min=0, max=1000, help="Tolerance of the boundary F1 in px.")
    ] = 2,
) -> None:
    """Compare predicted masks with true ones: pixels, outlines and objects."""
    from transferscope.runtime.atomic_files import write_atomically
    from transferscope.runtime.progress import progress_bar
    from transferscope.runtime.spreadsheets import guarded
    from transferscope.segmentation.mask_comparison import compare_masks
    from transferscope.segmentation.mask_files import check_pairs, pairs_of

    pairs = pairs_of(true, predicted)
    read = [path for pair in pairs for path in (pair.true, pair.predicted)]
    conflicts = [problem for path in read if (problem := given_files.conflict(path, written=False))]
    if conflicts:
        raise UserError(conflicts)
    check_pairs(pairs)
    with progress_bar("masks", len(pairs), "images") as bar:
        found = compare_masks(pairs, objects, tolerance, bar.update)
    _print(found.table)
    if found.note:
        print(found.note)
    if output is not None:
        write_atomically(output, guarded(found.table).to_csv(index=False, float_format="%.6g"))
        print(f"wrote {output}")


@app.command()
def predict(
    sheet: Annotated[Path, file_in("Sample sheet of the fields to predict, of any size.")],
    card: CardIn,
    tiles: ManifestIn,
    targets: Annotated[Path, file_in("Manifest of the target store (.json) to learn from.")],
    table: TableIn,
    backbone: BackboneIn,
    output: Annotated[Path, folder_out("Folder to write one mask per field into.")],
    compute: ComputeOption,
    channels: Annotated[str, Option(parser=strategy_name, help="Channel strategy.")] = "map",
    decoder: Annotated[
        Literal["linear", "conv", "conv-image", "unet", "unetr"],
        Option(help="Kind of the decoder; see `segmentation`."),
    ] = "conv",
    steps: Annotated[
        int, Option(min=1, max=100_000, help="Most steps of the training of a decoder.")
    ] = 400,
    views: Annotated[
        Literal["1", "4", "8"],
        Option(help="Views of each tile: turns and mirror images; see `segmentation`."),
    ] = "1",
    weights: TrainedWeights = None,
    cell: CellName = None,
    margin: Annotated[
        int | None,
        Option(help="Pixels on each side of a window that are not used. Default: an eighth."),
    ] = None,
    fade: Annotated[
        int | None,
        Option(help="Pixels over which windows fade into one another. Default: a quarter."),
    ] = None,
    format: Annotated[Literal["png", "tiff"], Option(help="png, or tiff: OME-TIFF.")] = "png",
) -> None:
    """Train a decoder on all masks of a dataset, and write the masks of whole fields."""
    from transferscope.config.segmentation import SegmentationSettings
    from transferscope.raw.sheets import read_sheet
    from transferscope.runtime.devices import allotted_device
    from transferscope.runtime.progress import progress_bar
    from transferscope.segmentation.field_prediction import (
        LabelledTiles,
        check_fields,
        field_mask,
        mask_paths,
        train_predictor,
        windows_of,
    )
    from transferscope.segmentation.mask_files import write_mask
    from transferscope.stores.tile_store import TileStore

    described = card.card
    if described.masks is None:
        fix = "Say there what the values of the masks mean."
        raise UserError(Problem(str(card.path), "has no `masks`", fix))
    fields = read_sheet(sheet, described, card.path)
    store = TileStore(tiles)
    windows = windows_of(store.tile_size, margin, fade)
    paths = mask_paths(fields, output, ".png" if format == "png" else ".ome.tif")
    if problems := check_fields(fields, described, store.array.dtype):
        raise UserError(problems)
    network = loadable(backbone, weights, cell)
    chosen = {"decoders": [decoder], "steps": steps, "views": int(views)}
    settings = SegmentationSettings.model_validate(chosen)
    allotted = allotted_device(compute.device)
    try:
        source = LabelledTiles(described, tiles, targets, table)
        trained = train_predictor(
            source, *network, channels, settings, compute, allotted.device, output
        )
        with progress_bar(f"masks of {described.name}", len(fields), "fields") as bar:
            for position, path in enumerate(paths):
                mask = field_mask(trained, windows, fields, described, described.masks, position)
                write_mask(path, mask, described.pixel_size_um)
                bar.update()
    finally:
        allotted.release()
    print(f"wrote {len(paths):,} masks to {output}; {trained.summary}")


@app.command()
def write(
    store: Annotated[Path, file_in("Manifest of a store of masks (.json).")],
    output: Annotated[Path, folder_out("Folder to write one mask per tile into.")],
    decoder: Annotated[
        str | None, Option(help="Of predicted masks, the decoder, such as unet. Default: the only.")
    ] = None,
    format: Annotated[Literal["png", "tiff"], Option(help="png, or tiff: OME-TIFF.")] = "png",
) -> None:
    """Write the masks of a store as images: those that a study predicted, or the true ones."""
    from transferscope.runtime.progress import progress_bar
    from transferscope.segmentation.kept_masks import image_masks
    from transferscope.segmentation.mask_files import write_mask
    from transferscope.stores.target_store import TargetStore

    opened = TargetStore.open(store)
    paths, masks = image_masks(opened, decoder, output, ".png" if format == "png" else ".ome.tif")
    with progress_bar(f"masks of {opened.attributes['dataset']}", len(paths), "tiles") as bar:
        for path, mask in zip(paths, masks, strict=True):
            write_mask(path, mask, opened.attributes.get("pixel_size_um"))
            bar.update()
    print(f"wrote {len(paths):,} masks to {output}")


def _print(table: pd.DataFrame) -> None:
    """Print the metrics of all images and their mean, or of many images the mean alone."""
    shown = table if len(table) <= MOST_ROWS else table[-2:]
    width = WIDTH + int(shown["image"].str.len().max())
    for title, headings in TABLES.items():
        if headings.keys() <= set(table):
            own = shown[["image", *headings]].dropna(how="all", subset=[*headings])
            rows = [list(map(_text, row)) for row in own.itertuples(index=False)]
            print_table(["image", *headings.values()], rows, title, width=width)
    if len(shown) < len(table):
        print(f"the mean of {len(table) - 2:,} images; --output writes all of them")


def _text(cell: str | float) -> str:
    if isinstance(cell, str):
        return escaped(cell, "")
    return "-" if math.isnan(cell) else f"{cell:.3f}"

"""Number and size of the fields and tiles of a dataset, measured or estimated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from transferscope.cards import DatasetCard, FetchSettings, SimulateSettings
from transferscope.cells.crops import crop_side
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import header_at
from transferscope.raw.images import FieldHeader
from transferscope.raw.sheets import SampleSheet, read_sheet
from transferscope.stores.manifest import TILES_FORMAT, Manifest
from transferscope.study.study import Study
from transferscope.tiles.tiling import plan_tiles

SIMULATED_BYTES_PER_PIXEL = 2
# Not in the manifest: the larger of the two possible.
PUBLISHED_BYTES_PER_PIXEL = 2
CELLS_PER_FIELD = 50
# Unreadable files after which the size of a dataset's fields counts as unknown.
HEADERS_TRIED = 20


@dataclass(frozen=True)
class PublicImages:
    """Known properties of a public source, before anything is fetched."""

    n_groups: int
    fields_per_group: float
    side: int
    bytes_per_pixel: int


PUBLIC_IMAGES = {
    # Cho et al., Science 2022: 6,301 fields of 1,310 proteins, projections of 600 px in 16 bit.
    "opencell": PublicImages(1310, 6301 / 1310, 600, 2),
    # Fields of 2,048 px in 8 bit; how many is in the user's own list.
    "hpa": PublicImages(0, 1.0, 2048, 1),
}


@dataclass(frozen=True)
class Fields:
    """The raw fields of a dataset and the tiles that they become.

    Parameters
    ----------
    n_fields
        Raw fields.
    n_tiles
        Tiles.
    field_shape
        Height and width of a raw field in px.
    tile_shape
        Channels, height and width of a tile in px.
    bytes_per_pixel
        1 or 2.
    pixel_size_um
        Of the tiles; None: unknown.
    source
        Where these numbers are from.
    bytes_to_fetch
        Size of the raw files that have not been fetched yet, uncompressed.
    """

    n_fields: int
    n_tiles: int
    field_shape: tuple[int, int]
    tile_shape: tuple[int, int, int]
    bytes_per_pixel: int
    pixel_size_um: float | None
    source: str
    bytes_to_fetch: int = 0

    @property
    def tile_bytes(self) -> int:
        """Bytes of all tiles, uncompressed."""
        return self.n_tiles * math.prod(self.tile_shape) * self.bytes_per_pixel


def expected_fields(study: Study, dataset: str, *, online: bool = True) -> Fields:
    """Return the fields and tiles that a dataset has or will have.

    Parameters
    ----------
    study, dataset
        The study and the name of the dataset.
    online
        Whether public sources may be queried over the network.

    Raises
    ------
    UserError
        Where the sample sheet, or the first file of one that was given, cannot be read.
    """
    located, path = study.all_datasets[dataset], study.sheet_of(dataset)
    card = located.card
    if study.is_table(dataset):
        return _given(len(study.given(dataset).table))
    if card.simulate is not None:
        return _simulated(card, card.simulate)
    if card.published is not None:
        return _published(card, card.published)
    if card.fetch is not None and not path.is_file():
        return _to_fetch(card, card.fetch, located.path, path, online=online)
    tried = HEADERS_TRIED if study.config.bad_tiles == "skip" else 1
    given = card.sheet is not None
    sheet = study.sheet(dataset) if given else read_sheet(path, card, located.path)
    try:
        return _listed(sheet, card, tried)
    except UserError:
        if card.fetch is None:
            raise
        # The tile step names the file; the source gives the size of the others.
        return _to_fetch(card, card.fetch, located.path, path, online=online)


def _given(n_rows: int) -> Fields:
    return Fields(
        n_fields=n_rows,
        n_tiles=n_rows,
        field_shape=(0, 0),
        tile_shape=(0, 0, 0),
        bytes_per_pixel=0,
        pixel_size_um=None,
        source="table of features",
    )


def _simulated(card: DatasetCard, settings: SimulateSettings) -> Fields:
    n_fields = settings.n_fovs
    side = settings.fov_size
    bytes_per_pixel = 1 if settings.has_masks else SIMULATED_BYTES_PER_PIXEL
    return _tiled(card, n_fields, (side, side), bytes_per_pixel, "simulated")


def _published(card: DatasetCard, manifest: str) -> Fields:
    n_tiles, channels, height, width = Manifest.read(manifest, TILES_FORMAT).shape
    return Fields(
        n_fields=n_tiles,
        n_tiles=n_tiles,
        field_shape=(height, width),
        tile_shape=(channels, height, width),
        bytes_per_pixel=PUBLISHED_BYTES_PER_PIXEL,
        pixel_size_um=card.pixel_size_um,
        source="manifest of the published tiles",
    )


def _to_fetch(
    card: DatasetCard, settings: FetchSettings, card_path: Path, sheet: Path, *, online: bool
) -> Fields:
    """Estimate from annotation table or list, with the known image size of the source."""
    known = PUBLIC_IMAGES[settings.kind]
    # A list is a local file.
    asked = online or settings.kind == "hpa"
    n_fields = _fields_in_source(card, card_path, sheet, known) if asked else None
    source = "annotation table or list"
    if n_fields is None:
        # Without a network the table may be unreachable.
        n_groups = min(settings.limit or known.n_groups, known.n_groups)
        n_fields = known.fields_per_group * n_groups
        source = "published size of the dataset"
    shape = (known.side, known.side)
    found = _tiled(card, round(n_fields), shape, known.bytes_per_pixel, source)
    pixels = len(card.channels) * known.side**2
    return replace(found, bytes_to_fetch=round(n_fields) * pixels * known.bytes_per_pixel)


def _fields_in_source(
    card: DatasetCard, card_path: Path, sheet: Path, known: PublicImages
) -> float | None:
    """Return the number of fields in annotation table or list, if it can be read."""
    from transferscope.datasets.fetch import plan
    from transferscope.transport.patience import QUICK

    try:
        planned = plan(card, card_path, sheet, patience=QUICK)
    except UserError:
        return None
    return len(planned.table) * (1 if planned.complete else known.fields_per_group)


def _listed(sheet: SampleSheet, card: DatasetCard, tried: int) -> Fields:
    """Estimate from the first readable file: fields of a dataset usually have one size."""
    problems: list[Problem] = []
    for position in range(min(tried, len(sheet))):
        header = header_at(sheet, card, position)
        if isinstance(header, FieldHeader):
            break
        problems += header
    else:
        raise UserError(problems)
    source = "sample sheet, size of the first field"
    return _tiled(card, len(sheet), header.shape, header.dtype.itemsize, source)


def _tiled(
    card: DatasetCard, n_fields: int, shape: tuple[int, int], bytes_per_pixel: int, source: str
) -> Fields:
    pixel_size = card.pixel_size_um
    if card.cells is None:
        places = plan_tiles(shape, card)
        tile, per_field = (places[0].height, places[0].width), len(places)
        if card.tiles.mode == "resize" and card.tiles.size is not None and pixel_size is not None:
            pixel_size *= max(shape) / card.tiles.size
        else:
            pixel_size = card.tiles.pixel_size_um or pixel_size
    else:
        crop = card.cells.crop
        cut = crop_side(crop, pixel_size)
        side = crop.tile_size_px or cut
        tile, per_field = (side, side), 1
        pixel_size = pixel_size and pixel_size * cut / side
        if not card.cells.segmentation.one_per_field:
            # Only the segmentation can tell.
            per_field = CELLS_PER_FIELD
            source += f"; {CELLS_PER_FIELD} cells per field assumed"
    return Fields(
        n_fields=n_fields,
        n_tiles=n_fields * per_field,
        field_shape=shape,
        tile_shape=(len(card.channels), *tile),
        bytes_per_pixel=bytes_per_pixel,
        pixel_size_um=pixel_size,
        source=source,
    )

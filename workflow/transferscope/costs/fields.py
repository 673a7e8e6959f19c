"""How many fields and tiles a dataset has, and how large they are, as far as it can be known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from transferscope.cards import CellSettings, DatasetCard, FetchSettings, SimulateSettings
from transferscope.cells.crops import crop_side
from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import header_at
from transferscope.raw.images import FieldHeader
from transferscope.raw.sheets import SampleSheet, read_sheet
from transferscope.stores.manifest import TILES_FORMAT, Manifest
from transferscope.study.study import Study
from transferscope.tiles.tiling import plan_tiles

SIMULATED_BYTES_A_PIXEL = 2
# The manifest does not tell: the larger of the two.
PUBLISHED_BYTES_A_PIXEL = 2
CELLS_A_FIELD = 50
# Files that may be bad before the size of a dataset's fields counts as unknown.
HEADERS_TRIED = 20


@dataclass(frozen=True)
class PublicImages:
    """What is known of a public source before anything of it has been fetched."""

    n_groups: int
    fields_a_group: float
    side: int
    bytes_a_pixel: int


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
    bytes_a_pixel
        1 or 2.
    pixel_size_um
        Of the tiles; None: unknown.
    source
        How this is known.
    bytes_to_fetch
        Size of the raw files that are yet to be fetched, uncompressed.
    """

    n_fields: int
    n_tiles: int
    field_shape: tuple[int, int]
    tile_shape: tuple[int, int, int]
    bytes_a_pixel: int
    pixel_size_um: float | None
    source: str
    bytes_to_fetch: int = 0

    @property
    def tile_bytes(self) -> int:
        """Bytes of all tiles, uncompressed."""
        return self.n_tiles * math.prod(self.tile_shape) * self.bytes_a_pixel


def expected_fields(study: Study, dataset: str, *, online: bool = True) -> Fields:
    """Return how many fields and tiles a dataset has or will have.

    Parameters
    ----------
    study, dataset
        The study and the name of the dataset.
    online
        Whether a source on the network may be asked what it has.

    Raises
    ------
    UserError
        Where the sample sheet, or the first file of one that was given, cannot be read.
    """
    located, path = study.all_datasets[dataset], study.sheet_of(dataset)
    card = located.card
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
        # The tile step names the file; how large the others are is known all the same.
        return _to_fetch(card, card.fetch, located.path, path, online=online)


def _simulated(card: DatasetCard, settings: SimulateSettings) -> Fields:
    n_fields = settings.n_groups * settings.fovs_per_group
    side = settings.fov_size
    return _tiled(card, n_fields, (side, side), SIMULATED_BYTES_A_PIXEL, "simulated")


def _published(card: DatasetCard, manifest: str) -> Fields:
    n_tiles, channels, height, width = Manifest.read(manifest, TILES_FORMAT).shape
    return Fields(
        n_fields=n_tiles,
        n_tiles=n_tiles,
        field_shape=(height, width),
        tile_shape=(channels, height, width),
        bytes_a_pixel=PUBLISHED_BYTES_A_PIXEL,
        pixel_size_um=card.pixel_size_um,
        source="manifest of the published tiles",
    )


def _to_fetch(
    card: DatasetCard, settings: FetchSettings, card_path: Path, sheet: Path, *, online: bool
) -> Fields:
    """Judge by annotation table or list; sizes are those that the source is known to have."""
    known = PUBLIC_IMAGES[settings.kind]
    # A list is a file of this machine.
    asked = online or settings.kind == "hpa"
    n_fields = _fields_in_source(card, card_path, sheet, known) if asked else None
    source = "annotation table or list"
    if n_fields is None:
        # Without a network the table may be out of reach; the published number is not.
        n_groups = min(settings.limit or known.n_groups, known.n_groups)
        n_fields = known.fields_a_group * n_groups
        source = "published size of the dataset"
    shape = (known.side, known.side)
    found = _tiled(card, round(n_fields), shape, known.bytes_a_pixel, source)
    pixels = len(card.channels) * known.side**2
    return replace(found, bytes_to_fetch=round(n_fields) * pixels * known.bytes_a_pixel)


def _fields_in_source(
    card: DatasetCard, card_path: Path, sheet: Path, known: PublicImages
) -> float | None:
    """Return the number of fields that annotation table or list tell, if it can be read."""
    from transferscope.datasets.fetch import plan
    from transferscope.transport.patience import QUICK

    try:
        planned = plan(card, card_path, sheet, patience=QUICK)
    except UserError:
        return None
    return len(planned.table) * (1 if planned.complete else known.fields_a_group)


def _listed(sheet: SampleSheet, card: DatasetCard, tried: int) -> Fields:
    """Judge by the first good file: fields of one dataset nearly always have one size."""
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
    card: DatasetCard, n_fields: int, shape: tuple[int, int], bytes_a_pixel: int, source: str
) -> Fields:
    if card.cells is not None:
        return _cells(card, card.cells, n_fields, shape, bytes_a_pixel, source)
    places = plan_tiles(shape, card)
    tile = (len(card.channels), places[0].height, places[0].width)
    return Fields(
        n_fields=n_fields,
        n_tiles=n_fields * len(places),
        field_shape=shape,
        tile_shape=tile,
        bytes_a_pixel=bytes_a_pixel,
        pixel_size_um=_tile_pixel_size(card, shape),
        source=source,
    )


def _cells(
    card: DatasetCard,
    cells: CellSettings,
    n_fields: int,
    shape: tuple[int, int],
    bytes_a_pixel: int,
    source: str,
) -> Fields:
    """Assume a number of cells a field: only the segmentation can tell it."""
    whole = cells.segmentation.one_a_field
    cut = crop_side(cells.crop, card.pixel_size_um)
    side = cells.crop.tile_size_px or cut
    return Fields(
        n_fields=n_fields,
        n_tiles=n_fields * (1 if whole else CELLS_A_FIELD),
        field_shape=shape,
        tile_shape=(len(card.channels), side, side),
        bytes_a_pixel=bytes_a_pixel,
        pixel_size_um=card.pixel_size_um * cut / side if card.pixel_size_um else None,
        source=source if whole else f"{source}; {CELLS_A_FIELD} cells a field assumed",
    )


def _tile_pixel_size(card: DatasetCard, shape: tuple[int, int]) -> float | None:
    if card.pixel_size_um is None or card.tiles.mode != "resize" or card.tiles.size is None:
        return card.tiles.pixel_size_um or card.pixel_size_um
    return card.pixel_size_um * max(shape) / card.tiles.size

"""Dataset cards: the meaning of the channels, labels and pixels of a sample sheet, or a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from transferscope.cards.cells import CellSettings
from transferscope.cards.fetch import FetchSettings, HpaFetch
from transferscope.cards.masks import MaskSettings
from transferscope.config.model import Model, without_repeats
from transferscope.config.names import ChannelName, CollectionName, Name
from transferscope.runtime.fingerprint import fingerprint
from transferscope.transport.urls import checked_url, is_url

Label = Annotated[str, Field(min_length=1, pattern=r"^[^;]*$")]
ColumnName = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f]+$")]
AUTO = "auto"


def _auto_or_numbers(value: Any, numbers: Any) -> Any:
    """Take `auto`; else what a dictionary is: a union would report each mistake twice."""
    return value if value == AUTO else numbers(value)


IntensityRange = Annotated[
    dict[ChannelName, tuple[float, float]],
    WrapValidator(_auto_or_numbers),
    PlainSerializer(lambda value: value),
    WithJsonSchema(
        {
            "anyOf": [
                TypeAdapter(dict[ChannelName, tuple[float, float]]).json_schema(),
                {"const": AUTO, "type": "string"},
            ]
        }
    ),
]
Task = Literal["multi-label", "single-label"]
IMAGE_KEYS = (
    "channels",
    "ignore_channels",
    "channel_order",
    "pixel_size_um",
    "intensity_range",
    "z_projection",
    "tiles",
    "simulate",
)
# Keys of a card of images that mean nothing for a table, and the other way round.
ABOUT_IMAGES = (
    *IMAGE_KEYS,
    *("sheet", "roots", "location", "fetch", "published", "cells", "masks", "duplicates"),
)
ABOUT_TABLES = ("table", "columns", "features")
# The set of features of a table whose card names none.
DEFAULT_SET = "features"
# Keys of `fetch` that affect the download, not the content of the files.
DOWNLOAD_KEYS = {"downloads", "folder", "s3_endpoint"}


class ScreenSettings(Model):
    """How the simulator lays out a perturbation screen."""

    genes_per_complex: int = Field(3, ge=2, description="Genes whose effects are alike.")
    n_plates: int = Field(
        12, ge=2, description="Plates, a multiple of `fovs_per_group`, which each gene is on."
    )
    controls_per_plate: int = Field(
        16, ge=0, description="Wells of a plate without a perturbation."
    )
    plate_effects: float = Field(
        1.0,
        ge=0,
        le=10,
        description="Multiple of the differences between plates in light and camera; 0: none.",
    )


class SimulateSettings(Model):
    """How the built-in simulator makes the raw fields of a demo dataset."""

    domain: Literal["opencell", "hpa", "glands", "glands-other-lab"] = Field(
        description=(
            "What is simulated: fluorescence of tagged proteins (opencell, hpa), or stained glands "
            "with masks, of two labs."
        )
    )
    n_groups: int = Field(64, ge=12, description="Number of proteins, or of specimens.")
    fovs_per_group: int = Field(4, ge=1, description="Fields of view per protein or specimen.")
    fov_size: int = Field(128, ge=64, description="Side of a field in px.")
    seed: int = Field(0, ge=0, description="Seed of the whole dataset.")
    screen: ScreenSettings | None = Field(
        None,
        description=(
            "Make a perturbation screen: groups are genes, each on `fovs_per_group` of its plates. "
            "Null: tagged proteins."
        ),
    )

    @property
    def n_fovs(self) -> int:
        """Number of fields of view."""
        screen = self.screen
        controls = 0 if screen is None else screen.controls_per_plate * screen.n_plates
        return self.n_groups * self.fovs_per_group + controls

    @model_validator(mode="after")
    def _screen_fits(self) -> SimulateSettings:
        if self.screen is not None and self.domain not in ("opencell", "hpa"):
            raise ValueError("screen: only of cells, by domain opencell or hpa")
        if self.screen is not None and self.screen.n_plates % self.fovs_per_group:
            raise ValueError("screen.n_plates: give a multiple of fovs_per_group")
        return self

    @property
    def has_masks(self) -> bool:
        """Whether masks are written, too."""
        return self.domain.startswith("glands")


class TileSettings(Model):
    """How fields of any size become tiles of one size."""

    size: int | None = Field(
        None,
        ge=8,
        description="Side of a tile in px. Null: fields are kept, all of one size.",
    )
    mode: Literal["cut", "pad", "resize"] = Field(
        "cut",
        description=(
            "cut: a grid of tiles, smaller fields padded with zeros; pad: one tile per field, "
            "centre-cropped or zero-padded; resize: one tile per field, resampled with "
            "antialiasing."
        ),
    )
    pixel_size_um: float | None = Field(
        None,
        gt=0,
        description="Resample fields to this pixel size first. Null: no resampling.",
    )

    @property
    def one_per_field(self) -> bool:
        """Whether each field gives one tile, which then has the id of the sheet's row."""
        return self.size is None or self.mode != "cut"


class DatasetCard(Model):
    """A dataset: a sample sheet and the meaning of its channels, labels and pixels."""

    name: Name
    description: str = ""
    sheet: Path | None = Field(
        None,
        description="Sample sheet (TSV or CSV), relative to the card. Null: simulated or fetched.",
    )
    roots: list[str] = Field(
        default_factory=list,
        description=(
            "Further folders, relative to the sheet, or URLs of object stores, such as "
            "s3://bucket/plates, that may contain raw files. Without them, all files must be in "
            "the sheet's folder or below."
        ),
    )
    location: str | None = Field(
        None,
        description=(
            "URL in an object store, such as s3://bucket/plates, to which the paths of the sheet "
            "are relative. Null: to the sheet's own folder."
        ),
    )
    simulate: SimulateSettings | None = Field(
        None, description="Make the raw data with the built-in simulator instead of `sheet`."
    )
    fetch: FetchSettings | None = Field(
        None, description="Fetch the raw data from a public source instead of `sheet`."
    )
    published: str | None = Field(
        None,
        description=(
            "Use published tiles instead of `sheet`: URL of their manifest, such as "
            "s3://bucket/studies/demo/tiles/cells.json. They are read from there."
        ),
    )
    source: Literal["images", "table"] = Field(
        "images", description="images, or table: features or embeddings that exist already."
    )
    table: Path | None = Field(
        None,
        description=(
            "With `source: table`: the table, relative to the card, one row per tile, cell or "
            "well: Parquet (.parquet), text (.csv, .tsv), or AnnData (.h5ad)."
        ),
    )
    columns: dict[ColumnName, ColumnName] = Field(
        default_factory=dict,
        description=(
            "With `source: table`: column of a sample sheet -> the column of `table` that holds "
            "it, such as `group: Metadata_gene`. Columns that have the usual names (tile_id, "
            "group, labels, fov, batch, perturbation, control) are found by themselves."
        ),
    )
    features: dict[Name, str] = Field(
        default_factory=dict,
        description=(
            "With `source: table`: name of a set of features -> its columns, by name or pattern, "
            "such as `Cells_*|Nuclei_*|!*_Costes_*`, where ! leaves columns out; of AnnData, X or "
            "a key of obsm. Each set is evaluated as a backbone is. Default: one set, features, "
            "of all columns of numbers without a role whose name does not begin with Metadata_, "
            "or X of AnnData."
        ),
    )
    channels: list[ChannelName] = Field(
        default_factory=list,
        validate_default=True,
        description=(
            "What each channel shows, in the order of the file. Required, except with "
            "`source: table`."
        ),
    )
    ignore_channels: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list,
        description=(
            "Positions, from 0, of unused channels of a multi-channel file, such as the empty blue "
            "of an RGB file. `channels` names the others, in their order."
        ),
    )
    channel_order: Literal["auto", "first", "last"] = Field(
        "auto",
        description=(
            "Position of the channel axis of a multi-channel file: first (CYX), last (YXC), or "
            "auto: from the file's axes, else the axis whose length is the number of channels."
        ),
    )
    pixel_size_um: float | None = Field(None, gt=0, description="Pixel size in um. Null: unknown.")
    intensity_range: IntensityRange = Field(
        default_factory=dict,
        description=(
            "Raw values of black and white, per channel. Default: the range of the integer type. "
            "They are never estimated from the data, so that no test tile leaks, unless this is "
            "`auto`: percentiles 0.1 and 99.9 of each channel over all tiles, but of no label. "
            "The summary then says that pixels of test tiles were seen."
        ),
    )
    z_projection: Literal["max", "mean"] = Field("max", description="How z-stacks are projected.")
    task: Task = Field("multi-label", description="May a tile have several labels?")
    labels: list[Label] = Field(
        description=(
            "The classes over which macro scores are averaged: at least two. `[]` is for a dataset "
            "that is only used to train backbones (`training_datasets`)."
        )
    )
    class_names: dict[Label, Label] = Field(
        default_factory=dict,
        description=(
            "Class -> its name in other datasets, where that differs: `transfer` of a study trains "
            "on one dataset and tests on another by these names. Two classes may have one name."
        ),
    )
    label_table: Path | None = Field(
        None,
        description=(
            "Labels given by hand: a TSV or CSV, relative to the card, with the columns `tile_id` "
            "and `labels`, as saved by the page of `transferscope label`. They replace the labels "
            "of the sheet; tiles not in the table are unlabelled. Null: the sheet's labels."
        ),
    )
    tiles: TileSettings = TileSettings()
    cells: CellSettings | None = Field(
        None,
        description="Cut each field into single cells, one tile per cell. Null: tiles show fields.",
    )
    masks: MaskSettings | None = Field(
        None,
        description=(
            "What the values in the masks of the sheet's column `mask` mean, which segmentation "
            "learns and is scored on. Null: the dataset has no masks, or only those that `cells` "
            "are cut from."
        ),
    )
    duplicates: Literal["stop", "warn"] = Field(
        "stop",
        description=(
            "Where fields of different groups have the same file or the same pixels, or two "
            "channels the same file: stop, or warn, because it is known, as where stainings share "
            "an image of the nuclei."
        ),
    )
    collections: list[CollectionName] = Field(
        default_factory=list,
        description=(
            "Public collections of images, such as hpa, that may hold the same images or the same "
            "groups (such as proteins). The summary names the backbones that were trained on one "
            "of them (`trained_on` of their cards)."
        ),
    )
    licence: str = ""
    citation: str = ""

    _unique = field_validator("channels", "labels", "ignore_channels", "collections")(
        without_repeats
    )

    @field_validator("channels")
    @classmethod
    def _are_named(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if not value and info.data.get("source") == "images":
            if any(info.data.get(key) for key in ABOUT_TABLES):
                raise ValueError("missing; is this a table of features? Then add `source: table`")
            raise PydanticCustomError("missing", "name at least one channel")
        return value

    @field_validator("class_names")
    @classmethod
    def _are_classes(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if unknown := sorted(set(value) - set(info.data.get("labels", value))):
            raise ValueError(f"not among `labels`: {', '.join(unknown)}")
        return value

    @field_validator("table", mode="before")
    @classmethod
    def _is_here(cls, value: Any) -> Any:
        if is_url(str(value)):
            raise ValueError("is a URL: download the table, and give its path")
        return value

    @field_validator("columns")
    @classmethod
    def _not_reserved(cls, value: dict[str, str]) -> dict[str, str]:
        if filled := sorted({"source", "y", "x"} & set(value)):
            raise ValueError(f"filled by transferscope itself: {', '.join(filled)}")
        return value

    @field_validator("roots", "location", "published")
    @classmethod
    def _allowed(cls, value: list[str] | str | None) -> list[str] | str | None:
        if isinstance(value, list):
            return [checked_url(root) if is_url(root) else root for root in value]
        return None if value is None else checked_url(value)

    @model_validator(mode="after")
    def _consistent(self) -> DatasetCard:
        if self.source == "table":
            self._check_table()
            return self
        if given := self.model_fields_set.intersection(ABOUT_TABLES):
            named = ", ".join(sorted(given))
            raise ValueError(f"{named}: add `source: table`, or take it out")
        n_in_file = len(self.channels) + len(self.ignore_channels)
        if beyond := [i for i in self.ignore_channels if i >= n_in_file]:
            raise ValueError(f"ignore_channels: {beyond} of a file of {n_in_file} channels")
        sources = (self.sheet, self.simulate, self.fetch, self.published)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("give either `sheet`, `simulate`, `fetch` or `published`")
        if self.published is not None:
            self._check_published(self.published)
        if self.location is not None and self.sheet is None:
            raise ValueError("location says where the files of a `sheet` are: give both")
        if isinstance(self.fetch, HpaFetch) and set(self.fetch.colours) != set(self.channels):
            raise ValueError("fetch.colours must name each of `channels`, and nothing else")
        if unknown := sorted(set(self.given_ranges) - set(self.channels)):
            raise ValueError(f"intensity_range names no channel of this dataset: {unknown}")
        for channel, (low, high) in self.given_ranges.items():
            if not low < high:
                raise ValueError(f"intensity_range of {channel}: {low} is not below {high}")
        if self.tiles.pixel_size_um is not None and self.pixel_size_um is None:
            raise ValueError("tiles.pixel_size_um needs pixel_size_um, to know the scale")
        if self.cells is not None:
            self._check_cells(self.cells)
        if self.masks is not None:
            self._check_masks()
        return self

    def _check_table(self) -> None:
        if given := self.model_fields_set.intersection(ABOUT_IMAGES):
            named = ", ".join(sorted(given))
            raise ValueError(f"{named}: of images, but a table has none: take it out")
        if self.table is None:
            raise ValueError("source: table needs `table`, the path of the table")

    def _check_published(self, manifest: str) -> None:
        if not manifest.endswith(".json") or manifest.split("/")[-2] != "tiles":
            raise ValueError("published names the manifest of a tile store, tiles/<dataset>.json")
        if self.tiles != TileSettings() or self.cells is not None or self.ignore_channels:
            what = "`tiles`, `cells` and `ignore_channels`"
            raise ValueError(f"published tiles are cut already: take {what} out")

    def _check_cells(self, cells: CellSettings) -> None:
        method = cells.segmentation
        if self.tiles != TileSettings():
            raise ValueError("`cells.crop` says how tiles are cut: take `tiles` out")
        if cells.crop.size_um is not None and self.pixel_size_um is None:
            raise ValueError("cells.crop.size_um needs pixel_size_um, to know the scale")
        if method.reads_masks and self.sheet is None:
            raise ValueError("cells.segmentation.method: provided needs a `sheet` with masks")
        if unknown := [name for name in method.named_channels if name not in self.channels]:
            known = ", ".join(self.channels)
            raise ValueError(f"cells.segmentation names {unknown}, not among channels: {known}")

    def _check_masks(self) -> None:
        if self.cells is not None:
            raise ValueError("masks: of whole fields, not of `cells`: use a card without them")
        if self.sheet is None and self.simulate is None:
            raise ValueError("masks needs a `sheet` with the column `mask`")
        if self.simulate is not None and not self.simulate.has_masks:
            raise ValueError("masks: the simulator writes those of glands only: take it out")

    @property
    def given_ranges(self) -> dict[str, tuple[float, float]]:
        """Black and white of the channels for which the card has numbers."""
        return {} if self.ranges_from_tiles else self.intensity_range

    @property
    def ranges_from_tiles(self) -> bool:
        """Whether black and white are percentiles over all tiles."""
        return not isinstance(self.intensity_range, dict)

    @property
    def feature_sets(self) -> list[str]:
        """Names of the sets of features of a table; none of a dataset of images."""
        if self.source == "images":
            return []
        return list(self.features) or [DEFAULT_SET]

    @property
    def reads_masks(self) -> bool:
        """Whether its cells are made from masks that the sample sheet names."""
        return self.cells is not None and self.cells.segmentation.reads_masks

    def fetch_fingerprint(self) -> str:
        """Return a digest of the parts of the card that a fetched sample sheet depends on."""
        source = self.fetch.model_dump(mode="json", exclude=DOWNLOAD_KEYS) if self.fetch else {}
        return fingerprint([source, self.channels, self.labels, self.task])

    def image_fingerprint(self) -> str:
        """Return a digest of the parts of the card that tile images depend on, without labels."""
        images = self.model_dump(mode="json", include=set(IMAGE_KEYS))
        if self.cells is not None:
            images["cells"] = self.cells.model_dump(mode="json", exclude={"overlays"})
        return fingerprint(images)

"""The `cells` section of a dataset card: how fields become single-cell tiles."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from transferscope.config.model import Model
from transferscope.config.names import ChannelName


class _Segmentation(Model):
    """What other code asks of every method."""

    # Whether cells are made from masks that the sample sheet names.
    reads_masks: ClassVar[bool] = False
    # Whether a network finds the cells, by a library that is installed apart.
    runs_network: ClassVar[bool] = False
    # Whether each field is one cell.
    one_per_field: ClassVar[bool] = False

    @property
    def finds_nuclei(self) -> bool:
        """Whether the method itself tells nuclei from the rest of each cell."""
        return False

    @property
    def named_channels(self) -> list[ChannelName]:
        """Channels of the dataset that the method looks at."""
        return []


class ProvidedMasks(_Segmentation):
    """The sheet names the mask of each field: column `mask` and, if wanted, `nucleus_mask`."""

    reads_masks: ClassVar[bool] = True

    method: Literal["provided"]
    values: Literal["auto", "instances", "binary"] = Field(
        "auto",
        description=(
            "What a pixel of a mask says. instances: the number of its cell; binary: cell or not, "
            "so that each connected piece is a cell; auto: binary where a mask holds one value "
            "beside 0, and that is 1, 255 or 65535."
        ),
    )
    split: bool = Field(
        False,
        description=(
            "Whether pieces of a binary mask are split where they narrow (watershed on the "
            "distance to the edge). Of no effect on instance masks."
        ),
    )


class WatershedSegmentation(_Segmentation):
    """Nuclei by a threshold and a watershed; cells grown from them on other channels."""

    method: Literal["watershed"]
    nuclei: ChannelName = Field("nucleus", description="Channel that shows the nuclei.")
    cytoplasm: list[ChannelName] = Field(
        default_factory=list,
        description=(
            "Channels on which cells grow from the nuclei, each scaled to its range in the field, "
            "then averaged. Empty: the cells are the nuclei."
        ),
    )
    threshold: Literal["otsu", "li"] = Field(
        "otsu", description="Threshold of the nuclei, found in each field."
    )
    cytoplasm_threshold: Literal["otsu", "li"] = Field(
        "li", description="Threshold of the cytoplasm, found in each field."
    )
    cytoplasm_factor: float = Field(
        0.7,
        gt=0,
        description="The threshold of the cytoplasm is multiplied by this: cells end in thin rims.",
    )
    smoothing: float = Field(
        1.0,
        ge=0,
        description=(
            "Standard deviation of the Gaussian that smooths a channel first: in um where "
            "`pixel_size_um` is known, else in px."
        ),
    )
    nucleus_diameter: float | None = Field(
        None,
        gt=0,
        description=(
            "About how wide a nucleus is, which says how near two may lie: in um where "
            "`pixel_size_um` is known, else in px. Null: judged from the objects of each field."
        ),
    )

    @property
    def finds_nuclei(self) -> bool:
        """Whether cells are more than their nuclei."""
        return bool(self.cytoplasm)

    @property
    def named_channels(self) -> list[ChannelName]:
        """Channels of the dataset that the method looks at."""
        return [self.nuclei, *self.cytoplasm]


class WholeFields(_Segmentation):
    """Each field is one cell: for datasets whose files are single-cell crops already."""

    one_per_field: ClassVar[bool] = True

    method: Literal["whole"]


class CellposeSegmentation(_Segmentation):
    """Cellpose, which is installed by the extra `cellpose`."""

    runs_network: ClassVar[bool] = True

    method: Literal["cellpose"]
    model: str = Field("cpsam", description="Name of a Cellpose model, or path of one.")
    channels: list[ChannelName] = Field(
        min_length=1, max_length=3, description="Channels that the model sees, in this order."
    )
    diameter: float | None = Field(
        None,
        gt=0,
        description=(
            "Width of a cell: in um where `pixel_size_um` is known, else in px. Null: the model's."
        ),
    )

    @property
    def named_channels(self) -> list[ChannelName]:
        """Channels of the dataset that the method looks at."""
        return self.channels


Segmentation = Annotated[
    ProvidedMasks | WatershedSegmentation | WholeFields | CellposeSegmentation,
    Field(discriminator="method"),
]


class CropSettings(Model):
    """How a tile is cut around a cell."""

    centre: Literal["nucleus", "cell"] = Field(
        "cell", description="What lies in the middle; the cell where it has no nucleus."
    )
    size: int | None = Field(
        None, ge=8, description="Side of what is cut around a cell, in px of the field."
    )
    size_um: float | None = Field(None, gt=0, description="The same in um, in place of `size`.")
    tile_size_px: int | None = Field(
        None,
        ge=8,
        description=(
            "Side of the tile that each cut is resampled to, the same scale for every cell. Null: "
            "as it is cut."
        ),
    )
    masked: bool = Field(
        True, description="Whether all that is not of the cell is replaced by `fill`."
    )
    fill: Literal["zero", "background"] = Field(
        "zero",
        description=(
            "What stands outside the field, and outside the cell if masked. background: the median "
            "of the field outside all cells, a channel."
        ),
    )
    border_cells: Literal["keep", "drop"] = Field(
        "drop", description="What becomes of cells that touch the border of the field."
    )
    minimum_area: float = Field(
        0,
        ge=0,
        description="Smaller cells are dropped: um2 where `pixel_size_um` is known, else px.",
    )
    maximum_area: float | None = Field(
        None, gt=0, description="Larger cells are dropped, in the same unit. Null: no limit."
    )

    @model_validator(mode="after")
    def _consistent(self) -> CropSettings:
        if (self.size is None) == (self.size_um is None):
            raise ValueError("give either `size` or `size_um`")
        if self.maximum_area is not None and self.maximum_area <= self.minimum_area:
            raise ValueError("maximum_area must be above minimum_area")
        return self


class CellSettings(Model):
    """How the fields of a cell dataset are segmented and cut into one tile a cell."""

    segmentation: Segmentation = Field(description="How cells are found.")
    crop: CropSettings = Field(description="How a tile is cut around a cell.")
    overlays: int = Field(
        24, ge=0, description="Of how many fields, spread evenly, the outlines are drawn."
    )

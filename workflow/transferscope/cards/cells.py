"""The `cells` section of a dataset card: how fields become single-cell tiles."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from transferscope.config.model import Model
from transferscope.config.names import ChannelName


class _Segmentation(Model):
    """Base of all segmentation methods."""

    # Whether cells are made from masks that the sample sheet names.
    reads_masks: ClassVar[bool] = False
    # Whether a network finds the cells, with an optional dependency.
    runs_network: ClassVar[bool] = False
    # Whether each field is one cell.
    one_per_field: ClassVar[bool] = False

    @property
    def finds_nuclei(self) -> bool:
        """Whether the method segments nuclei in addition to cells."""
        return False

    @property
    def named_channels(self) -> list[ChannelName]:
        """Channels of the dataset that the method uses."""
        return []


class ProvidedMasks(_Segmentation):
    """The sheet names the mask of each field: column `mask` and, optionally, `nucleus_mask`."""

    reads_masks: ClassVar[bool] = True

    method: Literal["provided"]
    values: Literal["auto", "instances", "binary"] = Field(
        "auto",
        description=(
            "Meaning of the pixel values of a mask. instances: the number of the cell; binary: "
            "cell or background, so that each connected component is a cell; auto: binary if the "
            "only value other than 0 is 1, 255 or 65535."
        ),
    )
    split: bool = Field(
        False,
        description=(
            "Whether components of a binary mask are split by a watershed on the distance to the "
            "edge. No effect on instance masks."
        ),
    )


class WatershedSegmentation(_Segmentation):
    """Nuclei by threshold and watershed; cells by growing the nuclei on other channels."""

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
        "otsu", description="Threshold of the nuclei, computed per field."
    )
    cytoplasm_threshold: Literal["otsu", "li"] = Field(
        "li", description="Threshold of the cytoplasm, computed per field."
    )
    cytoplasm_factor: float = Field(
        0.7,
        gt=0,
        description="Factor on the threshold of the cytoplasm, as cells are thin at their rims.",
    )
    smoothing: float = Field(
        1.0,
        ge=0,
        description=(
            "Standard deviation of the Gaussian smoothing before the threshold, in um if "
            "`pixel_size_um` is known, else in px."
        ),
    )
    nucleus_diameter: float | None = Field(
        None,
        gt=0,
        description=(
            "Typical diameter of a nucleus, which limits how close two can be, in um if "
            "`pixel_size_um` is known, else in px. Null: estimated from the objects per field."
        ),
    )

    @property
    def finds_nuclei(self) -> bool:
        """Whether cells extend beyond their nuclei."""
        return bool(self.cytoplasm)

    @property
    def named_channels(self) -> list[ChannelName]:
        """Channels of the dataset that the method uses."""
        return [self.nuclei, *self.cytoplasm]


class WholeFields(_Segmentation):
    """Each field is one cell: for datasets whose files are single-cell crops already."""

    one_per_field: ClassVar[bool] = True

    method: Literal["whole"]


class CellposeSegmentation(_Segmentation):
    """Cellpose, which needs the extra `cellpose`."""

    runs_network: ClassVar[bool] = True

    method: Literal["cellpose"]
    model: str = Field("cpsam", description="Name or path of a Cellpose model.")
    channels: list[ChannelName] = Field(
        min_length=1, max_length=3, description="Input channels of the model, in this order."
    )
    diameter: float | None = Field(
        None,
        gt=0,
        description=(
            "Diameter of a cell, in um if `pixel_size_um` is known, else in px. Null: the model's."
        ),
    )

    @property
    def named_channels(self) -> list[ChannelName]:
        """Channels of the dataset that the method uses."""
        return self.channels


Segmentation = Annotated[
    ProvidedMasks | WatershedSegmentation | WholeFields | CellposeSegmentation,
    Field(discriminator="method"),
]


class CropSettings(Model):
    """How a tile is cut around a cell."""

    centre: Literal["nucleus", "cell"] = Field(
        "cell", description="Centre of the tile; the cell, if it has no nucleus."
    )
    size: int | None = Field(
        None, ge=8, description="Side of the crop around a cell, in px of the field."
    )
    size_um: float | None = Field(None, gt=0, description="The same in um, instead of `size`.")
    tile_size_px: int | None = Field(
        None,
        ge=8,
        description=(
            "Side of the tile that each crop is resampled to, at the same scale for all cells. "
            "Null: not resampled."
        ),
    )
    masked: bool = Field(
        True, description="Whether everything outside the cell is replaced by `fill`."
    )
    fill: Literal["zero", "background"] = Field(
        "zero",
        description=(
            "Value outside the field, and outside the cell if masked. background: the median per "
            "channel of the field outside all cells."
        ),
    )
    border_cells: Literal["keep", "drop"] = Field(
        "drop", description="Cells that touch the border of the field."
    )
    minimum_area: float = Field(
        0,
        ge=0,
        description="Smaller cells are dropped: um2 if `pixel_size_um` is known, else px.",
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
    """How the fields of a cell dataset are segmented and cut into one tile per cell."""

    segmentation: Segmentation = Field(description="How cells are found.")
    crop: CropSettings = Field(description="How a tile is cut around a cell.")
    overlays: int = Field(
        24, ge=0, description="Number of fields, spread evenly, whose outlines are drawn."
    )

"""Settings of comparison and figures."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from transferscope.config.model import Model
from transferscope.config.vocabulary import Metric


class CompareSettings(Model):
    """How results are compared."""

    metric: Metric = Field(
        "macro_f1", description="Metric of the summary and the figures; one of `metrics`."
    )
    bootstrap: int = Field(1000, ge=100, description="Bootstrap draws of groups.")
    margin: float = Field(
        0.02,
        gt=0,
        lt=1,
        description=(
            "Differences of the metric below it are of no practical importance: two stores are "
            "called practically equal where the difference is shown to be below it."
        ),
    )
    confidence: float = Field(
        0.95,
        gt=0.5,
        lt=1,
        description="Coverage of the intervals; 1 - confidence is the level of the tests.",
    )
    seed: int = Field(0, ge=0, description="Seed of the draws, shared by all backbones (paired).")


GALLERY_TILES = 6


class FigureSettings(Model):
    """Appearance of the figures; a change only draws them again."""

    dpi: int = Field(150, ge=50, le=2400, description="Resolution of the PNG figures.")
    map: Literal["tsne", "umap"] = Field(
        "tsne", description="Method of the 2-D maps; umap needs the extra `umap`."
    )
    map_points: int = Field(2000, ge=100, description="Maximum number of tiles in a 2-D map.")
    gallery: int | None = Field(
        None,
        ge=0,
        le=40,
        description=(
            "Tiles per dataset to show with their nearest neighbours. Null: 6, of images that are "
            "scored; 0: no such figure."
        ),
    )

    @property
    def gallery_tiles(self) -> int:
        """Tiles that a gallery shows."""
        return GALLERY_TILES if self.gallery is None else self.gallery

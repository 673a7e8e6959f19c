"""The figures of a study: tables in, SVG and PNG out."""

from __future__ import annotations

from transferscope.figures.dispatch import FIGURES, draw_figure
from transferscope.figures.embedding_maps import StoreView, draw_embedding_maps

__all__ = ["FIGURES", "StoreView", "draw_embedding_maps", "draw_figure"]

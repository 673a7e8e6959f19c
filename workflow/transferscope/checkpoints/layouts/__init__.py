"""Layouts: one module per family of networks, from the most specific to the plainest."""

from __future__ import annotations

from transferscope.checkpoints.layouts import (
    channelvit,
    dino,
    dinov2,
    dinov3,
    mae,
    openphenom,
    subcell,
    timm_names,
)
from transferscope.checkpoints.layouts.base import Layout

# The order in which layouts are tried: the first that recognises a file converts it.
LAYOUTS: tuple[Layout, ...] = (
    openphenom.LAYOUT,
    channelvit.LAYOUT,
    subcell.LAYOUT,
    dinov3.LAYOUT,
    *dinov2.LAYOUTS,
    mae.LAYOUT,
    *dino.LAYOUTS,
    *timm_names.LAYOUTS,
)

__all__ = ["LAYOUTS", "Layout"]

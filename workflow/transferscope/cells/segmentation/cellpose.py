"""Cells by Cellpose, an extra that is imported only where a card asks for it."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from functools import cache
from typing import Any

import numpy as np

from transferscope.cards import CellposeSegmentation
from transferscope.cells.segmentation.segmented import SegmentedField, counted
from transferscope.errors import Problem, UserError
from transferscope.runtime.arrays import Pixels
from transferscope.runtime.shipped import install_hint

INSTALL = install_hint("cellpose")
# One network serves all threads, one field at a time.
_model_lock = threading.Lock()


def check_installed(where: str) -> list[Problem]:
    """Return a problem where Cellpose is not installed.

    Parameters
    ----------
    where
        Card and key, for the message.
    """
    found = importlib.util.find_spec("cellpose")
    return [] if found else [Problem(where, "Cellpose is not installed", INSTALL)]


def cellpose_cells(
    field: Pixels,
    channels: list[str],
    settings: CellposeSegmentation,
    pixel_size_um: float | None,
) -> SegmentedField:
    """Segment one field by Cellpose 4's `CellposeModel.eval`.

    Parameters
    ----------
    field
        [C, H, W], uint8 or uint16.
    channels
        Name of each channel.
    settings
        Model, channels and diameter.
    pixel_size_um
        Pixel size; None: the diameter is in px.

    Raises
    ------
    UserError
        Where Cellpose is not installed.
    """
    diameter = settings.diameter
    if diameter is not None and pixel_size_um is not None:
        diameter /= pixel_size_um
    planes = np.stack([field[channels.index(name)] for name in settings.channels])
    with _model_lock:
        masks = _model(settings.model).eval(planes, channel_axis=0, diameter=diameter)[0]
    return counted(np.asarray(masks))


@cache
def _model(name: str) -> Any:
    try:
        models = importlib.import_module("cellpose.models")
        core = importlib.import_module("cellpose.core")
    except ImportError:
        raise UserError(
            Problem("cells.segmentation.method", "Cellpose is not installed", INSTALL)
        ) from None
    return models.CellposeModel(gpu=core.use_gpu(), pretrained_model=name)

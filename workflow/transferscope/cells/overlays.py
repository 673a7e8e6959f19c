"""Fields with the outlines of their cells, so that wrong segmentations are seen.

Outlines can be told apart with every common colour vision on a grey image: kept cells sky blue,
dropped ones orange, nuclei reddish purple, after Okabe and Ito (Wong, Nature Methods 8, 441, 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from transferscope.cells.field import decode
from transferscope.cells.measures import knows_nuclei
from transferscope.cells.outlines import outlines
from transferscope.cells.plan import CellPlan
from transferscope.cells.records import RecordFolder
from transferscope.runtime.arrays import Pixels
from transferscope.runtime.ordered_map import ordered_map
from transferscope.runtime.progress import progress_bar
from transferscope.tiles.contact_sheets import (
    LONGEST_NAME,
    add_legend,
    emptied,
    file_name,
    save_png,
)

Colours = npt.NDArray[np.float32]
SKY_BLUE, ORANGE, PURPLE = (0.34, 0.71, 0.91), (0.90, 0.62, 0.0), (0.80, 0.47, 0.65)
# Larger fields are shrunk by whole numbers before they are drawn.
MOST_PIXELS = 1024
DPI = 100
TITLE_INCHES = 0.6
SMALLEST_INCHES = 4.0
DRAWN_PERCENTILES = (0.5, 99.8)
# Of PNG: noise gets no smaller by higher levels, which take three times as long.
COMPRESSION = 3


def draw_overlays(
    plan: CellPlan, folder: RecordFolder, positions: Sequence[int], output: Path, workers: int
) -> list[Path]:
    """Draw the outlines of some fields, spread evenly.

    Parameters
    ----------
    plan, folder
        The dataset and the records of its fields.
    positions
        The fields that were segmented.
    output
        Folder to write `<number>_<tile_id>.png` into; what it held is removed.
    workers
        Fields at a time.

    Returns
    -------
    list of Path
        The figures.
    """
    emptied(output)
    count = min(plan.settings.overlays, len(positions))
    chosen = [positions[int(i)] for i in np.linspace(0, len(positions) - 1, count).round()]
    figures = []

    with progress_bar(f"Outlines of {plan.card.name}", len(chosen), "fields") as bar:
        for position, (image, title) in ordered_map(
            partial(_overlay, plan, folder), chosen, workers
        ):
            name = file_name(plan.sheet.tile_ids[position], "field")
            path = output / f"{position:06d}_{name}.png"
            _save(image, title, plan, path)
            figures.append(path)
            bar.update()
    return figures


def _overlay(plan: CellPlan, folder: RecordFolder, position: int) -> tuple[Colours, str]:
    """Return the picture [H, W, 3] of a field, and its title."""
    field, planes = decode(plan, position), folder.labels(position)
    step = -(-max(field.shape[1:]) // MOST_PIXELS)
    field, planes = field[:, ::step, ::step], planes[:, ::step, ::step]
    record = folder.read(position)
    image = np.repeat(_grey(field)[..., None], 3, axis=2)
    kept = np.isin(planes[0], record.numbers)
    edge = outlines(planes[0])
    if len(planes) > 1:
        image[outlines(planes[1])] = PURPLE
    image[edge & kept] = SKY_BLUE
    image[edge & ~kept] = ORANGE
    name = plan.sheet.tile_ids[position][:LONGEST_NAME]
    return image, f"{name}: {record.kept} of {len(record.areas)} cells kept"


def _grey(field: Pixels) -> Colours:
    """Return the mean of all channels, each scaled to its own percentiles."""
    low, high = np.percentile(field, DRAWN_PERCENTILES, axis=(1, 2))[..., None, None]
    scaled = (field - low) / np.maximum(high - low, 1)
    return np.asarray(scaled.clip(0, 1).mean(axis=0), np.float32)


def _save(image: Colours, title: str, plan: CellPlan, path: Path) -> None:
    height, width = image.shape[:2]
    inches = max(SMALLEST_INCHES, width / DPI)
    figure = Figure(figsize=(inches, inches * height / width + TITLE_INCHES), dpi=DPI)
    top = 1 - TITLE_INCHES / figure.get_figheight()
    axes = figure.add_axes((0, 0, 1, top))
    axes.imshow((image * 255).round().astype(np.uint8), interpolation="nearest")
    axes.set_axis_off()
    figure.text(0.5, 1, title, fontsize=8, ha="center", va="top")
    colours = {"kept": SKY_BLUE, "dropped": ORANGE}
    if knows_nuclei(plan.sheet, plan.card):
        colours["nucleus"] = PURPLE
    add_legend(figure, colours, top + 0.01, fontsize=8, va="bottom")
    save_png(figure, path, dpi=DPI, pil_kwargs={"compress_level": COMPRESSION})

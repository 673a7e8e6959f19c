"""Tiles and masks of one dataset of a study as OME-Zarr, for viewers such as napari.

One image with all tiles, of which viewers show one at a time: NGFF 0.5 (Moore et al., Nature
Methods 18, 1496, 2021; https://ngff.openmicroscopy.org/0.5) knows no axis of its own for them, so
that they are along `t`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from transferscope.errors import user_error
from transferscope.figures.style import MANY_COLOURS
from transferscope.runtime.arrays import Values
from transferscope.runtime.atomic_files import make_folder, writing
from transferscope.runtime.progress import progress_bar
from transferscope.stores.target_store import IGNORE, TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.study.opened import OpenedDataset
from transferscope.tiles.contact_sheets import display_limits, drawn_channels

SUFFIX = ".zarr"
VERSION = "0.5"
LEVEL, LABELS, MASKS = "0", "labels", "masks"
AXIS_TYPES = {"t": "time", "c": "channel", "y": "space", "x": "space"}
# Of channels that pictures do not draw; they are switched off.
GREY = (0.5, 0.5, 0.5)
TRANSPARENT = [0, 0, 0, 0]


def write_ome_zarr(dataset: OpenedDataset, output: Path) -> None:
    """Write all tiles of a dataset, and their masks where the study has targets.

    Parameters
    ----------
    dataset
        The dataset.
    output
        The folder, which does not exist yet: an image [t, c, y, x] of the N tiles in the order of
        the tile table, in raw values, with names, colours and display ranges of the channels, the
        size of a pixel where it is known, and the ids of the tiles; below `labels/masks` their
        masks [t, y, x].

    Raises
    ------
    UserError
        If the folder exists or has another ending, or there are no tiles or they are damaged.
    """
    if output.suffix.lower() != SUFFIX:
        fix = f"Give one that ends in {SUFFIX}."
        raise user_error(output, "is no name of an OME-Zarr", fix)
    if output.exists():
        raise user_error(output, "exists already", "Give another name, or remove it.")
    tiles = dataset.tiles
    targets = dataset.targets if dataset.has_targets else None
    with writing(output):
        make_folder(output.absolute().parent)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            written = Path(folder) / output.name
            about = _multiscales(dataset.name, "tcyx", tiles.pixel_size_um)
            about |= {"omero": {"channels": _channels(dataset), "rdefs": {"model": "color"}}}
            root = zarr.create_group(written, zarr_format=3, attributes={"ome": about})
            own = {"study": dataset.opened.name, "dataset": dataset.name}
            root.attrs["transferscope"] = {**own, "tile_id": tiles.tile_ids}
            _copy(root, "tcyx", tiles, tiles.read, f"Tiles of {dataset.name}")
            if targets is not None:
                _write_masks(root, dataset.name, tiles, targets)
            written.rename(output)


def _write_masks(root: Any, name: str, tiles: TileStore, targets: TargetStore) -> None:
    def read(start: int, stop: int) -> Values:
        return targets.read(np.arange(start, min(stop, len(targets))))

    root.create_group(LABELS, attributes={"ome": {"version": VERSION, "labels": [MASKS]}})
    image_label = {**_values(targets), "source": {"image": "../../"}}
    about = _multiscales(MASKS, "tyx", tiles.pixel_size_um) | {"image-label": image_label}
    group = root.create_group(f"{LABELS}/{MASKS}", attributes={"ome": about})
    _copy(group, "tyx", targets, read, f"Masks of {name}")


def _values(targets: TargetStore) -> dict[str, Any]:
    """Return name and colour of each value that has one; objects are coloured by the viewer."""
    classes = targets.classes if targets.kind != "instances" else ()
    named = dict(enumerate(classes, 1)) | {int(IGNORE): "unknown"}
    rgba = [[*bytes.fromhex(each[1:]), 255] for each in islice(cycle(MANY_COLOURS), len(classes))]
    colours = zip(named, [*rgba, TRANSPARENT], strict=True)
    return {
        "colors": [{"label-value": value, "rgba": colour} for value, colour in colours],
        "properties": [{"label-value": value, "class": name} for value, name in named.items()],
    }


def _multiscales(name: str, axes: str, pixel_size_um: float | None) -> dict[str, Any]:
    """Return the metadata of an image with one level."""
    described: list[dict[str, str]] = [{"name": axis, "type": AXIS_TYPES[axis]} for axis in axes]
    scale = [1.0] * len(axes)
    if pixel_size_um is not None:
        for axis in described[-2:]:
            axis["unit"] = "micrometer"
        scale[-2:] = [pixel_size_um] * 2
    level = {"path": LEVEL, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    return {
        "version": VERSION,
        "multiscales": [{"name": name, "axes": described, "datasets": [level]}],
    }


def _channels(dataset: OpenedDataset) -> list[dict[str, Any]]:
    """Return how each channel is shown: as in the contact sheets."""
    tiles = dataset.tiles
    drawn = drawn_channels(tiles.channels)
    brightest = int(np.iinfo(tiles.array.dtype).max)
    found = []
    for name, (low, high) in zip(
        tiles.channels, display_limits(tiles, dataset.card).tolist(), strict=True
    ):
        colour = "".join(f"{round(255 * part):02X}" for part in drawn.get(name, GREY))
        window = {"min": 0, "max": brightest, "start": low, "end": high}
        shown = {"label": name, "color": colour, "active": name in drawn, "window": window}
        found.append(shown)
    return found


def _copy(
    group: Any,
    axes: Sequence[str],
    store: TileStore | TargetStore,
    read: Callable[[int, int], Values],
    title: str,
) -> None:
    """Copy the rows of a store, with one chunk per plane and one file per block."""
    shape = store.manifest.shape
    array = group.create_array(
        LEVEL,
        shape=shape,
        dtype=store.array.dtype,
        chunks=(1,) * (len(shape) - 2) + shape[-2:],
        shards=(store.block_rows, *shape[1:]),
        compressors=BloscCodec(cname="zstd", shuffle="shuffle"),
        dimension_names=list(axes),
    )
    with progress_bar(title, len(store), "tiles") as bar:
        for start in range(0, len(store), store.block_rows):
            stop = min(start + store.block_rows, len(store))
            array[start:stop] = read(start, stop)
            bar.update(stop - start)

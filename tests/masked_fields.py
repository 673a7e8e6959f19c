"""A small dataset of fields with masks, as a user would lay it out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from transferscope.cards import DatasetCard
from transferscope.targets.build import make_targets
from transferscope.tiles.build import make_tiles


def card(
    kind: str = "instances", tiles: Mapping[str, Any] | None = None, **masks: Any
) -> DatasetCard:
    return DatasetCard.model_validate(
        {
            "name": "d", "sheet": "samples.tsv", "channels": ["stain"], "labels": ["a", "b"],
            "pixel_size_um": 1.0, "tiles": dict(tiles or {}), "masks": {"kind": kind, **masks},
        }
    )  # fmt: skip


def write_fields(folder: Path, masks: Sequence[np.ndarray | None], seed: int = 0) -> Path:
    """Write a field for each mask, and the masks; one that is None has no file. Return the sheet.

    The values of a field are those of its mask, so that both are cut alike or seen not to be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows = []
    for index, mask in enumerate(masks):
        shape = (24, 24) if mask is None else mask.shape[:2]
        noise = rng.integers(1000, 60_000, shape).astype(np.uint16)
        is_plane = mask is not None and mask.ndim == 2 and mask.dtype.kind in "ub"
        image = noise if not is_plane else mask.astype(np.uint16) + 1
        if image.min() == image.max():
            image = noise
        tifffile.imwrite(folder / f"f{index}.tif", image)
        name = "" if mask is None else f"f{index}_mask.tif"
        if mask is not None:
            photometric = "rgb" if mask.ndim == 3 else "minisblack"
            tifffile.imwrite(folder / name, mask, photometric=photometric)
        rows.append(
            {"tile_id": f"f{index}", "path": f"f{index}.tif", "group": f"g{index}",
             "labels": "a", "mask": name}
        )  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    return folder / "samples.tsv"


def build_tiles(sheet: Path, described: DatasetCard, *, skip: bool = False) -> Path:
    """Make the tile store of a sheet; return its manifest."""
    folder = sheet.parent / "tiles"
    make_tiles(
        sheet, described, manifest=folder / "d.json", tile_table=folder / "d.parquet",
        quality=folder / "q.csv", skipped=folder / "s.tsv", bad_tiles="skip" if skip else "stop",
    )  # fmt: skip
    return folder / "d.json"


def build_targets(sheet: Path, described: DatasetCard, tiles: Path, workers: int = 2) -> Path:
    """Make the target store of a sheet; return its manifest."""
    folder = sheet.parent / "targets"
    make_targets(
        sheet, described, tiles, manifest=folder / "d.json", table=folder / "d.csv", workers=workers
    )
    return folder / "d.json"

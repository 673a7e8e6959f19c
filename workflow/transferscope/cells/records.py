"""What the segmentation of each field found, kept next to the store so that a killed job resumes.

A folder with two files per field: its label image (compressed TIFF; a second plane for nuclei), and
its numbers (NPZ), which are written after it and by rename. A field with numbers is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from transferscope.cells.segmentation import SegmentedField
from transferscope.runtime.arrays import Floats, Integers, Pixels
from transferscope.runtime.atomic_files import replacing

DROPPED = ("border", "small", "large", "constant")
ARRAYS = ("table", "places", "quality", "areas")


@dataclass(frozen=True)
class FieldRecord:
    """The cells of one field.

    Parameters
    ----------
    table
        [kept, columns] float64: the measures of the cells that are kept.
    places
        [kept, 2] int64: y and x of each tile.
    quality
        [kept, C, measures] float64: `Quality.values()` of each tile and channel.
    areas
        [found] float64: area of every cell, kept or not, in px.
    touching
        Number of cells at the border of the field.
    dropped
        Number of cells dropped for each of `DROPPED`; the first reason counts.
    covered
        Share of the field that cells cover.
    prints
        `planes_print` of the field; empty in records of older versions.
    doubts
        What is odd about the mask, as text; empty: nothing.
    """

    table: Floats
    places: Integers
    quality: Floats
    areas: Floats
    touching: int
    dropped: dict[str, int]
    covered: float
    prints: str = ""
    doubts: str = ""

    @property
    def kept(self) -> int:
        """Number of cells that become tiles."""
        return len(self.table)

    @property
    def numbers(self) -> Integers:
        """[kept] number of each cell in the label image: the first of its measures."""
        return self.table[:, 0].astype(np.int64)


class RecordFolder:
    """The folder of the records.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, position: int) -> bool:
        """Return whether the field at a position of the sheet is done."""
        return self._numbers(position).is_file()

    def write(self, position: int, record: FieldRecord, segmented: SegmentedField) -> None:
        """Write a field's label image, then its numbers."""
        planes = [_numbered(segmented)]
        if segmented.nuclei is not None:
            planes.append(segmented.nuclei.astype(np.uint32))
        with replacing(self.label_image(position)) as temporary, temporary.open("wb") as image:
            tifffile.imwrite(
                image,
                np.stack(planes),
                photometric="minisblack",
                compression="zlib",
                metadata={"axes": "CYX"},
                software=False,
            )
        with replacing(self._numbers(position)) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                **{name: getattr(record, name) for name in ARRAYS},
                counts=[record.touching, *(record.dropped[reason] for reason in DROPPED)],
                covered=record.covered,
                prints=record.prints,
                doubts=record.doubts,
            )

    def read(self, position: int) -> FieldRecord:
        """Return the record of a field that is done."""
        with np.load(self._numbers(position), allow_pickle=False) as found:
            arrays = {name: found[name] for name in ARRAYS}
            touching, *dropped = found["counts"].tolist()
            counts = dict(zip(DROPPED, dropped, strict=True))
            covered = float(found["covered"])
            prints = str(found["prints"]) if "prints" in found else ""
            doubts = str(found["doubts"]) if "doubts" in found else ""
        return FieldRecord(
            **arrays,
            touching=touching,
            dropped=counts,
            covered=covered,
            prints=prints,
            doubts=doubts,
        )

    def labels(self, position: int) -> npt.NDArray[np.uint32]:
        """Return [1 or 2, H, W]: the number of each pixel's cell, and nuclei where known."""
        image = np.asarray(tifffile.imread(self.label_image(position)))
        return image if image.ndim == 3 else image[None]

    def label_image(self, position: int) -> Path:
        """Return the path of a field's label image."""
        return self.path / f"{position:06d}.tif"

    def _numbers(self, position: int) -> Path:
        return self.path / f"{position:06d}.npz"


def _numbered(segmented: SegmentedField) -> Pixels:
    """Return [H, W] uint32, with the numbers that cells have in the mask that they come from."""
    lookup = np.concatenate([[0], segmented.numbers]).astype(np.uint32)
    return np.asarray(lookup[segmented.cells])

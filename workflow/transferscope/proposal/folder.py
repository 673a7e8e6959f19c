"""What kinds of files a folder holds: images, masks, tables, and formats that are not read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from transferscope.errors import Problem, UserError
from transferscope.proposal.label_tables import TABLES, WORKBOOK
from transferscope.proposal.masks import is_mask
from transferscope.raw.folders import files_below
from transferscope.raw.zarr_fields import ZARR

IMAGES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ZARR)
FOREIGN = {
    ".czi": "Zeiss",
    ".nd2": "Nikon",
    ".lif": "Leica",
    ".lsm": "Zeiss",
    ".oib": "Olympus",
    ".oif": "Olympus",
    ".vsi": "Olympus",
    ".ims": "Imaris",
    ".stk": "MetaMorph",
    ".c01": "Cellomics",
}
CONVERT = (
    "Convert each to OME-TIFF, one field per file: `bfconvert {name} {stem}_%s.ome.tif` "
    "(Bio-Formats command line tools), or in Fiji by File > Save As > OME-TIFF."
)


@dataclass
class Folder:
    """The files of a folder, relative to it.

    Parameters
    ----------
    path
        The folder.
    images, masks, tables, workbooks, foreign
        Its files by kind.
    skipped
        What was not looked at, and why.
    """

    path: Path
    images: list[Path] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    workbooks: list[Path] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def look_into(path: Path) -> Folder:
    """Return what a folder holds.

    Raises
    ------
    UserError
        Where there is no image that can be read.
    """
    found = files_below(path)
    folder = Folder(path, skipped=found.skipped)
    for file in found.paths:
        suffix = _suffix(file)
        if suffix in IMAGES:
            (folder.masks if is_mask(file) else folder.images).append(file)
        elif suffix in TABLES:
            folder.tables.append(file)
        elif suffix == WORKBOOK:
            folder.workbooks.append(file)
        elif suffix in FOREIGN:
            folder.foreign.append(file)
    if not folder.images:
        folder.images, folder.masks = folder.masks, []
    if not folder.images and folder.foreign:
        raise UserError(foreign_problem(folder))
    if not folder.images:
        what = f"holds no images ({', '.join(IMAGES)})"
        raise UserError(Problem(str(path), what, "Name the folder of the images."))
    return folder


def _suffix(file: Path) -> str:
    """Return the suffix of a file, or of the OME-Zarr of which it is an image."""
    holder = next((part for part in file.parents if part.suffix.lower() == ZARR), file)
    return holder.suffix.lower()


def foreign_problem(folder: Folder) -> Problem:
    """Return that files are in formats of microscopes, and how to convert them."""
    first = folder.foreign[0]
    kinds = sorted({file.suffix.lower() for file in folder.foreign})
    makers = ", ".join(dict.fromkeys(FOREIGN[kind] for kind in kinds))
    what = f"{len(folder.foreign)} files are in a format of {makers} that is not read"
    return Problem(
        f"{folder.path} ({', '.join(kinds)})",
        what,
        CONVERT.format(name=first.name, stem=first.stem),
    )

"""Mask files: pairs of them to compare, of two files or of two folders, and writing them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
from tifffile import TiffWriter

from transferscope.errors import Problem, UserError
from transferscope.raw.file_checks import first_problems
from transferscope.raw.folders import files_below
from transferscope.raw.image_formats import MASK_TYPES, read_header
from transferscope.raw.masks import read_mask
from transferscope.raw.zarr_fields import ZARR
from transferscope.runtime.arrays import Pixels
from transferscope.runtime.atomic_files import replacing

# JPEG is refused, with a reason, when it is read.
SUFFIXES = (".png", ".tif", ".tiff", ZARR, ".jpg", ".jpeg")
# Second suffixes that belong to the first.
INNER = (".ome",)
NAMES_SHOWN = 5
# 16 bits.
LARGEST_PNG_BYTES = 2


@dataclass(frozen=True)
class MaskPair:
    """A true mask and a predicted one of the same image.

    Parameters
    ----------
    name
        Their name without suffix, relative to the folders.
    true, predicted
        The files.
    """

    name: str
    true: Path
    predicted: Path


def pairs_of(true: Path, predicted: Path) -> list[MaskPair]:
    """Return the pairs of two files, or of two folders, by name.

    Parameters
    ----------
    true, predicted
        Two masks (PNG, TIFF, OME-Zarr), or two folders of masks whose names are equal but for the
        suffix.

    Raises
    ------
    UserError
        Where one is a file and the other a folder, a folder holds no mask, or names differ.
    """
    folders = [path for path in (true, predicted) if _is_folder(path)]
    if not folders:
        return [MaskPair(_plain(Path(true.name)), true, predicted)]
    if len(folders) == 1:
        what = f"is a folder, but {predicted if folders == [true] else true} a file"
        raise UserError(Problem(str(folders[0]), what, "Give two masks, or two folders of masks."))
    found = [_masks_in(true), _masks_in(predicted)]
    problems = [*_without_partner(true, found[0], predicted, found[1])]
    problems += _without_partner(predicted, found[1], true, found[0])
    if problems:
        raise UserError(problems)
    return [MaskPair(name, path, found[1][name]) for name, path in found[0].items()]


def check_pairs(pairs: list[MaskPair]) -> None:
    """Read the headers of all masks.

    Raises
    ------
    UserError
        Where a file is no mask, or the two of a pair differ in size: all such pairs, at once.
    """
    problems = [problem for pair in pairs for problem in _faults(pair)]
    if problems:
        raise UserError(first_problems(problems, str(pairs[0].true.parent), "masks have problems"))


def read_pair(pair: MaskPair) -> tuple[Pixels, Pixels]:
    """Return the predicted and the true mask, each [H, W], bool or integer, never negative.

    Raises
    ------
    UserError
        Where one cannot be read as a mask.
    """
    shape = _shape_of(pair.true)
    return read_mask(pair.predicted, shape), read_mask(pair.true, shape)


def write_mask(path: Path, mask: Pixels, pixel_size_um: float | None) -> None:
    """Write a mask as PNG, or as OME-TIFF.

    Parameters
    ----------
    path
        File to write; its suffix says which of them, `.png` or `.ome.tif`.
    mask
        [H, W], unsigned integers.
    pixel_size_um
        Pixel size that the OME-TIFF states; None: none.

    Raises
    ------
    UserError
        Where PNG cannot hold the values, or the disk fails.
    """
    if path.suffix == ".png" and mask.dtype.itemsize > LARGEST_PNG_BYTES:
        what = f"values up to {int(mask.max()):,} do not fit into a PNG"
        raise UserError(Problem(str(path), what, "Give --format tiff."))
    with replacing(path) as temporary:
        if path.suffix == ".png":
            temporary.write_bytes(imagecodecs.png_encode(mask))
            return
        size = (
            {}
            if pixel_size_um is None
            else {"PhysicalSizeX": pixel_size_um, "PhysicalSizeY": pixel_size_um}
        )
        with TiffWriter(temporary, ome=True) as file:
            file.write(mask, compression="zlib", metadata={"axes": "YX", **size})


def _faults(pair: MaskPair) -> Iterator[Problem]:
    shapes = []
    for path in (pair.true, pair.predicted):
        try:
            shapes.append(_shape_of(path))
        except UserError as error:
            yield from error.problems
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        (height, width), (other_height, other_width) = shapes
        what = f"is {other_height} x {other_width} px, but {pair.true} {height} x {width}"
        yield Problem(str(pair.predicted), what, "Export both masks at the size of their image.")


def _shape_of(path: Path) -> tuple[int, int]:
    """Return height and width in px.

    Raises
    ------
    UserError
        Where the file is no mask.
    """
    header = read_header(path, MASK_TYPES)
    sizes = dict(zip(header.axes, header.shape, strict=True))
    return sizes["Y"], sizes["X"]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix != ZARR


def _plain(path: Path) -> str:
    """Return a name without its suffixes.

    Examples
    --------
    >>> _plain(Path("plate/a.1.ome.tif"))
    'plate/a.1'
    """
    plain = path.with_suffix("")
    return (plain.with_suffix("") if plain.suffix.lower() in INNER else plain).as_posix()


def _masks_in(folder: Path) -> dict[str, Path]:
    """Return the masks in a folder by name, in the order of names."""
    paths = [path for path in files_below(folder).paths if path.suffix.lower() in SUFFIXES]
    if not paths:
        fix = "Give the folder of the masks (.png, .tif, .tiff or .zarr)."
        raise UserError(Problem(str(folder), "holds no masks", fix))
    found: dict[str, Path] = {}
    problems = []
    for path in paths:
        if (first := found.setdefault(_plain(path), folder / path)) != folder / path:
            what = f"has the name of {first}, except for the suffix"
            problems.append(Problem(str(folder / path), what, "Remove one of them."))
    if problems:
        raise UserError(first_problems(problems, str(folder), "masks have the name of another"))
    return dict(sorted(found.items()))


def _without_partner(
    folder: Path, own: Mapping[str, Path], other_folder: Path, others: Mapping[str, Path]
) -> Iterator[Problem]:
    names = [name for name in own if name not in others]
    if names:
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        listed = ", ".join(str(own[name].relative_to(folder)) for name in names[:NAMES_SHOWN])
        what = f"{len(names)} of {len(own)} masks have no partner in {other_folder}: {listed}{more}"
        yield Problem(str(folder), what, "Give both masks of an image the same name.")

"""Masks: numbers that are not those of cells, colours, holes, single pixels."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from corpus_cases import Array, Mask, case, noise
from PIL import Image
from scipy import ndimage

SIDE = 48


def squares(*corners: tuple[int, int], side: int = 8) -> Array:
    """Return a mask of squares, numbered from 1."""
    mask = np.zeros((SIDE, SIDE), np.uint16)
    for number, (y, x) in enumerate(corners, start=1):
        mask[y : y + side, x : x + side] = number
    return mask


FOUR = squares((4, 4), (4, 30), (30, 4), (30, 30))


def tiff(folder: Path, mask: Array, **options: object) -> Path:
    tifffile.imwrite(folder / "mask.tif", mask, **{"photometric": "minisblack", **options})
    return folder / "mask.tif"


WHOLE_NUMBERS = "numbers of its cells as uint16, or uint32"


@case
def mask_as_it_should_be(folder: Path) -> Mask:
    return Mask(tiff(folder, FOUR), 4)


@case
def mask_with_a_palette(folder: Path) -> Mask:
    tifffile.imwrite(
        folder / "mask.tif", FOUR.astype("u1"), photometric="palette", colormap=noise(3, 256)
    )
    return Mask(folder / "mask.tif", 4)


@case
def mask_of_numbers_in_min_is_white(folder: Path) -> Mask:
    return Mask(tiff(folder, FOUR, photometric="miniswhite"), 4)


@case
def mask_of_two_values_in_min_is_white(folder: Path) -> Mask:
    mask = (FOUR > 0).astype("u1") * 255
    return Mask(tiff(folder, mask, photometric="miniswhite"), message="0 is white")


@case
def mask_in_cmyk(folder: Path) -> Mask:
    mask = np.repeat(FOUR.astype("u1")[..., None], 4, 2)
    return Mask(tiff(folder, mask, photometric="separated"), message="CMYK")


@case
def mask_with_one_number_twice(folder: Path) -> Mask:
    mask = FOUR.copy()
    mask[mask == 4] = 1
    return Mask(tiff(folder, mask), 3, r"1 of 3 cells are in pieces far apart \(number 1: 2 pieces")


@case
def mask_cut_to_8_bits(folder: Path) -> Mask:
    mask = np.zeros((SIDE, SIDE), np.uint16)
    for number in range(23 * 23):
        y, x = divmod(number, 23)
        mask[2 * y + 1, 2 * x + 1 : 2 * x + 3] = number + 1
    return Mask(tiff(folder, (mask % 256).astype("u1")), 255, "far apart .*8 bits")


@case
def mask_of_classes(folder: Path) -> Mask:
    mask = np.where(FOUR > 2, 2, FOUR > 0).astype("u1")
    return Mask(tiff(folder, mask), 2, "2 of 2 cells are in pieces far apart .*classes")


@case
def mask_with_specks(folder: Path) -> Mask:
    mask = FOUR.copy()
    mask[20, 20] = 1
    return Mask(tiff(folder, mask), 4)


@case
def mask_with_holes(folder: Path) -> Mask:
    mask = FOUR.copy()
    mask[32:36, 32:36] = 0
    return Mask(tiff(folder, mask), 4, r"1 of 4 cells have holes \(number 4: 25% of it\)")


@case
def mask_of_rims(folder: Path) -> Mask:
    inner = ndimage.minimum_filter(FOUR, 3)
    return Mask(tiff(folder, FOUR - inner), 4, "4 of 4 cells have holes")


@case
def mask_that_is_an_image(folder: Path) -> Mask:
    mask = np.zeros((SIDE, SIDE), np.uint16)
    mask[12:36, 12:36] = np.random.default_rng(0).permutation(576).reshape(24, 24)
    return Mask(tiff(folder, mask), 575, "575 of 575 cells are a single pixel")


@case
def mask_in_a_png_of_16_bits(folder: Path) -> Mask:
    (folder / "mask.png").write_bytes(imagecodecs.png_encode(FOUR * 300))
    return Mask(folder / "mask.png", 4)


@case
def mask_of_other_size(folder: Path) -> Mask:
    return Mask(tiff(folder, FOUR[::2, ::2]), message="24 x 24 px")


@case
def mask_that_is_empty(folder: Path) -> Mask:
    return Mask(tiff(folder, FOUR * 0), message="empty")


@case
def mask_with_a_palette_in_a_png(folder: Path) -> Mask:
    image = Image.fromarray(FOUR.astype("u1"), "P")
    image.putpalette(bytes(range(256)) * 3)
    image.save(folder / "mask.png", transparency=0)
    return Mask(folder / "mask.png", 4)


@case
def mask_with_a_palette_of_two_bits(folder: Path) -> Mask:
    image = Image.fromarray(np.minimum(FOUR, 3).astype("u1"), "P")
    image.putpalette(bytes(range(12)))
    image.save(folder / "mask.png", bits=2)
    return Mask(folder / "mask.png", 3, "1 of 3 cells are in pieces far apart .number 3: 2 pieces")


@case
def mask_of_one_bit_in_a_png(folder: Path) -> Mask:
    Image.fromarray(FOUR > 0).save(folder / "mask.png")
    return Mask(folder / "mask.png", 4)


@case
def mask_of_one_bit_in_a_tiff(folder: Path) -> Mask:
    return Mask(tiff(folder, FOUR > 0), 4)


@case
def mask_in_a_tiff_of_jpegs(folder: Path) -> Mask:
    path = tiff(folder, FOUR.astype("u1"), compression="jpeg")
    return Mask(path, message="compressed as JPEG, which blurs numbers")


@case
def mask_of_floats(folder: Path) -> Mask:
    """Scaling, as of images, would change the numbers; 8 bits would cut them off."""
    return Mask(tiff(folder, FOUR.astype("f4")), message=WHOLE_NUMBERS)


@case
def mask_of_64_bits(folder: Path) -> Mask:
    return Mask(tiff(folder, FOUR.astype("u8")), message=WHOLE_NUMBERS)

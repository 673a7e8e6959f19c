"""A look at some raw fields before a run: a few seconds, whatever the dataset's size."""

from __future__ import annotations

import time

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.float_values import as_stored, scaled_from, stored_ranges, without_range
from transferscope.raw.images import decode_field
from transferscope.raw.sheets import SampleSheet
from transferscope.runtime.arrays import Pixels
from transferscope.tiles.doubts import Looked, doubts_about, some_pixels
from transferscope.tiles.quality import measure

MOST_FIELDS = 12
FEWEST_FIELDS = 2
# No further field is opened after this time.
SECONDS = 2.0
# Larger fields are thinned out before they are measured.
LARGEST_SIDE = 512


def look_at_fields(sheet: SampleSheet, card: DatasetCard) -> list[Problem]:
    """Return what is doubtful about the pixels of some fields, spread evenly over a sheet.

    Fields that cannot be decoded are passed over: others report them. Fields in an object store
    are not fetched for this.

    Parameters
    ----------
    sheet, card
        The dataset.
    """
    images = some_fields(sheet, card)
    # Floats without a range are a problem that their headers tell.
    if not images or without_range(card, images[0].dtype):
        return []
    ranges, given = stored_ranges(card, images[0].dtype), scaled_from(card, images[0].dtype)
    images = [as_stored(image, card) for image in images]
    whites = [white for _, white in ranges]
    quality = np.array([[one.values() for one in map(measure, image, whites)] for image in images])
    looked = Looked(quality, some_pixels(images), "fields looked at")
    return doubts_about(looked, card.channels, ranges, float(np.iinfo(images[0].dtype).max), given)


def some_fields(
    sheet: SampleSheet, card: DatasetCard, most: int = MOST_FIELDS, seconds: float = SECONDS
) -> list[Pixels]:
    """Return some fields, [C, H, W] each, thinned out where they are large.

    Parameters
    ----------
    sheet, card
        The dataset.
    most, seconds
        Fields, and time after which no further one is opened.
    """
    images: list[Pixels] = []
    if sheet.is_remote:
        return images
    began = time.monotonic()
    for position in np.unique(np.linspace(0, len(sheet) - 1, most).round().astype(int)):
        if len(images) >= FEWEST_FIELDS and time.monotonic() - began > seconds:
            break
        try:
            separate = sheet.one_file_per_channel
            image = decode_field(sheet.files(int(position)), card, one_file_per_channel=separate)
        except UserError:
            continue
        if not images or image.dtype == images[0].dtype:
            step = -(-max(image.shape[1:]) // LARGEST_SIDE)
            images.append(np.ascontiguousarray(image[:, ::step, ::step]))
    return images

"""What makes pixels unlikely to show what their card says: a range that fits no image, no signal.

A doubt is said with numbers, before backbones are fed: white or black images give scores, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations, permutations

import numpy as np

from transferscope.errors import Problem, UserError
from transferscope.raw.names import warn
from transferscope.runtime.arrays import Floats, Pixels
from transferscope.tiles.quality import Quality

# Raised when other pixels are doubted: what was found to be in order is looked at again.
DOUBTS_VERSION = 1
# Share of pixels at or above white from which on a channel is saturated: a range that ends at the
# 98th percentile is still within it.
MOST_SATURATED = 0.05
# A channel is nearly black where nearly all images end below this share of its range.
DARKEST, NEARLY_ALL = 0.05, 0.95
# Share of the tiles that are constant.
MOST_CONSTANT = 0.5
# Share of a channel's variance that another one explains, or two others by a weighted sum. Stains
# of one structure reach .93; the second bound is that of channels that are called red, green, blue.
EXPLAINED, EXPLAINED_IN_RGB = 0.99, 0.9999
RGB = frozenset({"red", "green", "blue"})
FEWEST_PIXELS = 1_000
MOST_PIXELS = 100_000
BINS = 64
MEASURES = [field.name for field in fields(Quality)]
SEPARATE = "Give each stain as a channel of its own, as the microscope recorded it, not a picture."


@dataclass(frozen=True)
class Looked:
    """What was measured of some images.

    Parameters
    ----------
    quality
        `Quality.values()` of each image and channel, [N, C, measures].
    pixels
        Values of pixels that are spread over the images, [C, P].
    what
        What an image is: "tiles", or "fields".
    """

    quality: Floats
    pixels: Pixels
    what: str


def doubts_about(
    looked: Looked,
    channels: Sequence[str],
    ranges: Sequence[Sequence[float]],
    largest: float,
    scaled_from: Sequence[tuple[float, float]] | None = None,
) -> list[Problem]:
    """Return what is doubtful about the pixels of a dataset; each is without the place.

    Parameters
    ----------
    looked
        What was measured.
    channels
        Names of the C channels.
    ranges
        Black and white of each channel, as stored, [C][2].
    largest
        Largest value of the integer type.
    scaled_from
        Range of each channel in the files, where they hold floats: it was scaled to the whole type.
    """
    found: list[Problem] = []
    for number, (name, (black, white)) in enumerate(zip(channels, ranges, strict=True)):
        measured = dict(zip(MEASURES, looked.quality[:, number].T, strict=True))
        limits = float(black), float(white)
        if scaled_from is None:
            found += _of_channel(name, measured, limits, largest, looked.what)
        else:
            found += _of_scaled(name, measured, scaled_from[number], largest, looked.what)
    return found + list(_merged(looked.pixels, channels))


def judge(doubts: Sequence[Problem], where: str, quality: str) -> list[Problem]:
    """Warn of doubts, or return them where they stop a study.

    Parameters
    ----------
    doubts
        From `doubts_about`.
    where
        What they are about.
    quality
        `warn` or `stop`.
    """
    placed = [Problem(where, doubt.what, doubt.fix) for doubt in doubts]
    if quality == "stop":
        return placed
    warn(placed)
    return []


def judge_now(doubts: Sequence[Problem], where: str, quality: str) -> None:
    """Warn of doubts, or raise them; parameters as of `judge`."""
    if stops := judge(doubts, where, quality):
        raise UserError(stops)


def sentences_of(doubts: Sequence[Problem]) -> list[str]:
    """Return doubts as sentences, for the attributes of a store."""
    return [f"{doubt.what[:1].upper()}{doubt.what[1:]}. {doubt.fix}".strip() for doubt in doubts]


def some_pixels(images: Sequence[Pixels]) -> Pixels:
    """Return pixels that are spread evenly over images, [C, P] of each [C, H, W]."""
    total = sum(image[0].size for image in images)
    step = max(1, -(-total // MOST_PIXELS))
    return np.concatenate([image.reshape(len(image), -1)[:, ::step] for image in images], axis=1)


def suggested_range(low: float, high: float, largest: float) -> tuple[int, int]:
    """Return black and white of two significant digits that hold a range of integers.

    Examples
    --------
    >>> suggested_range(2827.0, 53421.0, 65535.0)
    (2800, 54000)
    """

    def step(value: float) -> float:
        return float(10 ** max(0, int(np.floor(np.log10(max(value, 1)))) - 1))

    black = int(np.floor(low / step(low)) * step(low))
    white = int(min(np.ceil(high / step(high)) * step(high), largest))
    return black, max(white, black + 1)


def suggested_float_range(low: float, high: float) -> tuple[float, float]:
    """Return black and white, in hundredths of their difference or finer, that hold floats.

    Examples
    --------
    >>> suggested_float_range(-0.0312, 0.8765)
    (-0.04, 0.88)
    """
    extent = max(high - low, float(np.finfo(np.float32).tiny))
    digits = 1 - int(np.floor(np.log10(extent)))
    step = 10.0**-digits
    black = round(float(np.floor(low / step)) * step, digits)
    white = round(float(np.ceil(high / step)) * step, digits)
    return black, max(white, round(black + step, digits))


def _of_channel(
    name: str, measured: dict[str, Floats], limits: tuple[float, float], largest: float, what: str
) -> Iterator[Problem]:
    """Yield the doubts about one channel."""
    black, white = limits
    constant = measured["constant"] > 0
    if constant.mean() >= MOST_CONSTANT:
        text = f"channel {name} is constant in {constant.sum():,} of {len(constant):,} {what}"
        yield Problem("", text, "Leave it out (`ignore_channels`), or export it again.")
        return
    low, high = np.median(measured["p0_1"]), np.quantile(measured["p99_9"], NEARLY_ALL)
    usual = np.median(measured["p50"])
    share = float(measured["saturated"].mean())
    better = "[{}, {}]".format(*suggested_range(float(low), float(high), largest))
    fix = f"Set `intensity_range` of {name} to about {better}."
    if share > MOST_SATURATED and white >= largest:
        text = (
            f"{share:.0%} of the pixels of channel {name} have the largest value that the files "
            f"can hold ({largest:,.0f}): the images are overexposed"
        )
        yield Problem("", text, "Take others if there are any: what is cut off is lost.")
    elif share > MOST_SATURATED:
        text = (
            f"the intensity range of {name}, [{black:g}, {white:g}], does not fit the images: "
            f"{share:.0%} of the pixels are at or above white (values reach {high:,.0f}, the "
            f"median is {usual:,.0f})"
        )
        yield Problem("", text, fix)
    elif high < black + DARKEST * (white - black):
        text = (
            f"channel {name} is nearly black in the intensity range [{black:g}, {white:g}]: "
            f"values of the images reach {high:,.0f} (99.9 % of the pixels in "
            f"{NEARLY_ALL:.0%} of the {what})"
        )
        yield Problem("", text, fix)


def _of_scaled(
    name: str, measured: dict[str, Floats], limits: tuple[float, float], white: float, what: str
) -> Iterator[Problem]:
    """Yield the doubts about one channel of floats, of which 0 to `white` were `limits`."""
    low, high = limits
    given = f"the intensity range [{low:g}, {high:g}]"
    fix = f"Set `intensity_range` of {name} to what the files hold."
    if (constant := measured["constant"] > 0).mean() >= MOST_CONSTANT:
        text = (
            f"channel {name} is constant in {constant.sum():,} of {len(constant):,} {what}, in "
            f"{given}"
        )
        yield Problem("", text, fix)
    elif (share := float(measured["saturated"].mean())) > MOST_SATURATED:
        text = (
            f"{given} of {name} does not fit the images: {share:.0%} of the pixels are at or above "
            "white"
        )
        yield Problem("", text, fix)
    elif (top := np.quantile(measured["p99_9"], NEARLY_ALL) / white) < DARKEST:
        reached = low + float(top) * (high - low)
        text = (
            f"channel {name} is nearly black in {given}: values of the images reach {reached:.3g} "
            f"(99.9 % of the pixels in {NEARLY_ALL:.0%} of the {what})"
        )
        yield Problem("", text, fix)


def _merged(pixels: Pixels, channels: Sequence[str]) -> Iterator[Problem]:
    """Yield that channels are mixed colours of a picture, or one image twice."""
    values = pixels.astype(np.float64)
    if values.shape[1] < FEWEST_PIXELS:
        return
    varying = [number for number in range(len(channels)) if np.ptp(values[number]) > 0]
    bound = EXPLAINED_IN_RGB if set(channels) >= RGB else EXPLAINED
    for one, other in combinations(varying, 2):
        explained = max(_explained(values[a], values[b]) for a, b in ((one, other), (other, one)))
        if explained > bound:
            text = (
                f"the channels {channels[one]} and {channels[other]} are nearly a function of "
                f"each other ({min(explained, 0.9999):.2%} of the variance): as in a grey or "
                "coloured picture, and not as in two stains"
            )
            yield Problem("", text, SEPARATE)
            return
    if set(channels) >= RGB:
        return
    for target, one, other in permutations(varying, 3):
        if one < other and (share := _mixed(values[target], values[[one, other]])) > bound:
            text = (
                f"channel {channels[target]} is a mixture of {channels[one]} and "
                f"{channels[other]} ({min(share, 0.9999):.2%} of the variance), as in a picture "
                "with merged colours"
            )
            yield Problem("", text, SEPARATE)
            return


def _explained(by: Floats, target: Floats) -> float:
    """Return the share of a channel's variance between bins of another: the correlation ratio."""
    edges = np.unique(np.quantile(by, np.linspace(0, 1, BINS + 1)[1:-1]))
    bright = np.linspace(edges[-1], by.max(), BINS)[1:-1]  # a few pixels with most of the variance
    bins = np.digitize(by, np.unique(np.concatenate([edges, bright])))
    counts = np.bincount(bins)
    means = np.bincount(bins, target) / np.maximum(counts, 1)
    between = float((counts * (means - target.mean()) ** 2).sum())
    return between / float(((target - target.mean()) ** 2).sum())


def _mixed(target: Floats, others: Floats) -> float:
    """Return the share of a channel's variance that a weighted sum of others explains."""
    centred = others - others.mean(axis=1, keepdims=True)
    wanted = target - target.mean()
    weights, *_ = np.linalg.lstsq(centred.T, wanted, rcond=None)
    return 1 - float(((wanted - weights @ centred) ** 2).sum() / (wanted**2).sum())

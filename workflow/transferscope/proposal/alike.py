"""Which fields are so alike that they may be of one experiment, or show the same place twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.cluster.hierarchy import fcluster, linkage

from transferscope.cards import DatasetCard
from transferscope.raw.images import decode_field
from transferscope.raw.sheets import SampleSheet
from transferscope.raw.text_tables import read_table
from transferscope.runtime.arrays import Floats, Integers, Values
from transferscope.runtime.progress import progress_bar

# Side in px to which fields are reduced before they are laid over each other.
REDUCED_SIDE = 64
# Correlation at the best shift from which two fields count as one. Fields of a few bright blobs on
# black come to .6 by chance.
SAME_PLACE = 0.8
# The darker part of a field, in which background is looked for.
DARK_SHARE = 0.4
ROUNDING = 1e-9


def look(image: Values) -> Floats:
    """Return what the microscope and the preparation did to a field, and not what it shows.

    Parameters
    ----------
    image
        One channel, [H, W].

    Returns
    -------
    ndarray
        Logarithms of the level of the background, of its spread and its noise, and of the
        brightness of what is brightest; and the steepest step relative to it; float64 [5].
    """
    values = np.asarray(image, np.float64)
    background, bright = np.quantile(values, [DARK_SHARE / 2, 0.99])
    dark = values <= np.quantile(values, DARK_SHARE)
    noise = np.abs(ndimage.laplace(values))[dark].mean()
    height = max(bright - background, 1.0)
    steepest = np.quantile(np.abs(np.diff(values, axis=0)), 0.995) / height
    logs = np.log1p([background, values[dark].std(), noise, bright])
    return np.array([*logs, steepest])


def by_look(looks: Floats, number: int) -> Integers:
    """Return for each field, [n], the number of its cluster, from 0.

    Parameters
    ----------
    looks
        Of each field, [n, d].
    number
        Largest number of clusters: complete linkage of standardised looks, so that no cluster
        holds two fields that are far from each other.
    """
    if len(looks) < 2:
        return np.zeros(len(looks), np.int64)
    deviation = looks.std(axis=0)
    scaled = (looks - looks.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    found: Integers = fcluster(linkage(scaled, "complete"), number, "maxclust").astype(np.int64)
    return found - 1


def reduced(image: Values) -> Floats:
    """Return a field [H, W] at `REDUCED_SIDE`, with mean 0 and deviation 1; constant ones are 0."""
    values = np.asarray(image, np.float64)
    factors = [REDUCED_SIDE / side for side in values.shape]
    sigma = [max(0.0, 0.4 / factor - 0.4) for factor in factors]
    small: Floats = ndimage.zoom(ndimage.gaussian_filter(values, sigma), factors, order=1)
    deviation, mean = small.std(), small.mean()
    # What rounding leaves of a constant field is no pattern.
    if deviation <= ROUNDING * abs(mean):
        return np.zeros_like(small)
    scaled: Floats = (small - mean) / deviation
    return scaled


def same_place(fields: Sequence[Floats]) -> list[tuple[int, int]]:
    """Return the pairs of fields that correlate by `SAME_PLACE` or more at any shift.

    Parameters
    ----------
    fields
        From `reduced`. Shifts go around the edges: fields that overlap by less than about
        `SAME_PLACE` of their area are not found.
    """
    spectra = np.fft.rfft2(np.stack(fields)) if fields else np.empty(0)
    area = REDUCED_SIDE**2
    found = []
    for first in range(len(fields) - 1):
        products = spectra[first] * spectra[first + 1 :].conj()
        best = np.fft.irfft2(products, s=(REDUCED_SIDE,) * 2).max(axis=(1, 2)) / area
        found += [(first, first + 1 + int(n)) for n in np.flatnonzero(best >= SAME_PLACE)]
    return found


def joined(groups: Sequence[object], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each field the number of its group, after the groups of each pair are joined.

    Examples
    --------
    >>> joined(["a", "b", "a", "c"], [(1, 2)])
    [0, 0, 0, 1]
    """
    names = list(dict.fromkeys(groups))
    leader = {name: name for name in names}

    def find(name: object) -> object:
        while leader[name] != name:
            name = leader[name]
        return name

    for one, other in pairs:
        first, second = sorted((find(groups[one]), find(groups[other])), key=names.index)
        leader[second] = first
    order = list(dict.fromkeys(find(name) for name in groups))
    return [order.index(find(name)) for name in groups]


@dataclass(frozen=True)
class Regrouped:
    """A sample sheet with the groups of fields that are alike.

    Parameters
    ----------
    table
        The sheet; `group` is new, and `group_before` what it was.
    same
        Pairs of rows, from 0, that show the same place.
    """

    table: pd.DataFrame
    same: list[tuple[int, int]]


def regrouped(sheet: SampleSheet, card: DatasetCard, number: int) -> Regrouped:
    """Group the fields of a dataset by what they look like; every field is decoded once.

    Parameters
    ----------
    sheet, card
        The dataset.
    number
        Largest number of looks to tell apart. Groups of fields that show the same place are joined
        further, and so are those of fields that had one group before.

    Raises
    ------
    UserError
        If a field cannot be decoded.
    """
    looks, small = [], []
    with progress_bar(f"Fields of {card.name}", len(sheet), "fields") as bar:
        for position in range(len(sheet)):
            separate = sheet.one_file_per_channel
            field = decode_field(sheet.files(position), card, one_file_per_channel=separate)
            looks.append(np.concatenate([look(channel) for channel in field]))
            small.append(reduced(field.mean(axis=0)))
            bar.update()
    same = same_place(small)
    before = sheet.table["group"].astype(str).tolist()
    first = {name: before.index(name) for name in dict.fromkeys(before)}
    kept = [(first[name], position) for position, name in enumerate(before)]
    clusters = by_look(np.stack(looks), number).tolist()
    found = joined(clusters, [*same, *kept])
    width = len(str(max(found, default=0)))
    names = [f"look-{n:0{width}}" for n in found]
    # Columns that the reader filled in say nothing that the sheet did not.
    own = list(read_table(sheet.path).columns)
    return Regrouped(sheet.table[own].assign(group=names, group_before=before), same)

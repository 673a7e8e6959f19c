"""Do neighbours share biology or the batch? The robustness index, with what its interval needs.

Of the k nearest neighbours of a tile, SO are of the same class and another batch, OS of another
class and the same batch. The index is SO / (SO + OS) (Koemen et al. 2025, arXiv 2507.17845; its
predecessor, de Jong et al. 2025, arXiv 2501.18055, is (SS + SO) / (SS + OS), which also counts
neighbours that share both). Two things differ here. Neighbours of the tile's own group are left
out: they are alike for being of one well or patient. And each count is divided by the number of
tiles that could have been such a neighbour, so that the index is 1/2 where neighbours are drawn at
random, whatever the sizes of classes and batches; published datasets are balanced, with as many
classes as batches, and there both are the same number.

The interval is over groups: the index is found again without each group in turn, both as one whose
neighbours are counted and as neighbours of others (jackknife over groups, within strata of the same
class and batches). What two groups have in common is counted by both of them, so that the variance
is too large (Efron and Stein 1981, doi:10.1214/aos/1176345462); up to half of that part is taken
off, the less the smaller the strata: shares that were chosen by simulation
(benchmarks/coverage_of_robustness.py). The null shuffles batches between groups of the same class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from transferscope.probes.nearest import nearest
from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers

# Pairs of a tile and a group that are looked at at once, times neighbours.
VALUES_AT_ONCE = 1 << 23


@dataclass(frozen=True)
class Neighbourhood:
    """Tiles of known class and batch, with their nearest tiles of other groups.

    Parameters
    ----------
    matrix
        Labels of the tiles, bool [N, C]. Tiles are of the same class if they share one.
    batches, groups
        Codes of batch and group, int64 [N], without gaps.
    near
        Rows of the nearest tiles of other groups, int64 [N, K], K at least `k`.
    k
        How many are counted; the others take their places where a group is left out.
    """

    matrix: Bools
    batches: Integers
    groups: Integers
    near: Integers
    k: int

    @classmethod
    def of(
        cls, embeddings: Floats32, matrix: Bools, batches: Integers, groups: Integers, k: int
    ) -> Neighbourhood:
        """Find the neighbours, by cosine.

        Parameters
        ----------
        embeddings
            [N, D].
        matrix, batches, groups
            As above.
        k
            Neighbours to count; fewer where there are not as many outside of any two groups.
        """
        rows, sizes = np.arange(len(embeddings)), np.sort(np.bincount(groups))
        k = max(min(k, len(rows) - int(sizes[-2:].sum())), 1)
        wanted = min(k + int(sizes[-1]), len(rows) - int(sizes[-1]))
        found = nearest(embeddings, "cosine", rows, rows, [len(rows)], [wanted], groups)
        return cls(matrix, batches, groups, found[0].rows, k)

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1

    @cached_property
    def label_sets(self) -> tuple[Integers, Bools]:
        """The set of labels of each tile, [N], and whether two sets share a label, [S, S]."""
        sets, codes = np.unique(self.matrix, axis=0, return_inverse=True)
        numbers = sets.astype(np.float32)
        return codes.ravel().astype(np.int64), numbers @ numbers.T > 0

    @cached_property
    def units(self) -> _Units:
        """Tiles with the same labels, batch and group."""
        labels, alike = self.label_sets
        found, codes, sizes = np.unique(
            np.stack([self.groups, self.batches, labels]),
            axis=1,
            return_inverse=True,
            return_counts=True,
        )
        return _Units(codes.ravel(), found[2], found[1], found[0], sizes.astype(float), alike)

    @cached_property
    def shares_class(self) -> Bools:
        """Whether a neighbour is of the same class, bool [N, K]."""
        labels, alike = self.label_sets
        shared: Bools = alike[labels[:, None], labels[self.near]]
        return shared

    def kinds(self, batches: Integers) -> Bools:
        """Return which of all K neighbours are SO, and which OS, bool [2, N, K]."""
        same_batch = batches[:, None] == batches[self.near]
        return np.stack([self.shares_class & ~same_batch, ~self.shares_class & same_batch])


@dataclass(frozen=True)
class _Units:
    """Tiles with the same labels, batch and group: U units, sorted by group and then by batch.

    Parameters
    ----------
    of_tile
        Unit of each tile, [N].
    labels, batches, groups, sizes
        Set of labels, batch, group and number of tiles of each unit, [U].
    alike
        Whether two sets of labels share one, [S, S].
    """

    of_tile: Integers
    labels: Integers
    batches: Integers
    groups: Integers
    sizes: Floats
    alike: Bools

    @cached_property
    def in_group(self) -> tuple[Integers, Integers]:
        """All pairs of units of one group, each with itself, too."""
        members = np.bincount(self.groups)
        starts = np.cumsum(members) - members
        n_pairs = members[self.groups]
        first = np.repeat(np.arange(len(self.groups)), n_pairs)
        within = np.arange(len(first)) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
        return first, starts[self.groups[first]] + within

    def summed(self, counts: Integers) -> Floats:
        """Return sums over the tiles of each unit, [2, N] -> [2, U]."""
        return np.stack([np.bincount(self.of_tile, each, len(self.sizes)) for each in counts])

    def available(self, batches: Integers) -> Floats:
        """Return the tiles of other groups that could be SO, and OS, [2, U].

        Parameters
        ----------
        batches
            Batch of each unit.
        """
        n_batches = int(batches.max()) + 1
        cells = np.zeros((len(self.alike), n_batches))
        np.add.at(cells, (self.labels, batches), self.sizes)
        alike = self.alike.astype(float) @ cells
        both = np.stack([alike.sum(axis=1, keepdims=True) - alike, cells.sum(axis=0) - alike])
        first, second = self.in_group
        own = self.candidates(first, second, batches) * self.sizes[second]
        return np.asarray(both[:, self.labels, batches] - self._per_unit(first, own))

    def candidates(self, first: Integers, second: Integers, batches: Integers) -> Bools:
        """Return whether units could be SO, and OS, of others, bool [2, n]."""
        alike = self.alike[self.labels[first], self.labels[second]]
        same_batch = batches[first] == batches[second]
        return np.stack([alike & ~same_batch, ~alike & same_batch])

    def of_groups(self, start: int, stop: int) -> Floats:
        """Return the tiles of each of some groups that could be SO, and OS, of each unit.

        Parameters
        ----------
        start, stop
            The groups.

        Returns
        -------
        float64 [2, stop - start, U]
        """
        first, last = np.searchsorted(self.groups, [start, stop])
        own = slice(first, last)
        shape = stop - start, len(self.alike), int(self.batches.max()) + 1
        cells = np.zeros(shape)
        np.add.at(
            cells,
            (self.groups[own] - start, self.labels[own], self.batches[own]),
            self.sizes[own],
        )
        alike = self.alike.astype(float) @ cells
        both = np.stack(
            [alike.sum(axis=2, keepdims=True) - alike, cells.sum(axis=1, keepdims=True) - alike]
        )
        return np.asarray(both[:, :, self.labels, self.batches])

    def _per_unit(self, units: Integers, values: Floats) -> Floats:
        return np.stack([np.bincount(units, each, len(self.sizes)) for each in values])


def index(hood: Neighbourhood) -> float:
    """Return the robustness index; NaN where no tile has candidates, or neighbours, of a kind."""
    counts = hood.kinds(hood.batches)[:, :, : hood.k].sum(axis=2)
    units = hood.units
    return float(_ratio(units.summed(counts), units.available(units.batches)))


def _rates(counts: Floats, available: Floats) -> Floats:
    """Return counts over what could have been, 0 for units that lack either, [2, ..., U]."""
    usable = (available > 0).all(axis=0)
    found: Floats = np.divide(counts, available, out=np.zeros_like(counts), where=usable)
    return found


def _ratio(counts: Floats, available: Floats) -> Floats:
    """Return the index from counts and numbers of candidates, [2, ..., U] -> [...]."""
    both = _rates(counts, available).sum(axis=-1)
    total = both.sum(axis=0)
    unknown = np.full_like(total, np.nan)
    found: Floats = np.divide(both[0], total, out=unknown, where=total > 0)
    return found


def without_each_group(hood: Neighbourhood) -> Floats:
    """Return the index without each group, [G]: without its tiles, also as neighbours."""
    units = hood.units
    kinds = hood.kinds(hood.batches)
    counts = kinds[:, :, : hood.k].sum(axis=2)
    summed, available = units.summed(counts), units.available(units.batches)
    n_units, n_groups = len(units.sizes), hood.n_groups
    changed = list(_replaced(hood, kinds))
    query, group = (np.concatenate([each[n] for each in changed]) for n in (0, 1))
    change = np.concatenate([each[2] for each in changed], axis=1) - counts[:, query]
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(n_groups + 1))
    step = max(1, VALUES_AT_ONCE // (8 * n_units))
    found = np.empty(n_groups)
    for start in range(0, n_groups, step):
        stop = min(start + step, n_groups)
        own = order[ends[start] : ends[stop]]
        cells = (group[own] - start) * n_units + units.of_tile[query[own]]
        size = (stop - start) * n_units
        moved = [np.bincount(cells, each[own], size).reshape(-1, n_units) for each in change]
        counted = summed[:, None, :] + np.stack(moved)
        counted[:, units.groups == np.arange(start, stop)[:, None]] = 0
        left = available[:, None, :] - units.of_groups(start, stop)
        found[start:stop] = _ratio(counted, left)
    return found


def _replaced(hood: Neighbourhood, kinds: Bools) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Yield queries and groups of their neighbours, with the counts without that group, [2, n]."""
    of_near = hood.groups[hood.near]
    step = max(1, VALUES_AT_ONCE // (hood.k * hood.near.shape[1]))
    for start in range(0, len(of_near), step):
        part = of_near[start : start + step, : hood.k]
        rows = np.repeat(np.arange(start, start + len(part)), hood.k)
        query, group = np.unique(np.stack([rows, part.ravel()]), axis=1)
        kept = of_near[query] != group[:, None]
        kept &= kept.cumsum(axis=1) <= hood.k
        yield query, group, (kinds[:, query] & kept).sum(axis=2)


def common_to_two(hood: Neighbourhood) -> Floats:
    """Return what pairs of groups add to the index, of the pairs that are neighbours, [P].

    The ratio is linear in them near its value: they sum to zero.
    """
    units = hood.units
    kinds = hood.kinds(hood.batches)[:, :, : hood.k]
    available = units.available(units.batches)
    share = _rates(np.ones_like(available), available)[:, units.of_tile]
    rates = (kinds.sum(axis=2) * share).sum(axis=1)
    if rates.sum() == 0:
        return np.zeros(0)
    value = rates[0] / rates.sum()
    weights = np.stack([(1 - value) * share[0], -value * share[1]]) / rates.sum()
    added = (kinds * weights[:, :, None]).sum(axis=0)
    first, second = np.broadcast_arrays(hood.groups[:, None], hood.groups[hood.near[:, : hood.k]])
    pairs = np.minimum(first, second) * hood.n_groups + np.maximum(first, second)
    codes = np.unique(pairs.ravel(), return_inverse=True)[1]
    return np.asarray(np.bincount(codes.ravel(), added.ravel()), dtype=np.float64)


def strata_of(hood: Neighbourhood) -> Integers:
    """Return the kind of each group, [G]: the class of its first tile, and all of its batches."""
    has = np.zeros((hood.n_groups, int(hood.batches.max()) + 1), dtype=np.int64)
    has[hood.groups, hood.batches] = 1
    kinds = np.column_stack([_classes_of(hood), has])
    return np.unique(kinds, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def _classes_of(hood: Neighbourhood) -> Integers:
    """Return the labels of the first tile of each group, [G]."""
    found = np.zeros(hood.n_groups, dtype=np.int64)
    found[hood.groups[::-1]] = hood.label_sets[0][::-1]
    return found


def shuffled_indices(hood: Neighbourhood, permutations: int, rng: np.random.Generator) -> Floats:
    """Return the index with batches shuffled between groups of the same class, [permutations].

    The tiles of a group that are of one batch stay together. Groups of as many batches exchange
    all of theirs, in any order. Without any effect of the batch, the index itself is one of these.
    """
    units = hood.units
    parts, of_unit = np.unique(np.stack([units.groups, units.batches]), axis=1, return_inverse=True)
    group, batch = parts
    exchanged = _exchanged(group, _classes_of(hood))
    found = np.empty(permutations)
    moved = np.empty(len(batch), dtype=np.int64)
    for number in range(permutations):
        for places in exchanged:
            others = rng.permuted(places[rng.permutation(len(places))], axis=1)
            moved[places] = batch[others]
        batches = moved[of_unit.ravel()]
        kinds = hood.kinds(batches[units.of_tile])[:, :, : hood.k]
        found[number] = _ratio(units.summed(kinds.sum(axis=2)), units.available(batches))
    return found


def _exchanged(groups: Integers, classes: Integers) -> list[Integers]:
    """Return places of the groups that exchange their batches, int64 [groups, batches] each.

    Parameters
    ----------
    groups
        Group of each pair of a group and a batch, ascending.
    classes
        Class of each group, [G].
    """
    members = np.bincount(groups)
    starts = np.cumsum(members) - members
    kinds = np.unique(np.stack([classes, members]), axis=1, return_inverse=True)[1].ravel()
    alike = [np.flatnonzero(kinds == kind) for kind in range(int(kinds.max()) + 1)]
    return [starts[own, None] + np.arange(members[own[0]]) for own in alike]

"""Retrieval of replicates: activity of perturbations, and consistency of those of one target.

Activity: a replicate of a perturbation is the query, its other replicates are relevant, and the
negative controls of the query's batch are not. Consistency: a perturbation is the query, those with
a common target are relevant, and those without any common target are not. Both are measured by mean
average precision, as by copairs (Kalinin et al., 2025, doi:10.1038/s41467-025-60306-2), with two
differences: ties favour nobody, and p-values permute the rows themselves, so that the null has the
spread of the mean that is tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from transferscope.relations.cosines import unit_vectors
from transferscope.relations.entities import name_codes
from transferscope.relations.ranking import (
    TIE_DECIMALS,
    average_precision_of_ranked,
    chance_average_precision,
    expected_precision,
    normalised,
)
from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers, Texts
from transferscope.runtime.seeds import derive_rng

VALUES_AT_ONCE = 1 << 22
# Differences of scores below this are rounding.
SAME = 1e-12
COLUMNS = ["name", "n", "mean_average_precision", "chance", "normalised", "p", "p_adjusted"]


@dataclass(frozen=True)
class Replicates:
    """Rows of a screen that can be compared.

    Parameters
    ----------
    units
        Rows of length one, [N, D].
    names
        Perturbation of each row, str [N]; empty for controls and other rows of none.
    batches
        Code of each row's batch, int64 [N].
    controls
        Whether a row is a negative control, bool [N].
    """

    units: Floats
    names: Texts
    batches: Integers
    controls: Bools

    @classmethod
    def of(
        cls, embeddings: Floats32, names: Texts, batches: Integers, controls: Bools
    ) -> Replicates:
        """Return the rows that are not zero: those have no direction."""
        units = unit_vectors(embeddings)
        usable = (units != 0).any(axis=1)
        own = np.where(controls, "", names).astype(object)[usable]
        return cls(units[usable], own, batches[usable], controls[usable])


def activity(rows: Replicates, permutations: int, seed: int) -> pd.DataFrame:
    """Return the mean average precision of each perturbation against the controls.

    In a permutation, the replicates of a batch change places with random controls of the batch:
    without any effect, all of them are alike. A perturbation is left out if fewer than two
    replicates are in batches with controls.

    Parameters
    ----------
    rows
        Rows of all batches.
    permutations
        Permutations per perturbation.
    seed
        Seed from which those of the perturbations derive.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per perturbation, sorted by name.
    """
    controls = {
        int(batch): np.flatnonzero(rows.controls & (rows.batches == batch))
        for batch in np.unique(rows.batches[rows.controls])
    }
    codes, names = name_codes(rows.names)
    found = []
    for code, name in enumerate(names):
        own = np.flatnonzero(codes == code)
        own = own[np.isin(rows.batches[own], list(controls))]
        if len(own) < 2:
            continue
        pool = _Pool.of(rows, own, controls)
        observed = pool.score(np.arange(len(own))[None])[0]
        null = pool.score(pool.drawn(permutations, derive_rng("activity", seed, name)))
        p = (1 + int((null >= observed - SAME).sum())) / (1 + permutations)
        found.append((str(name), len(own), observed, pool.chance, p))
    return _table(found)


@dataclass(frozen=True)
class _Pool:
    """The replicates of one perturbation, and all controls of their batches.

    Parameters
    ----------
    cosines
        Of all its rows, rounded so that equal vectors tie, [P, P].
    places
        Places of each batch in the pool, the replicates first.
    counts
        Number of replicates in each batch.
    above, tied
        Number of other rows of the batch of row p that are more similar to p than row x is, or as
        similar, x itself excluded; int [P, P].
    """

    cosines: Floats
    places: list[Integers]
    counts: list[int]
    above: Integers
    tied: Integers

    @classmethod
    def of(cls, rows: Replicates, own: Integers, controls: Mapping[int, Integers]) -> _Pool:
        batches = np.unique(rows.batches[own])
        pool = np.concatenate([own, *(controls[int(batch)] for batch in batches)])
        cosines = np.round(rows.units[pool] @ rows.units[pool].T, TIE_DECIMALS)
        places = [np.flatnonzero(rows.batches[pool] == batch) for batch in batches]
        above, tied = (np.empty(cosines.shape, dtype=np.int64) for _ in range(2))
        for batch in places:
            for row in batch:
                ranked = np.sort(cosines[row, batch[batch != row]])
                low, high = (np.searchsorted(ranked, cosines[row], s) for s in ("left", "right"))
                above[row], tied[row] = len(ranked) - high, high - low
        counts = [int((batch < len(own)).sum()) for batch in places]
        return cls(cosines, places, counts, above, tied)

    @property
    def chance(self) -> float:
        """Mean average precision of random orders."""
        total = sum(self.counts)
        sizes = [len(own) - n for own, n in zip(self.places, self.counts, strict=True)]
        items = np.repeat(np.array(sizes) + total - 1, self.counts)
        return float(chance_average_precision(total - 1, items).mean())

    def drawn(self, permutations: int, rng: np.random.Generator) -> Integers:
        """Return permuted replicates: as many rows of each batch, [permutations, M]."""
        parts = []
        for own, count in zip(self.places, self.counts, strict=True):
            order = rng.random((permutations, len(own))).argpartition(count - 1, axis=1)
            parts.append(own[order[:, :count]])
        return np.concatenate(parts, axis=1)

    def score(self, replicates: Integers) -> Floats:
        """Return the mean average precision of sets of replicates, given as places, [S, M] -> [S].

        All other rows of the batch of a query are its controls.
        """
        at_once = max(1, VALUES_AT_ONCE // replicates.shape[1] ** 3)
        parts = [np.empty(0)]
        for start in range(0, len(replicates), at_once):
            parts.append(self._score(replicates[start : start + at_once]))
        return np.concatenate(parts)

    def _score(self, replicates: Integers) -> Floats:
        batch_of = np.empty(len(self.cosines), dtype=np.int64)
        for batch, own in enumerate(self.places):
            batch_of[own] = batch
        n = replicates.shape[1]
        query, other = replicates[:, :, None], replicates[:, None, :]
        cosines = self.cosines[query, other]
        itself = np.eye(n, dtype=bool)
        # [S, query, other replicate, third replicate]: what the third one is to the other two.
        above = cosines[:, :, None, :] > cosines[:, :, :, None]
        tied = cosines[:, :, None, :] == cosines[:, :, :, None]
        counted = ~itself[:, None, :] & ~itself[None, :, :]
        above, tied = above & counted, tied & counted
        near = (batch_of[query] == batch_of[other])[:, :, None, :]
        relevant_above, relevant_tied = above.sum(axis=3), tied.sum(axis=3)
        # The counts of the pool hold the other replicates of the query's batch, which are none of
        # its controls; the item itself, if of that batch, is tied with itself.
        others_above = self.above[query, other] - (above & near).sum(axis=3)
        itself_near = near[:, :, 0, :].astype(np.int64)
        others_tied = self.tied[query, other] - (tied & near).sum(axis=3) - itself_near
        others_tied = np.where(itself, 0, others_tied)
        others_above = np.where(itself, 0, others_above)
        precision = expected_precision(relevant_above, others_above, relevant_tied, others_tied)
        return np.asarray(np.where(itself, 0, precision).sum(axis=2).mean(axis=1) / (n - 1))


def consistency(
    vectors: Floats32, targets: Sequence[frozenset[str]], permutations: int, seed: int
) -> pd.DataFrame:
    """Return the mean average precision of each target that several perturbations share.

    In a permutation, the sets of targets change places among the perturbations.

    Parameters
    ----------
    vectors
        One row per perturbation, [G, D].
    targets
        Targets of each perturbation; those without any are neither queries nor ranked.
    permutations
        Number of permutations.
    seed
        Seed from which they derive.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per target, sorted by name; those without any negative are left out.
    """
    units = unit_vectors(vectors)
    usable = [row for row, own in enumerate(targets) if own and units[row].any()]
    names = sorted(set().union(*(targets[row] for row in usable)))
    members = np.array([[name in targets[row] for name in names] for row in usable], dtype=bool)
    members = members.reshape(len(usable), len(names))
    members = members[:, members.sum(axis=0) > 1]
    if not members.size:
        return _table([])
    cosines = np.round(units[usable] @ units[usable].T, TIE_DECIMALS)
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")
    ranking = order, np.take_along_axis(cosines, order, axis=1)
    every = np.array([[name in targets[row] for name in names] for row in usable], dtype=bool)
    overlap = every.astype(np.float32) @ every.T.astype(np.float32) > 0
    observed, chance = _by_target(ranking, members, overlap)
    rng, reached = derive_rng("consistency", seed), np.zeros(len(observed))
    for _ in range(permutations):
        new = rng.permutation(len(members))
        reached += (
            _by_target(ranking, members[new], overlap[np.ix_(new, new)])[0] >= observed - SAME
        )
    p = (1 + reached) / (1 + permutations)
    shared = [name for name, several in zip(names, every.sum(axis=0) > 1, strict=True) if several]
    rows = zip(shared, members.sum(axis=0), observed, chance, p, strict=True)
    return _table([(name, int(n), s, c, q) for name, n, s, c, q in rows if np.isfinite(s)])


def _by_target(
    ranking: tuple[Integers, Floats], members: Bools, overlap: Bools
) -> tuple[Floats, Floats]:
    """Return mean average precision and that of chance of each target, [T].

    Parameters
    ----------
    ranking
        For each perturbation all others by descending cosine, itself last, and these cosines.
    members
        Whether a perturbation has a target, [G, T].
    overlap
        Whether two perturbations share any target, [G, G].
    """
    target, query = np.nonzero(members.T)
    order, ranked = ranking[0][query], ranking[1][query]
    relevant = members.T[target[:, None], order] & (order != query[:, None])
    kept = relevant | ~overlap[query[:, None], order]
    # What is not ranked goes to the end; the rest keeps its order.
    moved = np.argsort(~kept, axis=1, kind="stable")
    values = np.take_along_axis(np.where(kept, ranked, -np.inf), moved, axis=1)
    relevant = np.take_along_axis(relevant, moved, axis=1)
    sizes, wanted = kept.sum(axis=1), relevant.sum(axis=1)
    scores = np.where(sizes > wanted, average_precision_of_ranked(values, relevant), np.nan)
    chances = chance_average_precision(wanted, sizes)
    counts = members.sum(axis=0)
    means = (np.bincount(target, part, len(counts)) / counts for part in (scores, chances))
    return next(means), next(means)


def _table(found: Sequence[tuple[str, int, float, float, float]]) -> pd.DataFrame:
    """Return the table of scores, with p-values adjusted by Benjamini and Hochberg."""
    numbers = {"n": "int64", "mean_average_precision": "float64", "chance": "float64"}
    table = pd.DataFrame(found, columns=["name", *numbers, "p"]).astype({**numbers, "p": "float64"})
    precision, chance = (table[c].to_numpy(float) for c in ("mean_average_precision", "chance"))
    table["normalised"] = normalised(precision, chance)
    table["p_adjusted"] = _adjusted(table["p"].to_numpy(float))
    return table[COLUMNS]


def _adjusted(p: Floats) -> Floats:
    if not len(p):
        return p
    from statsmodels.stats.multitest import multipletests

    adjusted: Floats = multipletests(p, method="fdr_bh")[1]
    return adjusted

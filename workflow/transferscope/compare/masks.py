"""Comparison of backbones by the masks that decoders predict from their maps.

Two questions: how high is the Dice coefficient with so many training groups, and up to how many is
the gain of one backbone over another significant. All backbones of a dataset share draws of test
groups and of trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.tables import Store, matching, rounded, write_csv
from transferscope.compare.uncertainty import Inflation, variances
from transferscope.config.channel_strategies import family_of
from transferscope.config.results import CompareSettings
from transferscope.probes.metrics import mean_of_defined, ratio
from transferscope.probes.score_table import SEEN_IN_TRAINING, STORE
from transferscope.runtime.arrays import Bools, Floats
from transferscope.segmentation.table_names import (
    ALL_FOREGROUND,
    DICE,
    IMAGE_COLUMNS,
    JACCARD,
    MASK_TABLES,
    OBJECT_METRICS,
    OBJECT_TABLES,
    POOLED_DICE,
    POOLED_JACCARD,
    PQ,
    SHIFT_TABLES,
    VALIDATION_LOSS,
)
from transferscope.stores.parquet import read_parquet, write_parquet

SCORE_COLUMNS = [
    "dataset",
    "head",
    "backbone",
    "channels",
    "fraction",
    "n_train_groups",
    "metric",
    "class",
    "value",
    "ci_low",
    "ci_high",
    "floor",
    "validation_loss",
    "n_groups",
    "n_trainings",
    SEEN_IN_TRAINING,
]
PAIR = ["first_backbone", "first_channels", "second_backbone", "second_channels"]
GAIN_COLUMNS = [
    "dataset",
    "head",
    *PAIR,
    "fraction",
    "n_train_groups",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_adjusted",
    "n_comparisons",
    "shown",
]
LIMIT_COLUMNS = ["dataset", "head", *PAIR, "up_to", "low", "high", "smallest", "largest"]


@dataclass(frozen=True)
class MaskTables:
    """What was found of the masks of all datasets; columns as in this module.

    Gains and limits are of the Dice coefficient; of objects, of panoptic quality. Shifts are what
    is lost out of domain, where that was asked for (`compare.mask_shifts`).
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    limits: pd.DataFrame
    object_gains: pd.DataFrame | None = None
    object_limits: pd.DataFrame | None = None
    shifts: pd.DataFrame | None = None
    shift_pairs: pd.DataFrame | None = None

    @classmethod
    def read(cls, folder: Path) -> MaskTables:
        """Read them.

        Raises
        ------
        UserError
            If one is missing or damaged.
        """
        scores, gains, limits = _read_tables(
            folder, MASK_TABLES, (SCORE_COLUMNS, GAIN_COLUMNS, LIMIT_COLUMNS)
        )
        found = cls(scores, gains, limits)
        if (scores["metric"] == PQ).any():
            ours = _read_tables(folder, OBJECT_TABLES, (GAIN_COLUMNS, LIMIT_COLUMNS))
            found = replace(found, object_gains=ours[0], object_limits=ours[1])
        # `segment-compare` removes them where a study no longer asks for them.
        if all((folder / f"{name}.parquet").exists() for name in SHIFT_TABLES):
            shifts, pairs = _read_tables(folder, SHIFT_TABLES, ((), ()))
            found = replace(found, shifts=shifts, shift_pairs=pairs)
        return found

    def differences(self, metric: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return gains and limits of the Dice coefficient or of panoptic quality."""
        if metric == DICE:
            return self.gains, self.limits
        if self.object_gains is None or self.object_limits is None:
            return pd.DataFrame(columns=GAIN_COLUMNS), pd.DataFrame(columns=LIMIT_COLUMNS)
        return self.object_gains, self.object_limits


def _read_tables(
    folder: Path, names: Sequence[str], columns: Sequence[Sequence[str]]
) -> list[pd.DataFrame]:
    return [
        read_parquet(folder / f"{name}.parquet", list(needs))
        for name, needs in zip(names, columns, strict=True)
    ]


@dataclass(frozen=True)
class Drawn:
    """A score, or a difference, under draws of groups and of trainings.

    Parameters
    ----------
    draws
        [1 + draws, ...]; row 0 is the sample. They are spread as an estimate from other groups and
        other training sets would be.
    df
        Degrees of freedom of their standard deviation, [...].
    """

    draws: Floats
    df: Floats

    @property
    def errors(self) -> Floats:
        """Standard errors, [...]."""
        return np.asarray(np.sqrt(variances(self.draws)))

    def interval(self, confidence: float) -> tuple[Floats, Floats]:
        """Return the bounds of t intervals, [...] each."""
        reach = stdtrit(self.df, (1 + confidence) / 2) * self.errors
        return self.draws[0] - reach, self.draws[0] + reach

    @classmethod
    def stacked(cls, each: Sequence[Drawn]) -> Drawn:
        """Return several of [1 + draws, F] as one of [1 + draws, P, F]."""
        return cls(np.stack([one.draws for one in each], 1), np.stack([one.df for one in each]))


@dataclass(frozen=True)
class Weights:
    """Weights of groups [1 + draws, G] and of trainings [1 + draws, C]; row 0 is all ones.

    A training is one seed and fold: of a seed, each group is tested by one of them.
    """

    groups: Floats
    trainings: Floats

    def drawn(self, values: Floats) -> Drawn:
        """Return the mean of values [F, C, G] under all draws; NaN: not tested there.

        Errors of groups and of trainings are drawn apart, and added. Those of groups are enlarged
        as where nothing is trained in halves of the groups: training sets share groups, so that
        the spread between trainings alone is too small. Degrees of freedom are Satterthwaite's.
        """
        n_trainings, n_groups = values.shape[1:]
        of_groups = _weighted_mean(self.groups, values.transpose(0, 2, 1))
        enlarged = Inflation.without_halves(n_groups)
        spread = np.sqrt(enlarged.factor) * (of_groups - of_groups[0])
        draws, parts = of_groups[0] + spread, [(spread, enlarged.df)]
        if n_trainings > 1:
            of_trainings = _weighted_mean(self.trainings, values)
            # A bootstrap of C has a variance of (C - 1) / C of that of the mean.
            spread = np.sqrt(n_trainings / (n_trainings - 1)) * (of_trainings - of_trainings[0])
            draws = draws + spread
            parts.append((spread, n_trainings - 1))
        squares = [(variances(spread), df) for spread, df in parts]
        total = np.sum([square for square, _ in squares], axis=0)
        noise = np.sum([square**2 / df for square, df in squares], axis=0)
        return Drawn(draws, np.where(total > 0, ratio(total**2, noise), enlarged.df))


def _weighted_mean(weights: Floats, values: Floats) -> Floats:
    """Return the mean of values [F, N, ...] that are defined, weighted over N, [1 + draws, F]."""
    defined = np.isfinite(values)
    sums = np.where(defined, values, 0.0).sum(axis=2)
    return ratio(weights @ sums.T, weights @ defined.sum(axis=2).T.astype(float))


def compare_masks(
    tables: Sequence[tuple[Path, Path]], settings: CompareSettings, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare all decoders of a study, and write the tables of `MaskTables`, also as CSV.

    Those of objects are written if any dataset has them.

    Parameters
    ----------
    tables
        Score table and table of the tiles' scores of each store.
    settings
        Draws, coverage and seed.
    folder
        Output folder.

    Returns
    -------
    tuple of DataFrame
        Scores of all stores, and of their tiles.

    Raises
    ------
    UserError
        If a table cannot be read.
    """
    scores = pd.concat([read_parquet(path, STORE) for path, _ in tables], ignore_index=True)
    images = pd.concat([_read_images(*paths) for paths in tables], ignore_index=True)
    found = judge(scores, images, settings)
    names = MASK_TABLES + (OBJECT_TABLES if PQ in images else ())
    # Without single objects the last two are empty, and not written.
    for name, table in zip(names, found, strict=False):
        write_parquet(rounded(table), folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")
    return scores, images


def _read_images(scores: Path, images: Path) -> pd.DataFrame:
    store = read_parquet(scores, STORE).iloc[0]
    return read_parquet(images, IMAGE_COLUMNS).assign(**{name: store[name] for name in STORE})


def judge(
    scores: pd.DataFrame, images: pd.DataFrame, settings: CompareSettings
) -> tuple[pd.DataFrame, ...]:
    """Return scores with intervals, gains at each fraction, and up to where they are significant.

    Of panoptic quality, gains and limits follow; they are empty without objects.

    Parameters
    ----------
    scores
        Score tables of all stores.
    images
        Scores of their test tiles, with the columns `STORE`.
    settings
        Draws, coverage and seed.

    Notes
    -----
    The unit is the group: the mean over its tiles of each class, and then over the classes, for
    each seed. Draws are of groups and of trainings; see `Weights.drawn`. In each dataset and
    decoder, p-values of all pairs of backbones with the same channel strategy at all fractions are
    one family, corrected after Holm (1979).
    """
    scores, images = (
        table.assign(channels=table["channels"].map(family_of)) for table in (scores, images)
    )
    columns = (SCORE_COLUMNS, *(2 * (GAIN_COLUMNS, LIMIT_COLUMNS)))
    tables: list[list[pd.DataFrame]] = [[] for _ in columns]
    for (dataset, head), own in images.groupby(["dataset", "head"], sort=True):
        of_decoder = matching(scores, dataset=dataset, head=head)
        floor = matching(scores, dataset=dataset, head=ALL_FOREGROUND)
        found = OfDecoder(str(dataset), str(head), own, of_decoder, floor, settings)
        for kept, table in zip(tables, found.tables(), strict=False):
            kept.append(table)
    return tuple(
        pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=names)
        for kept, names in zip(tables, columns, strict=True)
    )


class OfDecoder:
    """All stores of one dataset under one decoder."""

    def __init__(
        self,
        dataset: str,
        head: str,
        images: pd.DataFrame,
        scores: pd.DataFrame,
        floor: pd.DataFrame,
        settings: CompareSettings,
    ) -> None:
        self.names = {"dataset": dataset, "head": head}
        self.images, self.scores, self.floor = images, scores, floor
        self.settings = settings
        self.fractions = sorted(images["fraction"].unique())
        trainings = images[["seed", "fold"]].drop_duplicates()
        self.trainings = sorted(trainings.itertuples(index=False, name=None))
        self.groups = sorted(images["group"].unique())
        self.classes = list(dict.fromkeys(images["class"]))
        pairs = images[["backbone", "channels"]].drop_duplicates()
        self.stores = sorted(Store(*pair) for pair in pairs.itertuples(index=False))
        counts = scores.groupby("fraction")["n_train_groups"].mean()
        self.n_train_groups = counts.reindex(self.fractions).to_numpy(dtype=float)
        n_draws, seed = settings.bootstrap, settings.seed
        self.weights = Weights(
            draw_weights(len(self.groups), n_draws, seed, dataset).astype(float),
            draw_weights(len(self.trainings), n_draws, seed, dataset, "trainings").astype(float),
        )

    def tables(self) -> tuple[pd.DataFrame, ...]:
        """Return scores, gains and limits, and those of panoptic quality."""
        found: dict[tuple[Store, str, str], Floats] = {}
        objects = [name for name in OBJECT_METRICS if name in self.images]
        objects = [name for name in objects if self.images[name].notna().any()]
        for metric in (DICE, JACCARD, *objects):
            for store in self.stores:
                of_classes = self.of_groups(store, metric)
                named = dict(zip(self.classes, of_classes, strict=True))
                named[""] = mean_of_defined(of_classes, axis=0)
                found |= {(store, metric, name): values for name, values in named.items()}
        judged = [DICE, *([PQ] if objects else [])]
        values_of = [{store: found[store, name, ""] for store in self.stores} for name in judged]
        drawn = {key: self.weights.drawn(values) for key, values in found.items()}
        gains = [table for values in values_of for table in self._gains(values)]
        return (self._scores(drawn), *gains)

    def of_groups(self, store: Store, metric: str) -> Floats:
        """Return the mean over the tiles of each group, [classes, F, C, G]; NaN: not tested."""
        own = matching(self.images, **store.columns)
        keys = ["class", "fraction", "seed", "fold", "group"]
        # NaN also of a class that neither mask has.
        means = own.groupby(keys)[metric].mean()
        places = product(self.classes, self.fractions, self.trainings, self.groups)
        index = pd.MultiIndex.from_tuples([(c, f, *t, g) for c, f, t, g in places], names=keys)
        shape = tuple(map(len, (self.classes, self.fractions, self.trainings, self.groups)))
        return means.reindex(index).to_numpy(dtype=float).reshape(shape)

    def _scores(self, found: Mapping[tuple[Store, str, str], Drawn]) -> pd.DataFrame:
        rows = []
        for (store, metric, name), drawn in found.items():
            own = matching(self.scores, **store.columns)
            low, high = np.clip(drawn.interval(self.settings.confidence), 0, 1)
            for number, fraction in enumerate(self.fractions):
                bounds = {"ci_low": low[number], "ci_high": high[number]}
                value = drawn.draws[0, number]
                rows.append(self._row(own, store, fraction, metric, name, value) | bounds)
        for store in self.stores:
            own = matching(self.scores, **store.columns)
            pooled = own[own["metric"].isin([POOLED_DICE, POOLED_JACCARD])]
            keys = ["fraction", "metric", "class"]
            for row in pooled.groupby(keys)["value"].mean().reset_index().to_dict("records"):
                named = (row[key] for key in [*keys, "value"])
                rows.append(self._row(own, store, *named))
        table = pd.DataFrame(rows, columns=SCORE_COLUMNS)
        return table.astype(dict.fromkeys(["ci_low", "ci_high"], "float64"))

    def _row(
        self, own: pd.DataFrame, store: Store, fraction: Any, metric: Any, name: Any, value: Any
    ) -> dict[str, Any]:
        floor = matching(self.floor, fraction=fraction, metric=metric, **store.columns)
        at = matching(own, fraction=fraction)
        return {
            **self.names,
            **store.columns,
            "fraction": fraction,
            "n_train_groups": self.n_train_groups[self.fractions.index(fraction)],
            "metric": metric,
            "class": name,
            "value": value,
            "floor": float(matching(floor, **{"class": name})["value"].mean()),
            "validation_loss": float(matching(at, metric=VALIDATION_LOSS)["value"].mean()),
            "n_groups": len(self.groups),
            "n_trainings": len(self.trainings),
            SEEN_IN_TRAINING: at[SEEN_IN_TRAINING].iloc[0] if len(at) else "no",
        }

    def _gains(self, scores: Mapping[Store, Floats]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return gains and limits, of scores [F, C, G]."""
        pairs = [
            pair for pair in combinations(self.stores, 2) if pair[0].channels == pair[1].channels
        ]
        if not pairs:
            return pd.DataFrame(columns=GAIN_COLUMNS), pd.DataFrame(columns=LIMIT_COLUMNS)
        each = [self.weights.drawn(scores[a] - scores[b]) for a, b in pairs]
        # The first of a pair is the one that is ahead with the fewest groups.
        behind = [drawn.draws[0, 0] < 0 for drawn in each]
        pairs = [pair[::-1] if swap else pair for pair, swap in zip(pairs, behind, strict=True)]
        each = [
            replace(drawn, draws=-drawn.draws) if swap else drawn
            for drawn, swap in zip(each, behind, strict=True)
        ]
        drawn = Drawn.stacked(each)
        found = significance(drawn, self.settings.confidence)
        gains, limits = [], []
        for number, pair in enumerate(pairs):
            names = {**self.names, **_pair_columns(pair)}
            for at, fraction in enumerate(self.fractions):
                columns = {
                    "fraction": fraction,
                    "n_train_groups": self.n_train_groups[at],
                    "difference": drawn.draws[0, number, at],
                    "ci_low": found.low[number, at],
                    "ci_high": found.high[number, at],
                    "p_value": found.p[number, at],
                    "p_adjusted": found.p_adjusted[number, at],
                    "n_comparisons": int(np.isfinite(found.p).sum()),
                    "shown": bool(found.shown[0, number, at]),
                }
                gains.append(names | columns)
            limits.append(names | self._limit(found.shown[:, number]))
        return pd.DataFrame(gains, columns=GAIN_COLUMNS), pd.DataFrame(
            limits, columns=LIMIT_COLUMNS
        )

    def _limit(self, shown: Bools) -> dict[str, float]:
        """Return up to how many training groups a gain is shown, [1 + draws, F], and where from.

        The interval is that of the same rule in each draw; 0: not even with the fewest groups.
        """
        numbers = np.concatenate([[0.0], self.n_train_groups])
        reached = numbers[np.minimum.accumulate(shown, axis=1).sum(axis=1)]
        tail = (1 - self.settings.confidence) / 2
        low, high = np.quantile(reached[1:], [tail, 1 - tail], method="closest_observation")
        return {
            "up_to": float(reached[0]),
            "low": float(min(low, reached[0])),
            "high": float(max(high, reached[0])),
            "smallest": float(self.n_train_groups[0]),
            "largest": float(self.n_train_groups[-1]),
        }


def _pair_columns(pair: tuple[Store, Store]) -> dict[str, str]:
    return {
        f"{side}_{name}": value
        for side, store in zip(("first", "second"), pair, strict=True)
        for name, value in store.columns.items()
    }


@dataclass(frozen=True)
class Significance:
    """Tests of one family of gains, [P, F] for each pair and fraction.

    Parameters
    ----------
    low, high
        Intervals, each at the stated confidence.
    p, p_adjusted
        Two-sided p-values, and after Holm's correction for the family.
    shown
        Whether a gain above zero is shown, [1 + draws, P, F]: in the sample, and by the same rule
        in each draw.
    """

    low: Floats
    high: Floats
    p: Floats
    p_adjusted: Floats
    shown: Bools


def significance(drawn: Drawn, confidence: float) -> Significance:
    """Test gains, in the sample and in each draw.

    Parameters
    ----------
    drawn
        Gains, [1 + draws, P, F].
    confidence
        Of intervals; 1 - confidence is the level of the family.
    """
    errors, (low, high) = drawn.errors, drawn.interval(confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = drawn.draws / errors
    # Two equal stores have no difference in any draw.
    t = np.where(errors > 1e-12, t, np.where(np.isfinite(errors), 0.0, np.nan))
    p = np.asarray(2 * stdtr(drawn.df, -np.abs(t)))
    adjusted = holm(p.reshape(len(p), -1)).reshape(p.shape)
    shown = (adjusted < 1 - confidence) & (drawn.draws > 0)
    return Significance(low, high, p[0], adjusted[0], shown)


def holm(p: Floats) -> Floats:
    """Return p-values corrected after Holm (1979), in each row of [..., n]; NaN is left out.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    order = np.argsort(p, axis=-1)
    ranked = np.take_along_axis(p, order, axis=-1)
    counts = np.isfinite(p).sum(axis=-1, keepdims=True)
    factors = counts - np.arange(p.shape[-1])
    steps = np.maximum.accumulate(np.where(np.isfinite(ranked), ranked * factors, -np.inf), axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(steps, 1), axis=-1)
    return np.where(np.isfinite(p), adjusted, np.nan)

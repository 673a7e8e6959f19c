"""Comparison of backbones by the masks that decoders predict from their maps.

Two questions: how high is the Dice coefficient with so many training groups, and up to how many is
the gain of one backbone over another significant. All backbones of a dataset share draws of test
groups and of seeds, whose divisions train other decoders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.tables import Store, matching, rounded, write_csv
from transferscope.compare.uncertainty import Inflation, interval, variances
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
    POOLED_DICE,
    POOLED_JACCARD,
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
    "n_seeds",
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
    """What was found of the masks of all datasets; columns as in this module."""

    scores: pd.DataFrame
    gains: pd.DataFrame
    limits: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> MaskTables:
        """Read them.

        Raises
        ------
        UserError
            If one is missing or damaged.
        """
        wanted = zip(MASK_TABLES, (SCORE_COLUMNS, GAIN_COLUMNS, LIMIT_COLUMNS), strict=True)
        return cls(*(read_parquet(folder / f"{name}.parquet", needs) for name, needs in wanted))


@dataclass(frozen=True)
class _Draws:
    """Weights of groups [1 + draws, G] and of seeds [1 + draws, R]; row 0 is the sample itself."""

    groups: Floats
    seeds: Floats
    inflation: Inflation

    def mean(self, values: Floats) -> Floats:
        """Return the weighted mean over seeds and groups, [1 + draws, F], of values [F, R, G]."""
        defined = np.isfinite(values)
        filled = np.where(defined, values, 0.0)
        shape = len(self.groups), len(values)
        total, weight = np.zeros(shape), np.zeros(shape)
        for number, of_seed in enumerate(self.seeds.T):
            total += of_seed[:, None] * (self.groups @ filled[:, number].T)
            weight += of_seed[:, None] * (self.groups @ defined[:, number].T)
        return ratio(total, weight)


def compare_masks(
    tables: Sequence[tuple[Path, Path]], settings: CompareSettings, folder: Path
) -> None:
    """Compare all decoders of a study, and write the tables of `MaskTables`, also as CSV.

    Parameters
    ----------
    tables
        Score table and table of the tiles' scores of each store.
    settings
        Draws, coverage and seed.
    folder
        Output folder.

    Raises
    ------
    UserError
        If a table cannot be read.
    """
    scores = pd.concat([read_parquet(path, STORE) for path, _ in tables], ignore_index=True)
    images = pd.concat([_read_images(*paths) for paths in tables], ignore_index=True)
    found = judge(scores, images, settings)
    for name, table in zip(MASK_TABLES, found, strict=True):
        write_parquet(rounded(table), folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")


def _read_images(scores: Path, images: Path) -> pd.DataFrame:
    store = read_parquet(scores, STORE).iloc[0]
    return read_parquet(images, IMAGE_COLUMNS).assign(**{name: store[name] for name in STORE})


def judge(
    scores: pd.DataFrame, images: pd.DataFrame, settings: CompareSettings
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return scores with intervals, gains at each fraction, and up to where they are significant.

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
    each seed. Draws are of groups and, independently, of seeds. As no decoder is trained in halves
    of the groups, variances are enlarged as those of fine-tuning are. In each dataset and decoder,
    p-values of all pairs of backbones with the same channel strategy at all fractions are one
    family, corrected after Holm (1979).
    """
    scores, images = (
        table.assign(channels=table["channels"].map(family_of)) for table in (scores, images)
    )
    tables: list[list[pd.DataFrame]] = [[], [], []]
    for (dataset, head), own in images.groupby(["dataset", "head"], sort=True):
        of_decoder = matching(scores, dataset=dataset, head=head)
        floor = matching(scores, dataset=dataset, head=ALL_FOREGROUND)
        found = _Decoder(str(dataset), str(head), own, of_decoder, floor, settings)
        for kept, table in zip(tables, found.tables(), strict=True):
            kept.append(table)
    columns = (SCORE_COLUMNS, GAIN_COLUMNS, LIMIT_COLUMNS)
    one, two, three = (
        pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=names)
        for kept, names in zip(tables, columns, strict=True)
    )
    return one, two, three


class _Decoder:
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
        self.seeds = sorted(images["seed"].unique())
        self.groups = sorted(images["group"].unique())
        self.classes = list(dict.fromkeys(images["class"]))
        pairs = images[["backbone", "channels"]].drop_duplicates()
        self.stores = sorted(Store(*pair) for pair in pairs.itertuples(index=False))
        counts = scores.groupby("fraction")["n_train_groups"].mean()
        self.n_train_groups = counts.reindex(self.fractions).to_numpy(dtype=float)
        n_draws, seed = settings.bootstrap, settings.seed
        self.draws = _Draws(
            draw_weights(len(self.groups), n_draws, seed, dataset).astype(float),
            draw_weights(len(self.seeds), n_draws, seed, dataset, "seeds").astype(float),
            Inflation.without_halves(len(self.groups)),
        )

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return scores, gains and limits."""
        found: dict[tuple[Store, str, str], Floats] = {}
        for metric in (DICE, JACCARD):
            for store in self.stores:
                of_classes = self._of_groups(store, metric)
                named = dict(zip(self.classes, of_classes, strict=True))
                named[""] = mean_of_defined(of_classes, axis=0)
                found |= {(store, metric, name): values for name, values in named.items()}
        dice = {store: found[store, DICE, ""] for store in self.stores}
        drawn = {key: self.draws.mean(values) for key, values in found.items()}
        return (self._scores(drawn), *self._gains(dice))

    def _of_groups(self, store: Store, metric: str) -> Floats:
        """Return the mean over the tiles of each group, [classes, F, R, G]."""
        own = matching(self.images, **store.columns)
        keys = ["class", "fraction", "seed", "group"]
        # NaN: a class that neither mask has.
        means = own.groupby(keys)[metric].mean()
        index = pd.MultiIndex.from_product(
            [self.classes, self.fractions, self.seeds, self.groups], names=keys
        )
        shape = tuple(map(len, (self.classes, self.fractions, self.seeds, self.groups)))
        return means.reindex(index).to_numpy(dtype=float).reshape(shape)

    def _scores(self, found: Mapping[tuple[Store, str, str], Floats]) -> pd.DataFrame:
        rows = []
        for (store, metric, name), draws in found.items():
            own = matching(self.scores, **store.columns)
            reach = interval(
                draws[0], variances(draws), self.draws.inflation, self.settings.confidence, 0, 1
            )
            for number, fraction in enumerate(self.fractions):
                bounds = {"ci_low": reach[0][number], "ci_high": reach[1][number]}
                value = draws[0, number]
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
            "n_seeds": len(self.seeds),
            SEEN_IN_TRAINING: at[SEEN_IN_TRAINING].iloc[0] if len(at) else "no",
        }

    def _gains(self, dice: Mapping[Store, Floats]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return gains and limits, of the Dice coefficient of each group and seed, [F, R, G]."""
        pairs = [
            pair for pair in combinations(self.stores, 2) if pair[0].channels == pair[1].channels
        ]
        if not pairs:
            return pd.DataFrame(columns=GAIN_COLUMNS), pd.DataFrame(columns=LIMIT_COLUMNS)
        draws = np.stack([self.draws.mean(dice[a] - dice[b]) for a, b in pairs], axis=1)
        # The first of a pair is the one that is ahead with the fewest groups.
        signs = np.where(draws[0, :, 0] < 0, -1, 1)
        pairs = [pair if sign > 0 else pair[::-1] for pair, sign in zip(pairs, signs, strict=True)]
        draws *= signs[:, None]
        found = significance(draws, self.draws.inflation, self.settings.confidence)
        gains, limits = [], []
        for number, pair in enumerate(pairs):
            names = {**self.names, **_pair_columns(pair)}
            for at, fraction in enumerate(self.fractions):
                columns = {
                    "fraction": fraction,
                    "n_train_groups": self.n_train_groups[at],
                    "difference": draws[0, number, at],
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


def significance(draws: Floats, inflation: Inflation, confidence: float) -> Significance:
    """Test gains, in the sample and in each draw.

    Parameters
    ----------
    draws
        Gains, [1 + draws, P, F]; row 0 is the sample.
    inflation
        Of their bootstrapped variances. Draws are spread by as much around the sample's value.
    confidence
        Of intervals; 1 - confidence is the level of the family.
    """
    bootstrapped = variances(draws)
    errors = inflation.errors(bootstrapped)
    low, high = interval(draws[0], bootstrapped, inflation, confidence)
    spread = draws[0] + np.sqrt(inflation.factor) * (draws - draws[0])
    known = errors > 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(known, spread / errors, np.where(np.isfinite(errors), 0.0, np.nan))
    p = np.asarray(2 * stdtr(inflation.df, -np.abs(t)))
    adjusted = holm(p.reshape(len(p), -1)).reshape(p.shape)
    shown = (adjusted < 1 - confidence) & (spread > 0)
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

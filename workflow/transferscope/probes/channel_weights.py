"""Logistic regression on features of single channels that are weighted, channel by channel.

A store of `replicate` has the features of each channel next to each other, and a head with one
penalty treats them alike. Here the standardised features of a channel are multiplied by a weight
before the fit, so that a channel that says little is penalised more. The weights are a softmax of
how well each channel alone does; how sharp it is, from equal weights on, is chosen. Both are judged
by the log-loss of the validation rows of the division, inside the training folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from transferscope.config.ablation import EQUAL, SCHEME, SHARPNESS, WEIGHTED
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.errors import user_error
from transferscope.probes.decisions import decide
from transferscope.probes.evaluation import (
    Division,
    ProbeData,
    ResultTables,
    Sink,
    scores_in_halves,
)
from transferscope.probes.halves import halves_of
from transferscope.probes.head_batch import HeadBatch, HeadProblem, HeadRows, Scalers
from transferscope.probes.head_training import row_losses
from transferscope.probes.logistic import fit_logistic
from transferscope.probes.score_table import HALF
from transferscope.probes.written import ScoreFiles
from transferscope.runtime.arrays import Floats
from transferscope.runtime.progress import progress_bar
from transferscope.stores.parquet import parquet_parts, write_parquet

KIND = "logreg"
COLUMNS = ["dataset", "backbone", "channels", "seed", "fold", HALF, "channel", "weight"]


def weights_of(losses: Floats, sharpness: float) -> Floats:
    """Return the weights of channels, float64 [C], with a sum of 1.

    Parameters
    ----------
    losses
        Validation loss of each channel alone, [C]; in any unit.
    sharpness
        Factor of the losses in standard deviations, before the softmax.

    Examples
    --------
    >>> weights_of(np.array([0.2, 0.9]), 0.5).round(2).tolist()
    [0.73, 0.27]
    >>> weights_of(np.array([0.2, 0.9, 0.9]), 0.0).round(2).tolist()
    [0.33, 0.33, 0.33]
    """
    spread = float(losses.std())
    if not np.isfinite(spread) or spread == 0:
        return np.full(len(losses), 1 / len(losses))
    return np.asarray(softmax(sharpness * (losses.mean() - losses) / spread))


@dataclass
class WeightedHeads:
    """Trains heads with equal and with chosen weights on every division.

    Parameters
    ----------
    passes
        Channel -> its columns of the embeddings, in order.
    settings
        Of the study's heads.
    found
        One row per division and channel, `COLUMNS`.
    """

    passes: Mapping[str, slice]
    settings: HeadSettings
    found: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, data: ProbeData, sink: Sink | None = None) -> ResultTables:
        """Return the results of both on the test rows; `scheme` tells them apart."""
        results = ResultTables(data, sink)
        whole = _problem(data, slice(None))
        alone = [_problem(data, columns) for columns in self.passes.values()]
        with progress_bar(
            f"Channel weights of {data.identity['backbone']}", len(data.divisions), "divisions"
        ) as bar:
            for division in data.divisions:
                rows = HeadRows.of(division, data.identity["dataset"])
                weights, heads = self._fitted(whole, alone, rows)
                for scheme, head in heads.items():
                    validation, test = (
                        head.scores(0, r, whole) for r in (rows.validation, rows.test)
                    )
                    decided = decide(data, division, validation, test, self.settings)
                    results.add(KIND, None, replace(division, scheme=scheme), *decided)
                self._keep(data, division, weights)
                bar.update()
        return results

    def _fitted(
        self, whole: HeadProblem, alone: Sequence[HeadProblem], rows: HeadRows
    ) -> tuple[Floats, dict[str, HeadBatch]]:
        """Return the chosen weights, and the heads with equal and with these weights."""
        c = self.settings.logreg_c
        equal = Scalers.fit(whole.embeddings, [rows])
        head = fit_logistic(whole, [rows], equal, c)
        best, weights = head, np.full(len(alone), 1 / len(alone))
        if not len(rows.validation):
            return weights, {EQUAL: head, WEIGHTED: head}
        least = _loss(head, whole, rows.validation)
        scalers = [Scalers.fit(one.embeddings, [rows]) for one in alone]
        singly = [
            _loss(fit_logistic(one, [rows], scaler, c), one, rows.validation)
            for one, scaler in zip(alone, scalers, strict=True)
        ]
        for sharpness in SHARPNESS[1:]:
            tried = weights_of(np.array(singly), sharpness)
            fitted = fit_logistic(whole, [rows], self._scaled(equal, tried), c)
            loss = _loss(fitted, whole, rows.validation)
            if loss < least:
                least, best, weights = loss, fitted, tried
        return weights, {EQUAL: head, WEIGHTED: best}

    def _scaled(self, scalers: Scalers, weights: Floats) -> Scalers:
        """Return scalers that also weight the channels; equal weights change nothing."""
        factors = np.empty(scalers.deviation.shape[1])
        for weight, columns in zip(weights, self.passes.values(), strict=True):
            factors[columns] = weight * len(weights)
        # A weight that is hardly above 0 would leave no number for the deviation.
        scale = torch.from_numpy(np.maximum(factors, np.finfo(np.float32).tiny)).float()
        return Scalers(scalers.mean, scalers.deviation / scale)

    def _keep(self, data: ProbeData, division: Division, weights: Floats) -> None:
        named: dict[str, Any] = {
            key: data.identity[key] for key in ("dataset", "backbone", "channels")
        }
        named |= {"seed": division.seed, "fold": division.fold, HALF: division.half}
        for channel, weight in zip(self.passes, weights, strict=True):
            self.found.append({**named, "channel": channel, "weight": float(weight)})

    def table(self) -> pd.DataFrame:
        """Return all weights, `COLUMNS`; `half` is null where all groups were used."""
        return pd.DataFrame(self.found, columns=COLUMNS).astype({HALF: "Int64"})


def _problem(data: ProbeData, columns: slice) -> HeadProblem:
    return HeadProblem(
        torch.from_numpy(np.ascontiguousarray(data.embeddings[:, columns])),
        torch.from_numpy(data.tiles.matrix.astype(np.float32)),
        data.is_multi_label,
    )


def _loss(head: HeadBatch, problem: HeadProblem, rows: torch.Tensor) -> float:
    """Return the mean log-loss of some rows."""
    logits = head.logits(problem.embeddings.index_select(0, rows)[None])
    targets = problem.targets.index_select(0, rows)[None]
    return float(row_losses(logits, targets, problem.is_multi_label).double().mean())


def weigh_channels(
    data: ProbeData,
    passes: Mapping[str, slice],
    splits: SplitSettings,
    settings: HeadSettings,
    files: ScoreFiles,
    weights: Path,
) -> None:
    """Train and test heads with equal and with chosen weights of channels, and write all tables.

    Parameters
    ----------
    data
        A store of `replicate`, with all divisions.
    passes
        Channel -> its columns of the embeddings.
    splits
        The study's `splits`.
    settings
        Of the study's heads.
    files
        Scores, predictions and halves; the column `scheme` is `equal` or `weighted`.
    weights
        Table to write, `COLUMNS`.

    Raises
    ------
    UserError
        If the store has features of fewer than two channels.
    """
    if len(passes) < 2:
        what = "has features of one channel only"
        raise user_error(data.identity["backbone"], what, "Take `weights` out of ablation.")
    by_group = [division for division in data.divisions if division.scheme == SCHEME]
    largest = max(division.fraction for division in by_group)
    own = replace(data, divisions=[d for d in by_group if d.fraction == largest])
    run = WeightedHeads(passes, settings)
    only = splits.model_copy(update={"schemes": [SCHEME]})
    in_halves = halves_of(data, only, largest)
    described = {"classes": data.tiles.classes, "task": data.tiles.task}
    write_parquet(scores_in_halves(own, in_halves, run), files.halves, described)
    with parquet_parts(files.predictions, described) as sink:
        results = run(own, sink)
        results.flush()
    write_parquet(results.scores(), files.scores, described)
    write_parquet(run.table(), weights, described)

"""From a study's store to a head for new tiles: folds again, calibration, a refit on all labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from transferscope.config.probes import HeadSettings
from transferscope.prediction.calibrate import Calibration
from transferscope.prediction.deployed import DeployedHead, standardised
from transferscope.prediction.evidence import Evidence, evidence
from transferscope.prediction.folds import OutOfFold, largest_difference, trained_again
from transferscope.prediction.strangers import Strangers
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.head_batch import HeadBatch, HeadProblem, HeadRows, Scalers
from transferscope.probes.head_training import fit_networks
from transferscope.probes.logistic import fit_logistic
from transferscope.probes.metrics import best_thresholds
from transferscope.runtime.arrays import Bools, Floats

# Of the division that is no fold: all labelled tiles train.
DEPLOYED_FOLD = -1


@dataclass(frozen=True)
class Deployment:
    """A head for new tiles, and what is known of it.

    Parameters
    ----------
    head
        The head.
    evidence
        Of the heads of the folds.
    difference
        By how much their test scores differ from those of the study; 0: equal in every bit.
    n_heads
        Number of those heads.
    out_of_fold
        What they say of their test tiles.
    probabilities
        Calibrated probabilities of these, [n, C].
    """

    head: DeployedHead
    evidence: Evidence
    difference: float
    n_heads: int
    out_of_fold: OutOfFold
    probabilities: Floats


def deploy(
    kind: str,
    data: ProbeData,
    settings: HeadSettings,
    scheme: str,
    stored: pd.DataFrame,
    about: Mapping[str, Any],
    confidence: float = 0.95,
) -> Deployment:
    """Make a head for new tiles from a store that a study has evaluated.

    Parameters
    ----------
    kind
        Kind of the head.
    data, settings
        As the study evaluated the store.
    scheme
        The split scheme whose folds calibrate.
    stored
        The study's table of predictions.
    about
        Kept with the head.
    confidence
        Of the interval of the error.
    """
    fraction = max(division.fraction for division in data.divisions)
    said, divisions = trained_again(kind, data, settings, scheme, fraction)
    truth, groups = data.tiles.matrix[said.rows], data.tiles.groups[said.rows]
    many = data.is_multi_label
    known, probabilities = evidence(said, truth, groups, confidence, is_multi_label=many)
    calibration = Calibration.fit(truth, said.scores, is_multi_label=many)
    head = _refitted(kind, data, settings, divisions, said)
    labelled = np.flatnonzero(data.tiles.labelled)
    deployed = DeployedHead(
        head=head,
        classes=data.tiles.classes,
        calibration=calibration,
        strangers=Strangers.fit(
            standardised(head, data.embeddings[labelled]), data.tiles.groups[labelled]
        ),
        thresholds=_thresholds(truth, calibration.probabilities(said.scores), settings),
        about={**about, "kind": kind, "error": known.as_plain()},
    )
    difference = largest_difference(said, divisions, stored, kind)
    return Deployment(deployed, known, difference, len(divisions), said, probabilities)


def _refitted(
    kind: str,
    data: ProbeData,
    settings: HeadSettings,
    divisions: list[Division],
    said: OutOfFold,
) -> HeadBatch:
    """Train a head on all labelled tiles; a network for as long as the median fold was."""
    first = divisions[0]
    labelled = np.flatnonzero(data.tiles.labelled)
    none = np.empty(0, dtype=np.int64)
    division = replace(
        first,
        fold=DEPLOYED_FOLD,
        train=labelled,
        validation=none,
        test=none,
        train_shares=np.zeros(len(labelled)),
    )
    rows = [HeadRows.of(division, data.identity["dataset"])]
    problem = HeadProblem(
        torch.from_numpy(data.embeddings),
        torch.from_numpy(data.tiles.matrix.astype(np.float32)),
        data.is_multi_label,
    )
    scalers = Scalers.fit(problem.embeddings, rows)
    if kind == "logreg":
        return fit_logistic(problem, rows, scalers, settings.logreg_c)
    hidden = settings.hidden if kind == "mlp" else []
    stop = round(float(np.median(said.best_epochs))) + 1
    trained = fit_networks(problem, rows, scalers, hidden, kind, settings, stop_after=stop)
    return HeadBatch(
        trained.scalers,
        [w.detach() for w in trained.weights],
        [b.detach() for b in trained.biases],
    )


def _thresholds(truth: Bools, probabilities: Floats, settings: HeadSettings) -> Floats:
    """Return the threshold of each class with the best F1 out of fold, as `decide` finds them."""
    minimum = settings.threshold_positives
    pooled = best_thresholds(truth.reshape(-1, 1), probabilities.reshape(-1, 1), minimum)
    return best_thresholds(truth, probabilities, minimum, float(pooled[0]))

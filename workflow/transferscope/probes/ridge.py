"""Ridge regression of numbers on embeddings, each with a penalty chosen on validation rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferscope.runtime.arrays import Floats, Floats32, Integers

# Penalties per training row, of standardised features; infinity is the mean of the training rows.
PENALTIES = np.append(np.logspace(-4, 4, 17), np.inf)
WITHOUT_VALIDATION = 1.0
EPSILON = 1e-8


@dataclass(frozen=True)
class Ridge:
    """Fitted ridge regressions of T numbers on the same features.

    Parameters
    ----------
    mean, deviation
        Of each feature among the training rows, [D].
    weights
        Of standardised features, [D, T].
    intercepts
        Means of the training targets, [T].
    limits
        Least and largest training targets, [2, T]: no prediction is beyond them. A feature that
        hardly varies among the training rows would else make one odd tile outweigh all others.
    penalties
        The chosen ones, per training row, [T].
    """

    mean: Floats
    deviation: Floats
    weights: Floats
    intercepts: Floats
    limits: Floats
    penalties: Floats

    def predict(self, embeddings: Floats32) -> Floats:
        """Return the predictions for rows, [n, D] -> [n, T]."""
        standard = (embeddings.astype(np.float64) - self.mean) / self.deviation
        return np.clip(standard @ self.weights + self.intercepts, *self.limits)


def fit_ridge(
    embeddings: Floats32,
    train: Integers,
    targets: Floats,
    validation: Integers,
    validation_targets: Floats,
) -> Ridge:
    """Fit the training rows, with the penalties that predict the validation rows best.

    Parameters
    ----------
    embeddings
        [N, D].
    train, targets
        Training rows, [n], and their numbers, [n, T].
    validation, validation_targets
        The same for choosing the penalties; without any, they are `WITHOUT_VALIDATION`.
    """
    rows = embeddings[train].astype(np.float64)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation = np.where(deviation > EPSILON, deviation, 1.0)
    intercepts = targets.mean(axis=0)
    limits = np.stack([targets.min(axis=0), targets.max(axis=0)])
    left, singular, right = np.linalg.svd((rows - mean) / deviation, full_matrices=False)
    projected = left.T @ (targets - intercepts)
    # What is kept of each direction at each penalty, [P, R].
    kept = singular / (np.square(singular) + len(train) * PENALTIES[:, None])
    chosen = np.full(targets.shape[1], int(np.flatnonzero(PENALTIES >= WITHOUT_VALIDATION)[0]))
    if len(validation):
        own = (embeddings[validation].astype(np.float64) - mean) / deviation @ right.T
        errors = [
            np.square(
                np.clip((own * each) @ projected + intercepts, *limits) - validation_targets
            ).sum(axis=0)
            for each in kept
        ]
        # Of equal ones, the largest.
        chosen = len(PENALTIES) - 1 - np.argmin(errors[::-1], axis=0)
    weights = right.T @ (kept[chosen].T * projected)
    return Ridge(mean, deviation, weights, intercepts, limits, PENALTIES[chosen])

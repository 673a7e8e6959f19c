"""Rare classes: how much they weigh in the loss, or how often they are seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# A class that is rarer weighs no more, for its few examples would drown all others.
LARGEST_WEIGHT = 20.0

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def class_weights(labels: Bools, is_multi_label: bool) -> Floats:
    """Return the weight of each class in the loss, float64 [C].

    Parameters
    ----------
    labels
        Of the training rows, [n, C].
    is_multi_label
        Then it is the weight of positives, negatives / positives, so that both sides of each class
        count alike; else n / (classes that occur x n of the class), so that classes do.

    Returns
    -------
    numpy.ndarray
        At the most `LARGEST_WEIGHT`; 1 for a class that does not occur.
    """
    n_positive = labels.sum(axis=0)
    occurs = n_positive > 0
    if is_multi_label:
        wanted = (len(labels) - n_positive) / np.maximum(n_positive, 1)
    else:
        wanted = len(labels) / (max(1, int(occurs.sum())) * np.maximum(n_positive, 1))
    smallest = 1 / LARGEST_WEIGHT
    return np.where(occurs, np.clip(wanted, smallest, LARGEST_WEIGHT), 1.0)


def row_weights(labels: Bools) -> Floats:
    """Return how often each row is drawn in relation to others, float64 [n], of mean 1.

    A row weighs as much as its rarest class, 1 / n of the class; one without a class, as the rows
    without a class together weigh as much as one.
    """
    n_positive = np.maximum(labels.sum(axis=0), 1)
    rarest = np.where(labels, 1 / n_positive, 0.0).max(axis=1, initial=0.0)
    without = ~labels.any(axis=1)
    rarest[without] = 1 / max(1, int(without.sum()))
    weights: Floats = rarest * len(labels) / rarest.sum()
    return weights

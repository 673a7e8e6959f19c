"""L2-regularised logistic regression on frozen embeddings, by scikit-learn.

The objective is that of `sklearn.linear_model.LogisticRegression` on standardised features.
Multi-label heads are one binary problem per class, single-label heads one multinomial problem
(binary where the training rows have two classes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from transferscope.probes.head_batch import CERTAIN, HeadBatch, HeadProblem, HeadRows, Scalers
from transferscope.runtime.arrays import Floats, Floats32

# Convergence: largest entry of the gradient of the mean loss. With scikit-learn's default, 1e-4,
# probabilities are off by up to 0.5 at a few hundred training rows.
TOLERANCE = 1e-7
MAX_ITERATIONS = 500


def fit_logistic(
    problem: HeadProblem, heads: Sequence[HeadRows], scalers: Scalers, strength: float
) -> HeadBatch:
    """Fit the heads one by one, in float64.

    A class of all or no training rows gets a constant logit of `CERTAIN` or its negative.

    Parameters
    ----------
    problem
        Embeddings and targets.
    heads, scalers
        Heads and their scalers.
    strength
        C, the inverse strength of the penalty.
    """
    layers = np.stack(
        [
            _fit_one(problem, head, scalers.select([index]), strength)
            for index, head in enumerate(heads)
        ]
    )
    fitted = torch.from_numpy(layers).to(problem.device)
    return HeadBatch(scalers, [fitted[:, :-1].contiguous()], [fitted[:, -1:].contiguous()])


def _fit_one(problem: HeadProblem, head: HeadRows, scaler: Scalers, strength: float) -> Floats32:
    """Return weights and, in the last row, intercepts of one head, [D + 1, C]."""
    rows = head.train.to(problem.device)
    chosen = problem.embeddings.index_select(0, rows).double()
    inputs = chosen.sub_(scaler.mean).div_(scaler.deviation).cpu().numpy()
    labels = problem.targets.index_select(0, rows).cpu().numpy() > 0
    layer = np.zeros((inputs.shape[1] + 1, problem.n_classes), dtype=np.float32)
    positives, negatives = labels.any(axis=0), ~labels.all(axis=0)
    layer[-1, ~positives] = -CERTAIN
    model = LogisticRegression(C=strength, tol=TOLERANCE, max_iter=MAX_ITERATIONS)
    if problem.is_multi_label:
        layer[-1, ~negatives] = CERTAIN
        for column in np.flatnonzero(positives & negatives):
            layer[:, [column]] = _coefficients(model.fit(inputs, labels[:, column]))
    elif (seen := np.flatnonzero(positives)).size > 1:
        fitted = _coefficients(model.fit(inputs, labels.argmax(axis=1)))
        # With two classes the fit gives the logit of the second; that of the first is 0.
        layer[:, seen[-fitted.shape[1] :]] = fitted
    return layer


def _coefficients(model: Any) -> Floats:
    """Return weights and, in the last row, intercepts, [D + 1, problems]."""
    return np.vstack([model.coef_.T, model.intercept_])

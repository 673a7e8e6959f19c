"""L2-regularised logistic regression on frozen embeddings, by SciPy's L-BFGS-B.

The objective is that of `sklearn.linear_model.LogisticRegression` on standardised features: C times
the summed loss plus half the squared weights, intercepts free. Multi-label heads are one binary
problem per class, single-label heads one multinomial problem (binary where the training rows have
two classes).

Features of a backbone are correlated: their singular values span three orders of magnitude, and
L-BFGS on the features themselves needs hundreds of passes. Here all classes of a head are solved
together, in coordinates in which the Hessian is near the identity.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch.nn import functional

from transferscope.probes.head_batch import CERTAIN, HeadBatch, HeadProblem, HeadRows, Scalers
from transferscope.runtime.arrays import Floats

# Convergence: largest entry of the gradient in whitened coordinates. There the gradient limits the
# error of the logits, whatever the numbers of rows and features.
TOLERANCE = 2e-5
# Or a relative decrease of the objective near the rounding of float32 logits.
LEAST_DECREASE = 1e-9
MAX_ITERATIONS = 500
# Evaluations of one line search: most need one, and at the limit of rounding more do not help.
LINE_SEARCH = 6
# Entries of a training matrix up to which float64 costs little; float32 limits probabilities of few
# rows to about 3e-3.
SMALL = 2**18
# Share of the trace added to the diagonal, so that rounding leaves the matrix positive definite.
ROUNDING = 1e-6

# Logits and targets, [N, K] -> summed loss, in float64, and its gradient at the logits, [N, K]
Losses = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

logger = logging.getLogger(__name__)


def fit_logistic(
    problem: HeadProblem, heads: Sequence[HeadRows], scalers: Scalers, strength: float
) -> HeadBatch:
    """Fit the heads one by one, on the device of the problem.

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
    layers = torch.stack(
        [
            _fit_one(problem, head, scalers.select([index]), strength)
            for index, head in enumerate(heads)
        ]
    )
    return HeadBatch(scalers, [layers[:, :-1].contiguous()], [layers[:, -1:].contiguous()])


def _fit_one(
    problem: HeadProblem, head: HeadRows, scaler: Scalers, strength: float
) -> torch.Tensor:
    """Return weights and, in the last row, intercepts of one head, [D + 1, C]."""
    rows = head.train.to(problem.device)
    inputs = problem.embeddings.index_select(0, rows).sub_(scaler.mean).div_(scaler.deviation)
    targets = problem.targets.index_select(0, rows)
    layer = torch.zeros(inputs.shape[1] + 1, problem.n_classes, device=problem.device)
    positives, negatives = (targets > 0).any(dim=0), (targets == 0).any(dim=0)
    layer[-1, ~positives] = -CERTAIN
    losses: Losses = _binary_losses
    if problem.is_multi_label:
        layer[-1, ~negatives] = CERTAIN
        fitted = torch.nonzero(positives & negatives)[:, 0]
    else:
        fitted = torch.nonzero(positives)[:, 0]
        if len(fitted) > 2:
            losses = _softmax_losses
        else:
            fitted = fitted[1:]  # the logit of the first class is 0
    if len(fitted):
        layer[:, fitted] = _minimum(inputs, targets[:, fitted], losses, strength)
    return layer


def _binary_losses(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return loss.sum(dtype=torch.float64), torch.sigmoid(logits).sub_(targets)


def _softmax_losses(
    logits: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    loss = functional.cross_entropy(logits, targets, reduction="none")
    return loss.sum(dtype=torch.float64), torch.softmax(logits, dim=1).sub_(targets)


def _minimum(
    inputs: torch.Tensor, targets: torch.Tensor, losses: Losses, strength: float
) -> torch.Tensor:
    """Return the weights and intercepts with the least loss and penalty, [D + 1, K].

    Parameters
    ----------
    inputs
        Standardised features, [N, D].
    targets
        [N, K].
    losses
        Losses of logits and targets.
    strength
        C.
    """
    basis = None
    if inputs.shape[0] < inputs.shape[1]:
        # The weights at the minimum are combinations of the rows: solve in the rows' own basis.
        basis, triangle = torch.linalg.qr(inputs.T)
        inputs = triangle.T.contiguous()
    inputs = inputs.double() if inputs.numel() <= SMALL else inputs
    targets = targets.to(inputs)
    n_rows, n_features = inputs.shape
    share = targets.mean(dim=0)
    curvature = strength * float((share * (1 - share)).mean())
    whitening, unit = _whitening(inputs, curvature), (curvature * n_rows) ** -0.5

    def unwhitened(flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        layer = flat.view(n_features + 1, -1)
        return whitening @ layer[:-1], unit * layer[-1:]

    def objective(values: Floats) -> tuple[float, Floats]:
        weights, intercepts = unwhitened(torch.from_numpy(values).to(inputs))
        loss, residuals = losses(torch.addmm(intercepts, inputs, weights), targets)
        total = strength * loss + weights.square().sum(dtype=torch.float64) / 2
        slope = torch.addmm(weights, inputs.T, residuals, alpha=strength)
        bias = (strength * unit) * residuals.sum(dim=0, keepdim=True)
        gradient = torch.cat([whitening.T @ slope, bias]).flatten()
        return float(total), gradient.double().cpu().numpy()

    start = np.zeros((n_features + 1) * targets.shape[1])
    limits = {
        "gtol": TOLERANCE,
        "ftol": LEAST_DECREASE,
        "maxiter": MAX_ITERATIONS,
        "maxls": LINE_SEARCH,
    }
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=limits)
    if found.nit >= MAX_ITERATIONS:
        logger.warning("A logistic regression did not converge in %d steps", MAX_ITERATIONS)
    weights, intercepts = unwhitened(torch.from_numpy(found.x).to(inputs))
    weights, intercepts = weights.float(), intercepts.float()
    return torch.cat([weights if basis is None else basis @ weights, intercepts])


def _whitening(inputs: torch.Tensor, curvature: float) -> torch.Tensor:
    """Return P, [D, D], with P'HP = 1, where H = curvature X'X + 1 is close to the Hessian."""
    hessian = curvature * (inputs.T @ inputs)
    hessian.diagonal().add_(1 + ROUNDING * hessian.trace())
    factor = torch.linalg.cholesky(hessian)
    identity = torch.eye(len(hessian), dtype=inputs.dtype, device=inputs.device)
    inverse: torch.Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse.T.contiguous()

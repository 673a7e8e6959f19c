"""L2-regularised logistic regression of many heads at once, to convergence.

The objective is that of `sklearn.linear_model.LogisticRegression` on standardised features: C times
the summed loss plus half the squared weights, intercepts free. Multi-label heads are one binary
problem a class, single-label heads one multinomial problem (binary where there are two classes).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from transferscope.probes.head_batch import (
    CERTAIN,
    HeadBatch,
    HeadProblem,
    HeadRows,
    Scalers,
    classes_seen,
)
from transferscope.probes.lbfgs import minimise
from transferscope.probes.registry import HEADS_BYTES

BLOCK_ROWS = 2048
TOLERANCE = 1e-4
MAX_ITERATIONS = 500
# Copies of the parameters that L-BFGS holds, and of D x D while a preconditioner is made.
PARAMETER_COPIES = 30
# The Hessian of a binary problem is at most a quarter of C X'X (Boehning and Lindsay 1988).
BOUND = 0.25

logger = logging.getLogger(__name__)


def chunks(heads: Sequence[HeadRows], n_features: int, n_classes: int) -> Iterator[list[int]]:
    """Yield indices of heads that are fitted together: of like size, within the memory budget."""
    each = 4 * (n_features**2 + PARAMETER_COPIES * (n_features + 1) * n_classes)
    size = max(1, (HEADS_BYTES - 16 * n_features**2) // each)
    # Heads pass over the union of their rows, so those with few rows stay among themselves.
    order = sorted(range(len(heads)), key=lambda index: len(heads[index].train))
    group: list[int] = []
    for index in order:
        is_larger = group and len(heads[index].train) > 1.5 * len(heads[group[0]].train)
        if len(group) == size or is_larger:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def fit_logistic(
    problem: HeadProblem, heads: Sequence[HeadRows], scalers: Scalers, strength: float
) -> HeadBatch:
    """Fit heads of one chunk.

    A class that all or no training rows have gets a constant logit of `CERTAIN` or its negative.

    Parameters
    ----------
    problem
        Embeddings and targets.
    heads, scalers
        One chunk of `chunks`, and their scalers.
    strength
        C, the inverse strength of the penalty.
    """
    solved, open_problems = _constant_heads(problem, heads)
    multinomial = not problem.is_multi_label and problem.n_classes > 2
    if multinomial:
        open_problems = [(index, 0) for index in range(len(heads))]
    if open_problems:
        which, columns = torch.tensor(open_problems, device=problem.device).T
        fit = _Fit.of(problem, heads, scalers, strength, which, None if multinomial else columns)
        start = solved.clone() if multinomial else torch.zeros_like(solved[which, :, :1])
        flat, ended = minimise(
            fit.objective, fit.precondition, start.flatten(1), TOLERANCE, MAX_ITERATIONS
        )
        if not ended.all():
            logger.warning("%d logistic regressions did not converge", int((~ended).sum()))
        if multinomial:
            solved = flat.view(solved.shape)
        else:
            solved[which, :, columns] = flat
    return HeadBatch(scalers, [solved[:, :-1].contiguous()], [solved[:, -1:].contiguous()])


def _constant_heads(
    problem: HeadProblem, heads: Sequence[HeadRows]
) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Return layers [H, D + 1, C] that know the constant classes, and the (head, class) left open.

    Of two exclusive classes the second is decided on, and the first has logit 0.
    """
    shape = (len(heads), problem.embeddings.shape[1] + 1, problem.n_classes)
    solved = torch.zeros(shape, device=problem.device)
    open_problems = []
    for index, head in enumerate(heads):
        positives, negatives = classes_seen(problem, head)
        solved[index, -1, torch.from_numpy(positives == 0)] = -CERTAIN
        if problem.is_multi_label:
            solved[index, -1, torch.from_numpy(negatives == 0)] = CERTAIN
        candidates = range(problem.n_classes) if problem.is_multi_label else [1]
        open_problems += [(index, c) for c in candidates if positives[c] and negatives[c]]
    return solved, open_problems


@dataclass(frozen=True)
class _Fit:
    """Objective and preconditioner of P problems over R rows.

    Parameters
    ----------
    rows, member
        Training rows of any head, int64 [R], and whose they are, bool [R, H].
    head, column
        Of each problem, [P]; no column: multinomial over all classes.
    inverse
        Inverse of a bound on each head's Hessian, [H, D, D].
    """

    problem: HeadProblem
    scalers: Scalers
    strength: float
    rows: torch.Tensor
    member: torch.Tensor
    head: torch.Tensor
    column: torch.Tensor | None
    inverse: torch.Tensor

    @classmethod
    def of(
        cls,
        problem: HeadProblem,
        heads: Sequence[HeadRows],
        scalers: Scalers,
        strength: float,
        head: torch.Tensor,
        column: torch.Tensor | None,
    ) -> _Fit:
        rows = torch.unique(torch.cat([h.train for h in heads])).to(problem.device)
        member = torch.zeros(len(rows), len(heads), dtype=torch.bool, device=problem.device)
        for index, one in enumerate(heads):
            member[torch.searchsorted(rows, one.train.to(problem.device)), index] = True
        bounds = [
            _inverse_bound(problem, one, scalers.select([index]), strength)
            for index, one in enumerate(heads)
        ]
        return cls(
            problem=problem,
            scalers=scalers,
            strength=strength,
            rows=rows,
            member=member,
            head=head,
            column=column,
            inverse=torch.stack(bounds),
        )

    def objective(
        self, flat: torch.Tensor, which: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return values [p] and gradients [p, Q] at parameters [p, Q]."""
        head = self.head[which]
        layers = flat.view(len(flat), self.inverse.shape[1] + 1, -1)
        weights, intercepts = layers[:, :-1], layers[:, -1]
        # A constant shift keeps the sums small; the scalers are folded into the weights, so that
        # one product serves all heads and no standardised copy exists.
        shift = self.scalers.mean[head[0]]
        mean = (self.scalers.mean - shift)[head, :, None]
        deviation = self.scalers.deviation[head, :, None]
        folded = weights / deviation
        offset = intercepts - (mean * folded).sum(dim=1)
        loss, slope, total = self._pass(folded, offset, shift, which)
        gradient = torch.cat(
            [
                self.strength * (slope - mean * total[:, None]) / deviation + weights,
                self.strength * total[:, None],
            ],
            dim=1,
        )
        penalty = weights.double().square().sum(dim=(1, 2)) / 2
        return self.strength * loss + penalty, gradient.flatten(1)

    def _pass(
        self, folded: torch.Tensor, offset: torch.Tensor, shift: torch.Tensor, which: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pass over all rows: summed loss [p], its derivatives by weights [p, D, K] and logits."""
        count, n_features, width = folded.shape
        matrix = folded.transpose(0, 1).reshape(n_features, count * width)
        loss = torch.zeros(count, dtype=torch.float64, device=folded.device)
        slope, total = torch.zeros_like(matrix), torch.zeros(count * width, device=folded.device)
        for start in range(0, len(self.rows), BLOCK_ROWS):
            rows = self.rows[start : start + BLOCK_ROWS]
            inputs = self.problem.embeddings.index_select(0, rows) - shift
            logits = torch.addmm(offset.flatten(), inputs, matrix).view(len(rows), count, width)
            member = self.member[start : start + BLOCK_ROWS].index_select(1, self.head[which])
            losses, residual = self._losses(logits, rows, which)
            loss += (losses * member).sum(dim=0, dtype=torch.float64)
            residual = (residual * member[:, :, None]).flatten(1)
            slope += inputs.T @ residual
            total += residual.sum(dim=0)
        shape = (n_features, count, width)
        return loss, slope.view(shape).transpose(0, 1), total.view(count, width)

    def _losses(
        self, logits: torch.Tensor, rows: torch.Tensor, which: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return each row's loss [B, p] and its derivative by the logits [B, p, K]."""
        targets = self.problem.targets.index_select(0, rows)
        if self.column is None:
            wanted = targets[:, None]
            normal = logits.logsumexp(dim=2)
            losses = normal - (logits * wanted).sum(dim=2)
            return losses, (logits - normal[:, :, None]).exp() - wanted
        wanted = targets.index_select(1, self.column[which])
        flat = logits[:, :, 0]
        losses = functional.softplus(flat) - wanted * flat
        return losses, (flat.sigmoid() - wanted)[:, :, None]

    def precondition(self, flat: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        """Multiply gradients [p, Q] by the inverse of each head's bound on the Hessian."""
        head = self.head[which]
        layers = flat.view(len(flat), self.inverse.shape[1] + 1, -1)
        n_train = self.member.sum(dim=0)[head]
        result = layers / (BOUND * self.strength * n_train)[:, None, None]
        for index in torch.unique(head).tolist():
            mine = torch.nonzero(head == index)[:, 0]
            gradients = layers[mine, :-1]
            product = self.inverse[index] @ gradients.transpose(0, 1).flatten(1)
            shape = (gradients.shape[1], len(mine), gradients.shape[2])
            result[mine, :-1] = product.view(shape).transpose(0, 1)
        return result.flatten(1)


def _inverse_bound(
    problem: HeadProblem, head: HeadRows, scaler: Scalers, strength: float
) -> torch.Tensor:
    """Return (C X'X / 4 + 1)^-1 of one head's standardised training rows, [D, D] float32."""
    n_features = problem.embeddings.shape[1]
    gram = torch.zeros(n_features, n_features, device=problem.device)
    for rows in head.train.to(problem.device).split(BLOCK_ROWS):  # type: ignore[no-untyped-call]
        block = (problem.embeddings.index_select(0, rows) - scaler.mean).div_(scaler.deviation)
        gram.addmm_(block.T, block)
    bound = BOUND * strength * gram.double()
    bound.diagonal().add_(1)
    return torch.cholesky_inverse(torch.linalg.cholesky(bound)).float()

"""Many convex problems minimised side by side by L-BFGS (Nocedal and Wright 2006, algorithm 7.4).

Each problem has its own history, step length and end; one call evaluates all that still run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

# (parameters [p, Q], which problems [p]) -> (values [p] float64, gradients [p, Q])
Objective = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
# (gradients [p, Q], which problems [p]) -> approximate Newton steps [p, Q], positive definite
Preconditioner = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

MEMORY = 10
SUFFICIENT_DECREASE = 1e-4
# Two float32 sums of the same terms differ by this share of their value.
ROUNDING = 5e-7
HALVINGS = 12


def minimise(
    objective: Objective,
    precondition: Preconditioner,
    start: torch.Tensor,
    tolerance: float,
    max_iterations: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise P problems of Q parameters each.

    Parameters
    ----------
    objective
        Values and gradients of some of the problems.
    precondition
        A cheap stand-in for the inverse Hessian, applied to gradients.
    start
        [P, Q].
    tolerance
        A problem ends when no parameter moves by more than this.
    max_iterations
        The most steps of a problem.

    Returns
    -------
    tuple
        Parameters [P, Q], and which problems ended by themselves, bool [P].
    """
    result = start.clone()
    ended = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    everything = torch.arange(len(start), device=start.device)
    state = _State(everything, result.clone(), *objective(start, everything))
    for _ in range(max_iterations):
        if not len(state.problems):
            break
        finished = state.advance(objective, precondition, tolerance)
        result[state.problems] = state.parameters
        ended[state.problems[finished]] = True
        if finished.any():
            state.keep(~finished)
    return result, ended


@dataclass
class _State:
    """The problems that still run."""

    problems: torch.Tensor
    parameters: torch.Tensor
    values: torch.Tensor
    gradients: torch.Tensor
    steps: list[torch.Tensor] = field(default_factory=list)
    changes: list[torch.Tensor] = field(default_factory=list)
    curvatures: list[torch.Tensor] = field(default_factory=list)

    def keep(self, chosen: torch.Tensor) -> None:
        """Forget the other problems."""
        for name in ("problems", "parameters", "values", "gradients"):
            setattr(self, name, getattr(self, name)[chosen])
        for name in ("steps", "changes", "curvatures"):
            setattr(self, name, [one[chosen] for one in getattr(self, name)])

    def advance(
        self, objective: Objective, precondition: Preconditioner, tolerance: float
    ) -> torch.Tensor:
        """Make one step of every problem; return which are finished."""
        direction = -self._newton_like(precondition)
        before = (self.parameters, self.gradients)
        moved = self._search(objective, direction)
        step, change = self.parameters - before[0], self.gradients - before[1]
        curvature = (step * change).sum(dim=1)
        # A step without curvature teaches nothing: with zeros it drops out of the recursion.
        usable = curvature > torch.finfo(step.dtype).eps * change.square().sum(dim=1)
        self.steps.append(step * usable[:, None])
        self.changes.append(change * usable[:, None])
        self.curvatures.append(torch.where(usable, curvature, 0))
        if len(self.steps) > MEMORY:
            for history in (self.steps, self.changes, self.curvatures):
                history.pop(0)
        return ~moved | (step.abs().amax(dim=1) <= tolerance)

    def _newton_like(self, precondition: Preconditioner) -> torch.Tensor:
        """Return the two-loop recursion's estimate of the Newton step."""
        vector = self.gradients.clone()
        weights = []
        history = list(zip(self.steps, self.changes, self.curvatures, strict=True))
        for step, change, curvature in reversed(history):
            weight = _ratio((step * vector).sum(dim=1), curvature)
            vector -= weight[:, None] * change
            weights.append(weight)
        vector = precondition(vector, self.problems) * self._scale(precondition)[:, None]
        for (step, change, curvature), weight in zip(history, reversed(weights), strict=True):
            again = _ratio((change * vector).sum(dim=1), curvature)
            vector += (weight - again)[:, None] * step
        return vector

    def _scale(self, precondition: Preconditioner) -> torch.Tensor:
        """Return by how much the preconditioner underestimates the last step."""
        one = torch.ones(len(self.problems), device=self.parameters.device)
        if not self.steps:
            return one
        stretched = precondition(self.changes[-1], self.problems)
        ratio = _ratio(self.curvatures[-1], (self.changes[-1] * stretched).sum(dim=1))
        return torch.where(ratio > 0, ratio, one)

    def _search(self, objective: Objective, direction: torch.Tensor) -> torch.Tensor:
        """Halve each step until it decreases its value enough; return which problems moved."""
        start, before = self.parameters, self.values
        slope = (direction * self.gradients).sum(dim=1).double()
        self.parameters, self.values = start.clone(), before.clone()
        self.gradients = self.gradients.clone()
        waiting = torch.nonzero(slope < 0)[:, 0]
        moved = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        length = 1.0
        for _ in range(HALVINGS):
            if not len(waiting):
                break
            trial = start[waiting] + length * direction[waiting]
            values, gradients = objective(trial, self.problems[waiting])
            bound = before + SUFFICIENT_DECREASE * length * slope + ROUNDING * before.abs()
            good = values <= bound[waiting]
            accepted = waiting[good]
            self.parameters[accepted] = trial[good]
            self.values[accepted] = values[good]
            self.gradients[accepted] = gradients[good]
            moved[accepted] = True
            waiting, length = waiting[~good], length / 2
        return moved


def _ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """Divide, with 0 for anything / 0."""
    safe = torch.where(denominator != 0, denominator, torch.ones_like(denominator))
    return torch.where(denominator != 0, numerator / safe, torch.zeros_like(numerator))

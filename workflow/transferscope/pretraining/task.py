"""Pretraining as a task of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Generator, Tensor, nn

from transferscope.pretraining.data import Batches
from transferscope.pretraining.methods.base import Method
from transferscope.pretraining.monitor import CollapseAlarm, KnnMonitor

# Epochs after which is measured, spread over a training: more would cost more than they tell.
MEASUREMENTS = 25
# Share of a training after which the alarm listens: at first all embeddings may be much alike.
WATCHED_FROM = 0.2


class PretrainingTask:
    """A method, its tiles, and what is watched.

    Parameters
    ----------
    method
        Networks and losses.
    batches
        The tiles of each step.
    n_steps
        Steps of the whole training.
    probe
        What is measured after an epoch; None: nothing but what the method itself tells.
    keep
        Called with the number of steps that are done, after each; None: nothing is kept.
    """

    def __init__(
        self,
        method: Method,
        batches: Batches,
        n_steps: int,
        probe: KnnMonitor | None,
        keep: Callable[[int], None] | None = None,
    ) -> None:
        self.keep = keep
        self.method, self.batches, self.n_steps, self.probe = method, batches, n_steps, probe
        self.alarm = CollapseAlarm()

    def modules(self) -> Mapping[str, nn.Module]:
        """Return what a checkpoint holds."""
        return {"method": self.method, "alarm": self.alarm}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the method's groups."""
        return self.method.parameter_groups()

    def loss(self, step: int, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the method's loss."""
        views = self.method.views(self.batches(step), generator)
        return self.method.loss(views, step / self.n_steps, generator)

    def after_step(self, step: int) -> None:
        """Let the method follow the step."""
        self.method.after_step(step / self.n_steps)
        if self.keep is not None:
            self.keep(step + 1)

    def at_epoch_end(self, epoch: int) -> dict[str, float]:
        """Measure, in some epochs, and stop where the network has collapsed."""
        n_epochs = -(-self.n_steps // self.batches.steps_an_epoch)
        if (n_epochs - epoch - 1) % -(-n_epochs // MEASUREMENTS):
            return {}
        measured = self.method.watch()
        if self.probe is not None:
            measured |= self.probe(self.method.encoder)
        if (epoch + 1) * self.batches.steps_an_epoch > WATCHED_FROM * self.n_steps:
            self.alarm.check(measured)
        return measured

    def waited(self) -> float:
        """Return the seconds spent waiting for tiles."""
        return self.batches.reader.waited

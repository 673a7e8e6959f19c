"""The loop of every training: steps, number format, optimiser, checkpoints and what is logged."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Generator, Tensor, nn

from transferscope.config.training import OptimiserSettings
from transferscope.errors import Problem, UserError
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.seeds import derive_seed
from transferscope.training import checkpoint
from transferscope.training.fabric import prepare
from transferscope.training.history import History
from transferscope.training.schedules import learning_rate, weight_decay

logger = logging.getLogger(__name__)

# Steps whose losses are fetched from the device together, so that it does not wait in each.
STEPS_PER_LOG = 10
Logged = dict[str, Tensor]


class EarlyStop(Exception):  # noqa: N818  nothing is wrong
    """Raised by a task at the end of an epoch: the training ends early.

    Parameters
    ----------
    reason
        Why.
    measures
        What was measured at the end of this epoch.
    """

    def __init__(self, reason: str, measures: Mapping[str, float]) -> None:
        super().__init__(reason)
        self.measures = measures


class StopTraining(Exception):  # noqa: N818  named by what it asks for
    """Raised by a task: continuing is useless, for the reason given. The job fails."""


class Task(Protocol):
    """What is trained: networks and losses. The loop owns everything else.

    State that is no weight (a counter, a best value) is kept in buffers of a module.
    """

    def modules(self) -> Mapping[str, nn.Module]:
        """Return everything that a checkpoint must hold, moving averages too."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return AdamW's groups; `lr_scale` and `wd_scale` multiply the scheduled values."""

    def loss(self, step: int, generator: Generator) -> tuple[Tensor, Logged]:
        """Return the loss of a step and its parts, to be logged, 0-d.

        Runs under autocast. The generator lies on the processor, and depends on seed, step and
        process; torch's own generators are seeded alike.
        """

    def after_step(self, step: int) -> None:
        """Update what follows the weights, such as moving averages."""

    def at_epoch_end(self, epoch: int) -> dict[str, float]:
        """Return what is measured once an epoch. May raise `EarlyStop` or `StopTraining`."""

    def waited(self) -> float:
        """Return the seconds spent waiting for data so far."""


@dataclass(frozen=True)
class TrainingPlan:
    """How long a training is, and where its state lies.

    Parameters
    ----------
    name
        What is trained, for the progress bar and messages.
    n_steps, steps_an_epoch
        Steps in all, and in an epoch.
    batch_size
        Images per step, over all processes.
    seed
        Seed of everything that is drawn.
    fingerprint
        sha256 over all that the result depends on: a checkpoint with another one is not used.
    checkpoint
        File of the checkpoint. It is left in place at the end: whoever has stored the result
        deletes it.
    history
        Table of the history (.parquet), written with each checkpoint; None: not written.
    checkpoint_minutes
        Minutes between checkpoints.
    """

    name: str
    n_steps: int
    steps_an_epoch: int
    batch_size: int
    seed: int
    fingerprint: str
    checkpoint: Path
    history: Path | None = None
    checkpoint_minutes: float = 10.0


def train(task: Task, settings: OptimiserSettings, plan: TrainingPlan, fabric: Fabric) -> History:
    """Train to the end, resuming from a checkpoint if there is one.

    A run that was stopped at any moment and is started again gives the same losses and weights as
    one that was not, on the same machine.

    Parameters
    ----------
    task
        Networks and losses.
    settings
        The optimiser's.
    plan
        Length, seed and files.
    fabric
        Devices; see `training_fabric`.

    Raises
    ------
    UserError
        Where the process is asked to end (SIGTERM), the loss is not finite, or the task stops the
        training for a reason. The last checkpoint is kept.
    """
    return _Loop(task, settings, plan, fabric).run()


class _Loop:
    """One training; see `train`."""

    def __init__(
        self, task: Task, settings: OptimiserSettings, plan: TrainingPlan, fabric: Fabric
    ) -> None:
        self.task, self.settings, self.plan, self.fabric = task, settings, plan, fabric
        self.modules = dict(task.modules())
        prepare(self.modules.values(), fabric)
        groups = [{"lr_scale": 1.0, "wd_scale": 1.0, **group} for group in task.parameter_groups()]
        self.optimiser = torch.optim.AdamW(
            groups, lr=settings.learning_rate, betas=settings.betas, fused=True
        )
        self.weights = [weight for group in groups for weight in group["params"]]
        self.progress = checkpoint.load(
            plan.checkpoint, plan.fingerprint, self.modules, self.optimiser
        )
        self.history = History(self.progress.rows)
        self.pending: list[Logged] = []
        self.saved_at = self.logged_at = time.monotonic()
        self.waited_before = task.waited()

    def run(self) -> History:
        plan, progress = self.plan, self.progress
        if progress.done and self.fabric.is_global_zero:
            logger.info("%s: going on after step %d of %d", plan.name, progress.done, plan.n_steps)
        total, before = plan.n_steps * plan.batch_size, progress.done * plan.batch_size
        with _terminated() as terminated, progress_bar(plan.name, total, "images", before) as bar:
            if not self.fabric.is_global_zero:
                bar.disable = True
            while not progress.finished:
                asked_to_end, save = self._step(progress.done, terminated)
                self._end_step(bar)
                if asked_to_end or save or progress.finished:
                    self._log(bar)
                    self._save()
                if asked_to_end and not progress.finished:
                    raise UserError(
                        Problem(
                            plan.name,
                            f"asked to end after step {progress.done} of {plan.n_steps}; its state "
                            "is kept",
                            "Give the same command again: it goes on from there.",
                        )
                    )
        self._write_history()
        return self.history

    def _write_history(self) -> None:
        if self.plan.history is not None and self.fabric.is_global_zero:
            self.history.write(self.plan.history)

    def _step(self, step: int, terminated: list[int]) -> tuple[bool, bool]:
        """Do one step; return whether any process was asked to end, and whether to save."""
        rate = learning_rate(self.settings, step, self.plan.n_steps)
        decay = weight_decay(self.settings, step, self.plan.n_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["lr_scale"]
            group["weight_decay"] = decay * group["wd_scale"]
        with self.fabric.autocast():
            loss, parts = self.task.loss(step, self._generator(step))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        due = time.monotonic() - self.saved_at >= 60 * self.plan.checkpoint_minutes
        asked_to_end, save = self._agreed(bool(terminated), due)
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.weights, self.settings.clip)
        self.optimiser.step()
        self.task.after_step(step)
        self.pending.append({"loss": loss.detach(), **parts})
        self.progress.done = step + 1
        return asked_to_end, save

    def _generator(self, step: int) -> Generator:
        """Return the generator of a step, and seed torch's own, which dropout draws from."""
        names = (self.plan.seed, "step", step, self.fabric.global_rank)
        torch.manual_seed(derive_seed(*names, "networks"))
        return Generator().manual_seed(derive_seed(*names))

    def _agreed(self, *wishes: bool) -> list[bool]:
        """Average the gradients over processes; return of each wish whether any process has it.

        All travels as one message, so that all processes stop and save after the same step.
        """
        if self.fabric.world_size == 1:
            return list(wishes)
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        flags = torch.tensor(wishes, dtype=torch.float32, device=self.fabric.device)
        flat = torch.cat([flags, *(gradient.flatten() for gradient in gradients)])
        self.fabric.all_reduce(flat, reduce_op="mean")
        sizes = [len(flags), *(gradient.numel() for gradient in gradients)]
        agreed, *averaged = torch.split(flat, sizes)
        for gradient, average in zip(gradients, averaged, strict=True):
            gradient.copy_(average.view_as(gradient))
        return [bool(share > 0) for share in agreed]

    def _end_step(self, bar: Any) -> None:
        plan, progress = self.plan, self.progress
        epoch, place = divmod(progress.done, plan.steps_an_epoch)
        last = progress.done >= plan.n_steps
        if place == 0 or last or len(self.pending) >= STEPS_PER_LOG:
            self._log(bar)
        try:
            if place == 0 or last:
                self.history.measure(self.task.at_epoch_end(epoch - (place == 0)))
                self._restart_clock()
            progress.finished = last
        except EarlyStop as stop:
            logger.info("%s: %s", plan.name, stop)
            self.history.measure(stop.measures)
            progress.finished = True
        except StopTraining as stop:
            raise self._failed(str(stop)) from None

    def _log(self, bar: Any) -> None:
        """Fetch the losses of the last steps, and add a row for each."""
        if not self.pending:
            return
        plan, n = self.plan, len(self.pending)
        names = list(self.pending[0])
        stacked = torch.stack(
            [torch.stack([row[name].detach().float() for name in names]) for row in self.pending]
        )
        if self.fabric.world_size > 1:
            self.fabric.all_reduce(stacked, reduce_op="mean")
        values = stacked.tolist()
        seconds = max(time.monotonic() - self.logged_at, 1e-9)
        shared = {
            "images_per_second": n * plan.batch_size / seconds,
            "data_wait": min(1.0, (self.task.waited() - self.waited_before) / seconds),
        }
        first = self.progress.done - n
        for step, found in enumerate(values, first):
            parts = dict(zip(names, found, strict=True))
            if not math.isfinite(parts["loss"]):
                raise self._failed(f"the loss is not finite at step {step}")
            place = {
                "step": step,
                "epoch": step // plan.steps_an_epoch,
                "images": (step + 1) * plan.batch_size,
                "learning_rate": learning_rate(self.settings, step, plan.n_steps),
            }
            self.history.add({**place, **parts, **shared})
        self.pending = []
        self._restart_clock()
        bar.set_postfix_str(
            f"loss {values[-1][0]:.4g}, {shared['data_wait']:.0%} waiting for data", refresh=False
        )
        bar.update(n * plan.batch_size)

    def _restart_clock(self) -> None:
        """Start to measure throughput anew: what an epoch's end takes is no part of it."""
        self.logged_at = time.monotonic()
        self.waited_before = self.task.waited()

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            self.progress.rows = self.history.rows
            plan = self.plan
            checkpoint.save(
                plan.checkpoint, plan.fingerprint, self.progress, self.modules, self.optimiser
            )
            self._write_history()
        self.saved_at = time.monotonic()
        self._restart_clock()

    def _failed(self, reason: str) -> UserError:
        fix = "Lower the learning rate, lengthen the warm-up or clip more."
        if self.plan.checkpoint.exists():
            fix += f" The last checkpoint is kept: {self.plan.checkpoint}."
        return UserError(Problem(self.plan.name, f"the training was stopped: {reason}", fix))


@contextmanager
def _terminated() -> Iterator[list[int]]:
    """Yield a list that is filled when the process is asked to end, instead of ending at once."""
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)

"""Training of many linear or MLP heads in lock-step, as one batched computation.

Heads with similar numbers of training rows make the same number of steps per epoch, so that one
optimizer serves them all. Each has its own random generators for row order and dropout, its own
early stopping and best weights, so that its result does not depend on the other heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional
from torch.optim.adamw import adamw

from transferscope.config.probes import HeadSettings
from transferscope.probes.head_batch import HeadBatch, HeadProblem, HeadRows, Scalers, forward
from transferscope.probes.registry import HEADS_BYTES
from transferscope.runtime.seeds import derive_seed

# In memory during training: weights, gradient, two moments, best weights, weights in bfloat16.
WEIGHT_COPIES = 6
RANDOM_LEVELS = 256
LEAST_STEPS = 8


def steps_per_epoch(n_train: int, batch_size: int) -> int:
    """Return the steps per epoch, rounded up to three significant binary digits.

    The rounding lets folds of slightly different sizes be trained together. The result depends only
    on the head's number of rows. Few rows make smaller batches; otherwise a head on a small
    fraction would stop before it has learned anything.
    """
    steps = max(math.ceil(n_train / batch_size), min(n_train, LEAST_STEPS))
    grain = 2 ** max(0, steps.bit_length() - 3)
    return int(math.ceil(steps / grain) * grain)


def chunks(
    heads: Sequence[HeadRows], widths: Sequence[int], settings: HeadSettings
) -> Iterator[list[int]]:
    """Yield the indices of heads to train together, within the memory budget.

    Parameters
    ----------
    heads
        All heads.
    widths
        Layer widths, from D to C.
    settings
        Settings of the heads.
    """
    weights = sum(a * b for a, b in pairwise(widths))
    activations = settings.batch_size * (3 * widths[0] + 8 * sum(widths[1:]))
    size = max(1, HEADS_BYTES // (4 * (WEIGHT_COPIES * weights + activations)))
    by_steps: dict[int, list[int]] = {}
    for index, head in enumerate(heads):
        steps = steps_per_epoch(len(head.train), settings.batch_size)
        by_steps.setdefault(steps, []).append(index)
    for _, members in sorted(by_steps.items()):
        for start in range(0, len(members), size):
            yield members[start : start + size]


def fit_networks(
    problem: HeadProblem,
    heads: Sequence[HeadRows],
    scalers: Scalers,
    hidden: Sequence[int],
    kind: str,
    settings: HeadSettings,
    on_epoch: Callable[[int], object] = lambda _: None,
    stop_after: int | None = None,
) -> HeadBatch:
    """Train one chunk of heads with AdamW, a cosine schedule and early stopping.

    The weights of the epoch with the lowest validation loss are kept. A head without validation
    rows trains for all epochs and keeps the last.

    Parameters
    ----------
    problem
        Embeddings and targets.
    heads, scalers
        One chunk of `chunks`, and their scalers.
    hidden
        Widths of the hidden layers; empty for a linear head.
    kind
        Kind of head, for the seeds.
    settings
        Epochs, patience, learning rate and so on.
    on_epoch
        Called after each epoch with the number of heads trained in it.
    stop_after
        Epochs after which to stop, on the schedule of all; None: all of them.
    """
    widths = [problem.embeddings.shape[1], *hidden, problem.n_classes]
    training = _Training(problem, heads, scalers, widths, kind, settings)
    for epoch in range(stop_after or settings.epochs):
        training.run_epoch(epoch)
        training.keep_best(epoch)
        on_epoch(len(training.heads))
        if not training.drop_stopped(epoch):
            break
    return replace(training.best, best_epochs=training.best_epoch)


class _Head:
    """Rows and random generators of one head."""

    def __init__(self, rows: HeadRows, kind: str, steps: int) -> None:
        self.rows = rows
        self.order = torch.Generator().manual_seed(derive_seed(*rows.names, kind, "order"))
        self.dropout = torch.Generator().manual_seed(derive_seed(*rows.names, kind, "dropout"))
        self.edges = torch.arange(steps + 1) * len(rows.train) // steps
        self.batch = int(self.edges.diff().max())

    def epoch(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return shuffled training rows [steps, batch] and a float32 mask of the valid ones."""
        order = self.rows.train[torch.randperm(len(self.rows.train), generator=self.order)]
        starts, stops = self.edges[:-1, None], self.edges[1:, None]
        place = starts + torch.arange(batch)
        return order[place.clamp(max=len(order) - 1)], (place < stops).float()

    def validation(self, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield validation rows [batch] and a float32 mask of the valid ones, endlessly."""
        rows = self.rows.validation
        for start in range(0, len(rows), batch):
            block = rows[start : start + batch]
            filler = torch.zeros(batch - len(block), dtype=torch.int64)
            yield torch.cat([block, filler]), (torch.arange(batch) < len(block)).float()
        while True:
            yield torch.zeros(batch, dtype=torch.int64), torch.zeros(batch)


def initial_layers(
    heads: Sequence[HeadRows], widths: Sequence[int], kind: str, device: torch.device
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return weights [H, in, out] and biases [H, 1, out], uniform as in `torch.nn.Linear`."""
    weights, biases = [], []
    streams = [torch.Generator().manual_seed(derive_seed(*h.names, kind, "init")) for h in heads]
    for n_in, n_out in pairwise(widths):
        draws = torch.stack([torch.rand(n_in + 1, n_out, generator=s) for s in streams])
        values = ((2 * draws - 1) / math.sqrt(n_in)).to(device)
        weights.append(values[:, :-1].contiguous())
        biases.append(values[:, -1:].contiguous())
    return weights, biases


class StackedAdamW:
    """AdamW on parameters of many heads [H, ...], from which heads can be removed.

    Uses the functional form, because `torch.optim.AdamW` imports the compiler, which takes seconds.
    """

    def __init__(self, parameters: list[torch.Tensor], weight_decay: float) -> None:
        self.parameters = [parameter.requires_grad_() for parameter in parameters]
        self.weight_decay = weight_decay
        self.first = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        self.second = [torch.zeros_like(p, requires_grad=False) for p in parameters]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Make one step, and clear the gradients."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        adamw(
            self.parameters,
            gradients,
            self.first,
            self.second,
            [],
            self.steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
        )
        for parameter in self.parameters:
            parameter.grad = None

    def keep(self, heads: torch.Tensor) -> None:
        """Keep only these heads."""
        for parameter in self.parameters:
            parameter.data = parameter.data[heads]
        self.first = [moment[heads] for moment in self.first]
        self.second = [moment[heads] for moment in self.second]


def row_losses(logits: torch.Tensor, targets: torch.Tensor, is_multi_label: bool) -> torch.Tensor:
    """Return the loss of each row [H, B]: mean binary cross-entropy, or cross-entropy."""
    logits = logits.float()
    if is_multi_label:
        loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return loss.mean(dim=2)
    return -(logits.log_softmax(dim=2) * targets).sum(dim=2)


def reduced_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return autocast to bfloat16 on hardware with fast bfloat16; weights stay float32."""
    if device.type == "mps":
        return nullcontext()
    fast = device.type == "cuda"
    if device.type == "cpu":
        abilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def _head_precision(device: torch.device) -> AbstractContextManager[None]:
    """Return autocast as the processor has it; a GPU, which waits for its next step, keeps float32.

    Its scores are then those of a processor without bfloat16, and nearer to one with it than two
    devices in bfloat16 would be to each other.
    """
    return reduced_precision(device) if device.type == "cpu" else nullcontext()


class _Training:
    """The heads still in training; `positions` are their indices in `best`."""

    def __init__(
        self,
        problem: HeadProblem,
        heads: Sequence[HeadRows],
        scalers: Scalers,
        widths: Sequence[int],
        kind: str,
        settings: HeadSettings,
    ) -> None:
        device = problem.device
        steps = {steps_per_epoch(len(h.train), settings.batch_size) for h in heads}
        if len(steps) != 1:
            raise ValueError(f"heads of one chunk must have equal steps, not {sorted(steps)}")
        self.problem, self.settings, self.scalers = problem, settings, scalers
        (n_steps,) = steps
        self.heads = [_Head(rows, kind, n_steps) for rows in heads]
        weights, biases = initial_layers(heads, widths, kind, device)
        self.weights, self.biases = weights, biases
        self.best = HeadBatch(scalers, [w.clone() for w in weights], [b.clone() for b in biases])
        self.optimizer = StackedAdamW([*weights, *biases], settings.weight_decay)
        self.best_loss = torch.full((len(heads),), torch.inf, device=device)
        self.best_epoch = torch.zeros(len(heads), dtype=torch.int64, device=device)
        self.positions = torch.arange(len(heads), device=device)

    def run_epoch(self, epoch: int) -> None:
        """Train for one epoch."""
        progress = epoch / self.settings.epochs
        rate = self.settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
        batch = max(head.batch for head in self.heads)
        parts = [head.epoch(batch) for head in self.heads]
        rows, counts = (
            torch.stack(part, dim=1).to(self.problem.device) for part in zip(*parts, strict=True)
        )
        for step_rows, step_counts in zip(rows, counts, strict=True):
            losses = self._row_losses(step_rows, dropout=True) * step_counts
            # The gradient of the sum over heads is, for each head, that of its own mean loss.
            (losses.sum(dim=1) / step_counts.sum(dim=1)).sum().backward()
            self.optimizer.step(rate)

    def _row_losses(self, rows: torch.Tensor, dropout: bool) -> torch.Tensor:
        inputs = self.problem.embeddings.index_select(0, rows.flatten()).view(*rows.shape, -1)
        targets = self.problem.targets.index_select(0, rows.flatten()).view(*rows.shape, -1)
        with _head_precision(self.problem.device):
            after = self._drop if dropout and self.settings.dropout else None
            logits = forward(inputs, self.scalers, self.weights, self.biases, after)
        return row_losses(logits, targets, self.problem.is_multi_label)

    def _drop(self, values: torch.Tensor) -> torch.Tensor:
        """Apply dropout, with eight random bits per value, drawn by the processor on any device."""
        dropped = round(self.settings.dropout * RANDOM_LEVELS)
        count, width = values[0].numel(), values.shape[2]
        shape, on_gpu = (len(values), -(-count // 8)), values.device.type == "cuda"
        noise = torch.empty(shape, dtype=torch.int64, pin_memory=on_gpu)
        for row, head in zip(noise, self.heads, strict=True):
            # Only as many as the head needs: others in its chunk may have larger batches.
            row[: -(-head.batch * width // 8)].random_(-(2**63), None, generator=head.dropout)
        noise = noise.to(values.device, non_blocking=True)
        levels = noise.view(torch.uint8)[:, :count].view(values.shape)
        kept = (levels >= dropped).to(values.dtype)
        return values * kept.mul_(RANDOM_LEVELS / (RANDOM_LEVELS - dropped))

    @torch.no_grad()
    def keep_best(self, epoch: int) -> None:
        """Keep the weights of heads with a new lowest validation loss."""
        loss = self._validation_loss(epoch)
        better = loss < self.best_loss[self.positions]
        places = self.positions[better]
        self.best_loss[places] = loss[better]
        self.best_epoch[places] = epoch
        kept = [*self.best.weights, *self.best.biases]
        for target, current in zip(kept, [*self.weights, *self.biases], strict=True):
            target[places] = current[better]

    def _validation_loss(self, epoch: int) -> torch.Tensor:
        """Return the mean validation loss of each head [H]; decreasing if it has no such rows."""
        device = self.problem.device
        sizes = torch.tensor([len(h.rows.validation) for h in self.heads], device=device)
        batch = self.settings.batch_size
        streams = [head.validation(batch) for head in self.heads]
        total = torch.zeros(len(self.heads), dtype=torch.float64, device=device)
        for _ in range(math.ceil(int(sizes.max()) / batch)):
            parts = [next(stream) for stream in streams]
            rows, counts = (torch.stack(part).to(device) for part in zip(*parts, strict=True))
            total += (self._row_losses(rows, dropout=False) * counts).sum(dim=1)
        mean = total / sizes.clamp(min=1)
        return torch.where(sizes > 0, mean, -float(epoch)).float()

    @torch.no_grad()
    def drop_stopped(self, epoch: int) -> bool:
        """Remove the heads whose patience is exhausted; return whether any is left."""
        waited = epoch - self.best_epoch[self.positions]
        going = torch.nonzero(waited < self.settings.patience)[:, 0]
        if len(going) < len(self.heads):
            self.heads = [self.heads[i] for i in going.tolist()]
            self.positions = self.positions[going]
            self.scalers = self.scalers.select(going)
            self.optimizer.keep(going)
        return bool(self.heads)

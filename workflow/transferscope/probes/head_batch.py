"""Many feed-forward heads on one embedding matrix, computed as batched matrix products.

Each head standardises its input by its own training rows. Logistic regression, the linear head and
the MLP differ in their layers and in how they are trained, not in how they are applied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from transferscope.probes.evaluation import Division
from transferscope.probes.parts import part_weights
from transferscope.runtime.arrays import Floats32

BLOCK_ROWS = 1024
# A column whose standard deviation is below this share of its mean is constant up to rounding.
CONSTANT = 1e-6
# Logit of a class that all (or, negated, no) training rows have.
CERTAIN = 30.0


@dataclass(frozen=True)
class HeadRows:
    """Rows of the embedding matrix for one head, and the names from which its seeds derive."""

    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    names: tuple[object, ...]

    @classmethod
    def of(cls, division: Division, dataset: str) -> HeadRows:
        """Return the rows of a division.

        The names exclude the backbone, so that heads on two backbones start equally (are paired).
        """
        return cls(
            train=torch.from_numpy(division.train),
            validation=torch.from_numpy(division.validation),
            test=torch.from_numpy(division.test),
            names=(division.seed, dataset, *division.names),
        )


@dataclass(frozen=True)
class HeadProblem:
    """Embeddings and targets of all heads.

    Parameters
    ----------
    embeddings
        [N, D] float32, on the device.
    targets
        [N, C] float32 of 0 and 1, on the device.
    is_multi_label
        Whether a tile may have several classes.
    """

    embeddings: torch.Tensor
    targets: torch.Tensor
    is_multi_label: bool

    @property
    def device(self) -> torch.device:
        """Device of the embeddings."""
        return self.embeddings.device

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return self.targets.shape[1]


@dataclass(frozen=True)
class Scalers:
    """Mean and standard deviation of each head's training rows, [H, D] float32."""

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def fit(
        cls, embeddings: torch.Tensor, heads: Sequence[HeadRows], parts: Sequence[int] = ()
    ) -> Scalers:
        """Fit on training rows only; a constant column gets deviation 1, as in scikit-learn.

        Parameters
        ----------
        embeddings
            [N, D].
        heads
            H heads.
        parts
            Widths of joined stores, whose columns are scaled by `part_weights`; empty: one store.
        """
        weights = torch.from_numpy(part_weights(parts)).to(embeddings.device) if parts else 1.0
        means, deviations = [], []
        for head in heads:
            total = torch.zeros(2, embeddings.shape[1], dtype=torch.float64)
            total = total.to(embeddings.device)
            for rows in head.train.to(embeddings.device).split(BLOCK_ROWS):  # type: ignore[no-untyped-call]
                block = embeddings.index_select(0, rows).double()
                total += torch.stack([block.sum(dim=0), block.square().sum(dim=0)])
            mean, square = total / len(head.train)
            deviation = (square - mean.square()).clamp(min=0).sqrt()
            deviation[deviation <= CONSTANT * mean.abs()] = 1
            means.append(mean.float())
            deviations.append((deviation / weights).float())
        return cls(torch.stack(means), torch.stack(deviations))

    def select(self, heads: torch.Tensor | list[int]) -> Scalers:
        """Return the scalers of some heads."""
        return Scalers(self.mean[heads], self.deviation[heads])


@dataclass(frozen=True)
class HeadBatch:
    """H trained heads.

    Parameters
    ----------
    scalers
        Of the H heads.
    weights, biases
        Per layer, [H, in, out] and [H, 1, out], with ReLU in between.
    best_epochs
        The epoch that each head's weights are of, int64 [H]; None: trained without epochs.
    """

    scalers: Scalers
    weights: list[torch.Tensor]
    biases: list[torch.Tensor]
    best_epochs: torch.Tensor | None = None

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits [H, B, C] of embeddings [H, B, D]; no dropout."""
        return forward(inputs, self.scalers, self.weights, self.biases)

    def head(self, index: int) -> HeadBatch:
        """Return one of the heads, as a batch of one."""
        one = [index]
        weights, biases = ([p[one] for p in ps] for ps in (self.weights, self.biases))
        epochs = None if self.best_epochs is None else self.best_epochs[one]
        return HeadBatch(self.scalers.select(one), weights, biases, epochs)

    def scores(self, index: int, rows: torch.Tensor, problem: HeadProblem) -> Floats32:
        """Return the class probabilities of one head on some rows, [n, C] float32."""
        head = self.head(index)
        blocks = [
            head.logits(problem.embeddings.index_select(0, block)[None])[0]
            for block in rows.to(problem.device).split(BLOCK_ROWS)  # type: ignore[no-untyped-call]
        ]
        logits = torch.cat(blocks)
        scores = logits.sigmoid() if problem.is_multi_label else logits.softmax(dim=1)
        return scores.cpu().numpy()


def forward(
    inputs: torch.Tensor,
    scalers: Scalers,
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    after_hidden: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """Return the logits [H, B, C] of embeddings [H, B, D]; `after_hidden` may be a dropout."""
    values = (inputs - scalers.mean[:, None]).div_(scalers.deviation[:, None])
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values = torch.baddbmm(bias, values, weight).relu_()
        values = after_hidden(values) if after_hidden else values
    return torch.baddbmm(biases[-1], values, weights[-1])

"""The training of one division: what the loop of every training asks of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional

from transferscope.config.probes import FinetuneSettings
from transferscope.config.training import OptimiserSettings
from transferscope.finetuning.balance import class_weights, row_weights
from transferscope.finetuning.layers import parameter_groups
from transferscope.finetuning.network import TunedNetwork
from transferscope.finetuning.parts import Scores
from transferscope.probes.average_precision import average_precision
from transferscope.probes.evaluation import Division
from transferscope.probes.head_training import row_losses, steps_per_epoch
from transferscope.probes.metrics import mean_of_defined
from transferscope.training.loop import EarlyStop
from transferscope.training.order import BatchOrder
from transferscope.training.reading import BatchReader
from transferscope.training.tiles import TrainingTiles

Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledRows:
    """Tiles of a store and their labels.

    Parameters
    ----------
    tiles
        Those that are used, by rising row of the store.
    labels
        Of all rows of the store, [N, C].
    is_multi_label
        Whether classes are decided on one by one; else one is chosen.
    """

    tiles: TrainingTiles
    labels: Bools
    is_multi_label: bool

    def batch(self, rows: Rows) -> Tensor:
        """Return raw tiles [B, C, H, W] by their rows in the store."""
        return self.tiles.batch(np.searchsorted(self.tiles.rows, rows))


class Measures(NamedTuple):
    """How well validation rows are told apart: the higher the better, in this order.

    Average precision comes first, because a network that knows little more than how often each
    class occurs may have a lower loss than a head that is right more often, and too sure.

    Parameters
    ----------
    precision
        Mean over classes of the average precision, of those that occur; -inf where none does.
    minus_loss
        Minus the mean loss of a row; -inf where there is no row.
    """

    precision: float
    minus_loss: float


class _Best(nn.Module):
    """The best measures so far, and after how many epochs: 0 is the start."""

    values: Tensor
    epoch: Tensor

    def __init__(self, start: Measures) -> None:
        super().__init__()
        self.register_buffer("values", torch.tensor(start, dtype=torch.float64))
        self.register_buffer("epoch", torch.tensor(0))

    @property
    def measures(self) -> Measures:
        """The best measures so far."""
        return Measures(*self.values.tolist())

    def replace(self, measures: Measures, epoch: int) -> None:
        """Take better ones."""
        self.values.copy_(torch.tensor(measures).double())
        self.epoch.fill_(epoch)


class FinetuneTask:
    """Training of a network and its classifier on the training rows of one division.

    The weights of the epoch with the best `Measures` are kept, the start being one of them. A
    division without validation rows keeps the last.

    Parameters
    ----------
    network
        A prepared network with the frozen backbone's head on top.
    data
        Tiles and labels.
    division
        Rows to train on and to validate on; those to test on are not looked at.
    settings
        Batch size, rates, patience and so on.
    seed
        Of the order of the rows.
    """

    def __init__(
        self,
        network: TunedNetwork,
        data: LabelledRows,
        division: Division,
        settings: FinetuneSettings,
        seed: int,
    ) -> None:
        self.network, self.data, self.division, self.settings = network, data, division, settings
        labels = data.labels[division.train]
        steps = steps_per_epoch(len(labels), settings.batch_size)
        weights = row_weights(labels) if settings.balance == "sampling" else None
        batch_size = math.ceil(len(labels) / steps)
        self.order = BatchOrder(len(labels), batch_size, seed, weights=weights)
        self.reader = BatchReader(lambda step: data.batch(self._rows(step)))
        self._class_weights = torch.ones(labels.shape[1])
        if settings.balance == "loss":
            found = class_weights(labels, data.is_multi_label)
            self._class_weights = torch.from_numpy(found).float()
        self.ema = ModelEmaV3(network, decay=settings.ema, use_warmup=True)
        self.best = copy.deepcopy(network)
        self._record = _Best(self._measured())

    @property
    def optimiser(self) -> OptimiserSettings:
        """What the loop is told about rates."""
        shared = self.settings.model_dump(include={"warmup", "weight_decay", "clip"})
        # A rate of zero is expressed by the groups: the loop's own must be positive.
        rate = self.settings.learning_rate or 1.0
        return OptimiserSettings(learning_rate=rate, final_learning_rate=0.0, **shared)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return what a checkpoint must hold."""
        return {
            "network": self.network,
            "average": self.ema.module,
            "best": self.best,
            "record": self._record,
        }

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups."""
        settings = self.settings
        network, classifier = self.network.backbone.network, self.network.classifier
        groups = parameter_groups(network, classifier, settings.layer_decay, settings.backbone_rate)
        if settings.learning_rate == 0:
            return [{**group, "lr_scale": 0.0} for group in groups]
        return groups

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss over the rows of a step."""
        targets = self._targets(self._rows(step))
        logits = self.network(self.network.source.training(self.reader(step), generator))
        return self._weighted(logits, targets).mean(), {}

    def after_step(self, step: int) -> None:
        """Move the average of the weights."""
        self.ema.update(self.network, step)

    def at_epoch_end(self, epoch: int) -> dict[str, float]:
        """Keep the averaged weights if they are the best so far; stop where patience is over."""
        measures, done = self._measured(), epoch + 1
        if measures > self._record.measures or not len(self.division.validation):
            self._record.replace(measures, done)
            self.best.load_state_dict(self.ema.module.state_dict())
        found = {
            "validation_precision": measures.precision,
            "validation_loss": -measures.minus_loss,
        }
        if done - int(self._record.epoch) >= self.settings.patience:
            raise EarlyStop(f"nothing better in {self.settings.patience} epochs", found)
        return found

    def waited(self) -> float:
        """Return the seconds spent waiting for tiles."""
        return self.reader.waited

    def close(self) -> None:
        """Stop reading ahead."""
        self.reader.close()

    def scores(self, rows: Rows) -> Scores:
        """Return the class probabilities of the best weights on some rows, [n, C] float32."""
        return class_scores(self.best, self.data, rows, self.settings.batch_size)

    def _rows(self, step: int) -> Rows:
        return self.division.train[self.order.rows(step)]

    def _targets(self, rows: Rows) -> Tensor:
        labels = torch.from_numpy(self.data.labels[rows])
        return labels.to(self.network.source.device, torch.float32)

    def _weighted(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each row [B], rare classes weighed as the settings say."""
        logits, weights = logits.float(), self._class_weights.to(logits.device)
        if self.data.is_multi_label:
            losses = functional.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=weights, reduction="none"
            )
            return losses.mean(dim=1)
        return -(logits.log_softmax(dim=1) * targets * weights).sum(dim=1)

    def _measured(self) -> Measures:
        """Measure the averaged weights on the validation rows; no class weighs more there."""
        rows = self.division.validation
        if not len(rows):
            return Measures(-math.inf, -math.inf)
        logits = logits_of(self.ema.module, self.data, rows, self.settings.batch_size)
        losses = row_losses(logits[None], self._targets(rows)[None], self.data.is_multi_label)
        scores = as_scores(logits, self.data.is_multi_label)
        precision = float(mean_of_defined(average_precision(self.data.labels[rows], scores)))
        known = -math.inf if math.isnan(precision) else precision
        return Measures(known, -float(losses.cpu().double().mean()))


@torch.inference_mode()
def logits_of(network: TunedNetwork, data: LabelledRows, rows: Rows, batch_size: int) -> Tensor:
    """Return logits [n, C] of tiles that are not augmented, on the device."""
    parts = [
        network(network.source.evaluated(data.batch(rows[start : start + batch_size])))
        for start in range(0, len(rows), batch_size)
    ]
    return torch.cat(parts)


def class_scores(network: TunedNetwork, data: LabelledRows, rows: Rows, batch_size: int) -> Scores:
    """Return class probabilities [n, C] float32 of tiles that are not augmented."""
    if not len(rows):
        return np.empty((0, data.labels.shape[1]), dtype=np.float32)
    logits = logits_of(network, data, rows, batch_size)
    return as_scores(logits, data.is_multi_label)


def as_scores(logits: Tensor, is_multi_label: bool) -> Scores:
    """Return class probabilities [n, C] of logits."""
    scores = logits.sigmoid() if is_multi_label else logits.softmax(dim=1)
    return scores.cpu().numpy()

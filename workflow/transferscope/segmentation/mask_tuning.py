"""Training of a backbone together with one decoder of masks, on one division."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferscope.backbones.readout import Backbone
from transferscope.config.modes import FULL
from transferscope.config.segmentation import MaskTuningSettings, SegmentationSettings
from transferscope.config.training import OptimiserSettings
from transferscope.finetuning.layers import parameter_groups, prepare
from transferscope.finetuning.network import TileInput
from transferscope.probes.evaluation import Division
from transferscope.runtime.arrays import Floats32, Integers
from transferscope.runtime.seeds import derive_seed
from transferscope.segmentation.decoders import Decoder, resized
from transferscope.segmentation.features import MapReader
from transferscope.segmentation.losses import learned_losses
from transferscope.segmentation.mask_augmentation import MaskAugmenter
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.views import mean_of_views, turned
from transferscope.training.loop import EarlyStop
from transferscope.training.order import BatchOrder
from transferscope.training.reading import BatchReader
from transferscope.training.tiles import TrainingTiles

# Training tiles from which the scale of the maps at the start is taken.
SCALE_TILES = 64
CONSTANT = 1e-6
PREDICTED_TILES = 8


class MaskNetwork(nn.Module):
    """A backbone and a decoder of its maps.

    Parameters
    ----------
    backbone
        Prepared for its mode; not copied.
    source
        What its passes are fed.
    decoder
        Kind of the decoder.
    seed
        Of its initial weights.
    moves_norms
        Whether batch norms take the statistics of each training batch, and learn those of all.
    """

    def __init__(
        self, backbone: Backbone, source: TileInput, decoder: Decoder, seed: int, moves_norms: bool
    ) -> None:
        super().__init__()
        decoder = decoder.alone
        self.backbone, self.decoder, self.source = backbone, decoder, source
        self.moves_norms = moves_norms
        flat = [tensor[0] for layer in decoder.initial([seed]) for tensor in layer]
        self.layers = nn.ParameterList(flat)
        for number, level in enumerate(decoder.used):
            for name, value in (("mean", 0.0), ("deviation", 1.0)):
                values = torch.full((decoder.levels[level].width,), value)
                self.register_buffer(f"{name}_{number}", values)
        self.eval()

    def for_training(self, *, on: bool) -> None:
        """Switch batch norms, where they move; dropout is always off."""
        self.eval()
        for module in self.backbone.modules():
            if isinstance(module, _BatchNorm) and self.moves_norms:
                module.train(on)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps [B, D, h, w] that the decoder reads, of tiles from `TileInput`."""
        levels = MapReader(self.backbone, self.source, [self.decoder.name]).levels(images)
        return [levels[n] for n in self.decoder.used]

    @torch.no_grad()
    def start_from(self, batches: Iterator[Tensor]) -> None:
        """Take mean and deviation of each feature from some training tiles."""
        self.for_training(on=True)
        found = [[_moments(level) for level in self.maps(batch)] for batch in batches]
        for number, of_level in enumerate(zip(*found, strict=True)):
            mean, square = (torch.stack(each).mean(dim=0) for each in zip(*of_level, strict=True))
            deviation = (square - mean**2).clamp(min=0).sqrt()
            deviation = torch.where(deviation > CONSTANT, deviation, 1.0)
            getattr(self, f"mean_{number}").copy_(mean)
            getattr(self, f"deviation_{number}").copy_(deviation)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, 1, K, h, w] of tiles [B, C, S, S] from `TileInput`."""
        inputs = []
        for number, level in enumerate(self.maps(images)):
            mean, deviation = (getattr(self, f"{n}_{number}") for n in ("mean", "deviation"))
            inputs.append(((level - mean[:, None, None]) / deviation[:, None, None])[:, None])
        weights = [weight[None] for weight in self.layers]
        layers = list(zip(weights[::2], weights[1::2], strict=True))
        return self.decoder(inputs, layers).float()


def _moments(level: Tensor) -> tuple[Tensor, Tensor]:
    return level.mean(dim=(0, 2, 3)), level.square().mean(dim=(0, 2, 3))


class _Kept(nn.Module):
    """The lowest validation loss so far, and the step after which it was."""

    loss: Tensor
    step: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loss", torch.tensor(math.inf, dtype=torch.float64))
        self.register_buffer("step", torch.tensor(0))


class MaskTask:
    """What the loop of every training asks of that of a backbone and a decoder.

    Validation tiles choose the weights that are kept; without any, these are the last.

    Parameters
    ----------
    network
        What is trained.
    tiles, masks
        All tiles that are used, and their masks.
    division
        Rows to train on and to validate on; those to test on are not looked at.
    settings, tuned
        Loss and patience; batch size, rates and augmentation.
    channels
        Of the tiles.
    seed
        Of the order of the rows.
    """

    def __init__(
        self,
        network: MaskNetwork,
        tiles: TrainingTiles,
        masks: TrueMasks,
        division: Division,
        settings: SegmentationSettings,
        tuned: MaskTuningSettings,
        channels: list[str],
        seed: int,
    ) -> None:
        self.network, self.tiles, self.masks = network, tiles, masks
        self.division, self.settings, self.tuned = division, settings, tuned
        self.source = network.source
        self.order = BatchOrder(len(division.train), tuned.batch_size, seed, whole_batches=True)
        self.reader = BatchReader(lambda step: self._raw(self._rows(step)))
        self._augment = MaskAugmenter(tuned.augmentation, channels) if tuned.augment else None
        drawn = np.random.default_rng(seed).permutation(division.train)
        chosen = np.sort(drawn[:SCALE_TILES])
        network.start_from(
            self.source.evaluated(self._raw(rows)) for rows in _batches(chosen, tuned.batch_size)
        )
        self.best = copy.deepcopy(network)
        self.kept = _Kept()

    @property
    def optimiser(self) -> OptimiserSettings:
        """What the loop is told about rates."""
        shared = self.tuned.model_dump(include={"learning_rate", "warmup", "weight_decay", "clip"})
        return OptimiserSettings(final_learning_rate=0.0, **shared)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return what a checkpoint must hold."""
        return {"network": self.network, "best": self.best, "kept": self.kept}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups."""
        network = self.network
        return parameter_groups(
            network.backbone.network, network.layers, 1.0, self.tuned.backbone_rate
        )

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the tiles of a step."""
        self.network.for_training(on=True)
        learned = self.masks.learned(self._rows(step), self.source.device)
        raw = self.reader(step)
        if self._augment is None:
            images = self.source.evaluated(raw)
        else:
            tiles, learned = self._augment(self.source.scaled(raw), learned, generator)
            images = self.source.of_scaled(tiles)
        return self._losses(images, learned).mean(), {}

    def after_step(self, step: int) -> None:
        """Nothing follows the weights."""

    def at_epoch_end(self, epoch: int) -> dict[str, float]:
        """Keep the best weights; stop where patience is over. An epoch is `check_every` steps."""
        done = (epoch + 1) * self.settings.check_every
        found = self.validation_loss()
        if not found >= float(self.kept.loss):  # also where it is not defined
            self.kept.loss.fill_(found)
            self.kept.step.fill_(min(done, self.tuned.steps))
            self.best.load_state_dict(self.network.state_dict())
        waited = (done - int(self.kept.step)) // self.settings.check_every
        if waited >= self.settings.patience:
            raise EarlyStop(f"nothing better in {waited} checks", {"validation_loss": found})
        return {"validation_loss": found}

    def waited(self) -> float:
        """Return the seconds spent waiting for tiles."""
        return self.reader.waited

    def close(self) -> None:
        """Stop reading ahead."""
        self.reader.close()

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Return the mean loss of a validation tile; NaN without any."""
        self.network.for_training(on=False)
        rows = self.division.validation
        found = [
            self._losses(
                self.source.evaluated(self._raw(part)),
                self.masks.learned(part, self.source.device),
                of_tiles=True,
            )
            .cpu()
            .double()
            for part in _batches(rows, self.tuned.batch_size)
        ]
        return float(torch.cat(found).mean()) if found else math.nan

    def _losses(self, images: Tensor, learned: list[Tensor], *, of_tiles: bool = False) -> Tensor:
        learned = [part[:, None] for part in learned]
        logits = resized(self.network(images).float(), learned[0].shape[-2:])
        return learned_losses(logits, learned, self.settings.loss, of_tiles=of_tiles)

    def _rows(self, step: int) -> Integers:
        return self.division.train[self.order.rows(step)]

    def _raw(self, rows: Integers) -> Tensor:
        return self.tiles.batch(np.searchsorted(self.tiles.rows, rows))


@torch.no_grad()
def predicted_masks(
    network: MaskNetwork,
    tiles: TrainingTiles,
    masks: TrueMasks,
    rows: Integers,
    source: TileInput | None = None,
    views: int = 1,
) -> Iterator[tuple[int, Floats32]]:
    """Yield row and logits [K, H, W], at the size of the tile: means over its views.

    Parameters
    ----------
    network
        A trained network.
    tiles, masks
        Of the dataset, which give tiles and their size.
    rows
        Which tiles.
    source
        What feeds the tiles of another dataset than that of the training.
    views
        Of each tile.
    """
    network.for_training(on=False)
    fed = source or network.source
    for part in _batches(rows, PREDICTED_TILES):
        raw = tiles.batch(np.searchsorted(tiles.rows, part))
        logits = mean_of_views(network(fed.evaluated(turned(raw, v))) for v in range(views))
        for row, one in zip(part, logits, strict=True):
            yield int(row), resized(one[None], masks.values.shape[1:])[0, 0].cpu().numpy()


def tuned_network(
    backbone: Backbone,
    source: TileInput,
    decoder: Decoder,
    mode: str,
    settings: MaskTuningSettings,
    seed: int,
) -> MaskNetwork:
    """Return a copy of a backbone, prepared for a mode, with a decoder.

    Parameters
    ----------
    backbone, source
        As embedding uses them.
    decoder
        Kind of the decoder.
    mode
        `full`, `last-<n>` or `lora`, which the backbone can serve.
    settings
        Of low-rank updates.
    seed
        Of new weights.
    """
    own = copy.deepcopy(backbone)
    rank, alpha = settings.lora_rank, settings.lora_alpha
    prepare(own.network, mode, rank=rank, alpha=alpha, seed=derive_seed("lora", seed))
    return MaskNetwork(own, source, decoder, seed, moves_norms=mode == FULL).to(source.device)


def _batches(rows: Integers, size: int) -> Iterator[Integers]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]

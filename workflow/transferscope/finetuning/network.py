"""A backbone with a classifier on top, fed with raw tiles as the embedding step feeds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferscope.backbones.networks import build_backbone
from transferscope.backbones.precision import DTYPES, Precision
from transferscope.backbones.preprocessing import Preprocessor, normalization_for
from transferscope.backbones.readout import Backbone
from transferscope.backbones.scale import card_for_tiles
from transferscope.cards import NetworkCard
from transferscope.channels.assignment import Assignment, assign
from transferscope.config.channel_strategies import ADAPT, MEAN, single_channel
from transferscope.config.training import AugmentationSettings
from transferscope.probes.head_batch import HeadBatch
from transferscope.runtime.devices import moved
from transferscope.stores.tile_store import TileStore
from transferscope.training.augmentation import Augmentation
from transferscope.training.tiles import scaled

BLACK_AND_WHITE = (0.0, 1.0)


class TileInput:
    """Raw tiles to the input of each forward pass, on the device.

    Parameters
    ----------
    card
        The backbone, with the input size for these tiles.
    assignment
        Passes of the strategy's embedding store.
    channels, intensity_range
        Of the tiles: names, and raw values of black and white [C, 2].
    strategy
        The channel strategy; of `only-<channel>` one pass is left.
    augmentation
        Random changes of training tiles; None: they are shown as they are.
    device
        Where the tensors lie.
    """

    def __init__(
        self,
        card: NetworkCard,
        assignment: Assignment,
        channels: Sequence[str],
        intensity_range: npt.NDArray[np.float32],
        strategy: str,
        augmentation: AugmentationSettings | None,
        device: torch.device,
    ) -> None:
        channel = single_channel(strategy)
        self.passes = [p for p in assignment.passes if channel in (None, p.channel)]
        self.averages = strategy == MEAN
        self.device = device
        self.input_size = card.input_size
        self._intensity_range = intensity_range
        n_inputs = assignment.n_inputs
        normalization = normalization_for(assignment, card.normalization)

        def preprocessor(limits: npt.NDArray[np.float32]) -> Preprocessor:
            size = card.input_size
            return Preprocessor(channels, limits, size, normalization, n_inputs, device)

        self._plain = preprocessor(intensity_range)
        # An augmented tile has been scaled already.
        scale = np.array([BLACK_AND_WHITE] * len(channels), dtype=np.float32)
        self._augmented = preprocessor(scale)
        self._augmentation = (
            Augmentation(augmentation, card.input_size, channels) if augmentation else None
        )

    @property
    def fed(self) -> list[int]:
        """Channels of the tiles that are fed in any pass, in the order of the tiles."""
        names = {channel for one in self.passes for channel in one.slots.values()}
        return [n for n, channel in enumerate(self._plain.channels) if channel in names]

    def evaluated(self, raw: Tensor) -> Tensor:
        """Return raw tiles [B, C, H, W] as `embed` shows them, [B, C, S, S] float32."""
        return self._plain.resize(moved(raw, self.device))

    def training(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return raw tiles augmented, and then normalised as `embed` does it."""
        if self._augmentation is None:
            return self.evaluated(raw)
        return self.of_scaled(self._augmentation(self.scaled(raw), generator))

    def scaled(self, raw: Tensor) -> Tensor:
        """Return raw tiles [B, C, H, W] in float32, their intensity range from 0 to 1."""
        return scaled(moved(raw, self.device), self._intensity_range)

    def of_scaled(self, tiles: Tensor) -> Tensor:
        """Return the input's size of tiles of `scaled`, [B, C, S, S], as `embed` makes it."""
        return self._augmented.resize(tiles)

    def of_each_pass(self, resized: Tensor) -> Iterator[tuple[Tensor, list[int]]]:
        """Yield the network's input [B, slots, S, S] and the filled slots of each pass."""
        for one in self.passes:
            yield self._plain.fill(resized, one), one.filled


class Classifier(nn.Module):
    """The linear head: embeddings standardised as those of the frozen backbone, then one layer.

    Parameters
    ----------
    head
        A trained linear head, alone in its batch; its scaler was fitted on training rows only.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, head: HeadBatch) -> None:
        super().__init__()
        self.register_buffer("mean", head.scalers.mean[0].clone())
        self.register_buffer("deviation", head.scalers.deviation[0].clone())
        self.weight = nn.Parameter(head.weights[0][0].clone())
        self.bias = nn.Parameter(head.biases[0][0, 0].clone())

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits [B, classes] of embeddings [B, D], in float32."""
        with torch.autocast(embeddings.device.type, enabled=False):
            standardised = (embeddings.float() - self.mean) / self.deviation
            return torch.addmm(self.bias, standardised, self.weight)


class TunedNetwork(nn.Module):
    """A backbone and a classifier that reads its output.

    It is never switched to training mode: dropout is off, and the statistics of batch norms are
    those that the embedding was made with.

    Parameters
    ----------
    backbone
        With one output.
    classifier
        Reads the outputs of all passes, end to end or averaged.
    source
        What the passes are fed.
    """

    def __init__(self, backbone: Backbone, classifier: Classifier, source: TileInput) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.source = source
        self.eval()

    def embeddings(self, resized: Tensor) -> Tensor:
        """Return embeddings [B, D] of tiles from `TileInput.evaluated` or `.training`."""
        found = [
            self.backbone(images, filled)[0] for images, filled in self.source.of_each_pass(resized)
        ]
        return torch.stack(found).mean(dim=0) if self.source.averages else torch.cat(found, dim=1)

    def forward(self, resized: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        logits: Tensor = self.classifier(self.embeddings(resized))
        return logits


def open_backbone(
    store: TileStore,
    card: NetworkCard,
    card_path: Path,
    strategy: str,
    output: str | None,
    precision: Precision,
    augmentation: AugmentationSettings | None,
    device: torch.device,
) -> tuple[Backbone, TileInput]:
    """Return a backbone with one output, and what feeds it the tiles of a store.

    Parameters
    ----------
    store
        The tiles.
    card, card_path
        The backbone and its file.
    strategy
        Channel strategy, of which `mean` and `only-<channel>` are views of `replicate`.
    output
        Name of the output that is read; None: the first.
    precision
        Number format of the products; weights stay float32.
    augmentation, device
        As in `TileInput`.

    Raises
    ------
    UserError
        Where card, weights and channels do not fit.
    """
    card = card_for_tiles(card, card_path, store.tile_size, store.pixel_size_um)
    assignment = assign(strategy, store.channels, card.named_slots)
    chosen = [o for o in card.outputs if output in (None, o.name)][:1]
    single = card.model_copy(update={"outputs": chosen})
    n_adapted = assignment.n_inputs if assignment.strategy == ADAPT else None
    backbone = build_backbone(single, card_path, n_adapted).to(device)
    backbone.dtype = DTYPES[precision]
    limits = store.intensity_range
    source = TileInput(card, assignment, store.channels, limits, strategy, augmentation, device)
    return backbone, source

"""Training of many decoders at once on the feature maps of one backbone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from transferscope.config.segmentation import SegmentationSettings
from transferscope.probes.evaluation import Division
from transferscope.probes.head_training import StackedAdamW, reduced_precision
from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers
from transferscope.runtime.devices import moved
from transferscope.runtime.seeds import derive_seed
from transferscope.segmentation.decoders import Decoder, Layers, resized
from transferscope.segmentation.features import FeatureMaps
from transferscope.segmentation.losses import learned_losses
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.views import mean_of_views

# Memory of the values that decoders trained together hold for the backward pass.
TOGETHER_BYTES = 2**30
FLOAT_BYTES = 4
# Copies of logits and shares at the size of the masks that a loss holds.
LOSS_COPIES = 8
# A feature that varies less is constant, and is not scaled.
CONSTANT = 1e-6
READ_TILES = 256


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each feature of each level over the training tiles, [M, D] each."""

    means: list[Tensor]
    deviations: list[Tensor]

    def of(self, chosen: Tensor) -> Scale:
        """Return those of some decoders."""
        return Scale(*([each[chosen] for each in kind] for kind in (self.means, self.deviations)))


class MapProblem:
    """What all decoders of one kind learn from: maps, true masks and settings.

    Parameters
    ----------
    maps
        Feature maps of all tiles that any decoder uses.
    masks
        True masks of the same.
    decoder
        The kind of decoder.
    settings
        How it is trained.
    device
        Where it is trained.
    """

    def __init__(
        self,
        maps: FeatureMaps,
        masks: TrueMasks,
        decoder: Decoder,
        settings: SegmentationSettings,
        device: torch.device,
    ) -> None:
        self.maps, self.masks, self.decoder = maps, masks, decoder
        self.settings, self.device = settings, device
        self.levels = [maps.levels[n] for n in decoder.used]

    @cached_property
    def _moments(self) -> list[tuple[Floats, Floats]]:
        """Mean, and mean square, of each feature of each view, [n * views, D] for each level."""
        found = []
        for level in self.levels:
            means, squares = np.empty((2, *level.shape[:2]))
            for start in range(0, len(level), READ_TILES):
                part = slice(start, start + READ_TILES)
                values = np.asarray(level[part], np.float32)
                means[part] = values.mean(axis=(2, 3), dtype=np.float64)
                squares[part] = np.square(values).mean(axis=(2, 3), dtype=np.float64)
            found.append((means, squares))
        return found

    def scale(self, divisions: Sequence[Division]) -> Scale:
        """Return mean and deviation over the training tiles of each division, and no other."""
        every = np.arange(self.maps.views)
        chosen = [self.maps.places(d.train[:, None], every).ravel() for d in divisions]
        means, deviations = [], []
        for tile_means, tile_squares in self._moments:
            mean = np.stack([tile_means[rows].mean(axis=0) for rows in chosen])
            square = np.stack([tile_squares[rows].mean(axis=0) for rows in chosen])
            deviation = np.sqrt(np.maximum(square - mean**2, 0))
            deviation = np.where(deviation > CONSTANT, deviation, 1.0)
            means.append(torch.from_numpy(mean).float().to(self.device))
            deviations.append(torch.from_numpy(deviation).float().to(self.device))
        return Scale(means, deviations)

    def logits(
        self, rows: Integers, layers: Layers, scale: Scale, views: Integers | int = 0
    ) -> Tensor:
        """Return logits [B, M, K, h, w] of views of tiles [B, M], by their rows in the store."""
        places, inputs = self.maps.places(rows, views), []
        for level, mean, deviation in zip(self.levels, scale.means, scale.deviations, strict=True):
            values = moved(torch.from_numpy(level[places]), self.device).float()
            inputs.append((values - mean[:, :, None, None]) / deviation[:, :, None, None])
        with reduced_precision(self.device):
            return self.decoder(inputs, layers)

    def losses(
        self,
        rows: Integers,
        layers: Layers,
        scale: Scale,
        views: Integers | None = None,
        *,
        of_tiles: bool = False,
    ) -> Tensor:
        """Return the loss of each decoder, [M], on batches of tiles [B, M], or of each tile.

        These are the tiles themselves, or a view of each, [B, M].
        """
        learned = self.masks.learned(rows, self.device, views)
        logits = self.logits(rows, layers, scale, 0 if views is None else views)
        logits = resized(logits.float(), learned[0].shape[-2:])
        return learned_losses(logits, learned, self.settings.loss, of_tiles=of_tiles)

    @property
    def together(self) -> int:
        """How many decoders are trained together."""
        small = math.prod(self.masks.known.shape[1:])
        floats = self.decoder.floats_per_tile + LOSS_COPIES * self.masks.n_out * small
        held = FLOAT_BYTES * self.settings.batch_size * floats
        return max(1, TOGETHER_BYTES // held)


@dataclass(frozen=True)
class Trained:
    """Decoders with the weights of their lowest loss on validation tiles.

    Parameters
    ----------
    divisions
        What each was trained on, [M].
    layers, scale
        Weights, and scale of the features.
    steps
        Steps after which the weights were kept, int64 [M].
    losses
        Validation losses there, float64 [M]; NaN without validation tiles.
    """

    divisions: Sequence[Division]
    layers: Layers
    scale: Scale
    steps: Integers
    losses: Floats


def trained_together(
    problem: MapProblem, divisions: Sequence[Division]
) -> Iterator[Sequence[Division]]:
    """Yield divisions, as many as memory allows to train decoders on at the same time."""
    size = problem.together
    for start in range(0, len(divisions), size):
        yield divisions[start : start + size]


def train_decoders(
    problem: MapProblem, divisions: Sequence[Division], names: tuple[object, ...]
) -> Trained:
    """Train a decoder on each division, all at the same time.

    A decoder sees its training tiles alone, in all views that there are; its validation tiles, as
    they are, choose after which step it stops.
    Results of a decoder do not depend on which others are trained with it, except for the rounding
    of products.

    Parameters
    ----------
    problem
        What they learn from.
    divisions
        Rows of training and validation; all have training rows. No more than `trained_together`
        yields.
    names
        Names from which the seeds derive, in addition to those of the division and the decoder.
    """
    training = _Training(problem, divisions, names)
    settings = problem.settings
    for step in range(settings.steps):
        rate = settings.learning_rate * (1 + math.cos(math.pi * step / settings.steps)) / 2
        training.step(rate)
        done = step + 1
        if done % settings.check_every == 0 or done == settings.steps:
            training.keep_best(done)
            if not training.drop_stopped(done):
                break
    return training.best()


class _Training:
    """The decoders that are still trained; `positions` are their numbers among all."""

    def __init__(
        self, problem: MapProblem, divisions: Sequence[Division], names: tuple[object, ...]
    ) -> None:
        self.problem, self.divisions = problem, divisions
        of_each = [(*names, problem.decoder.name, d.seed, *d.names) for d in divisions]
        self.shown = [
            _endless(_shown(d.train, problem.maps.views), each)
            for d, each in zip(divisions, of_each, strict=True)
        ]
        seeds = [derive_seed(*each, "weights") for each in of_each]
        layers = problem.decoder.initial(seeds)
        self.layers = [(w.to(problem.device), b.to(problem.device)) for w, b in layers]
        self.kept = [(weight.clone(), bias.clone()) for weight, bias in self.layers]
        self.all_scales = self.scale = problem.scale(divisions)
        flat = [tensor for layer in self.layers for tensor in layer]
        self.optimiser = StackedAdamW(flat, problem.settings.weight_decay)
        self.positions = torch.arange(len(divisions))
        self.losses = torch.full((len(divisions),), torch.inf)
        self.steps = torch.zeros(len(divisions), dtype=torch.int64)

    def step(self, rate: float) -> None:
        """Make one step of each decoder."""
        size = self.problem.settings.batch_size
        shown = np.stack([_next(self.shown[n], size) for n in self.positions.tolist()], axis=1)
        rows, views = np.divmod(shown, self.problem.maps.views)
        # The gradient of the sum over decoders is, for each one, that of its own loss.
        self.problem.losses(rows, self.layers, self.scale, views).sum().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step(rate)

    @torch.no_grad()
    def keep_best(self, done: int) -> None:
        """Keep the weights of decoders with a new lowest loss, and of those that have none."""
        found = self._validation_losses()
        # Without validation tiles the last weights count.
        better = (found < self.losses[self.positions]) | found.isnan()
        places = self.positions[better]
        self.losses[places] = found[better]
        self.steps[places] = done
        better = better.to(self.problem.device)
        for kept, current in zip(self.kept, self.layers, strict=True):
            for target, source in zip(kept, current, strict=True):
                target[places.to(target.device)] = source[better]

    def _validation_losses(self) -> Tensor:
        """Return the mean loss of each decoder over its validation tiles; NaN without any."""
        chosen = [self.divisions[n].validation for n in self.positions.tolist()]
        total = torch.zeros(len(chosen), dtype=torch.float64)
        for rows, is_valid in padded(chosen, self.problem.settings.batch_size):
            losses = (
                self.problem.losses(rows, self.layers, self.scale, of_tiles=True).cpu().double()
            )
            total += torch.where(torch.from_numpy(is_valid), losses, 0.0).sum(dim=0)
        counts = torch.tensor([len(rows) for rows in chosen])
        return torch.where(counts > 0, total / counts.clamp(min=1), torch.nan).float()

    @torch.no_grad()
    def drop_stopped(self, done: int) -> bool:
        """Take out the decoders whose patience is exhausted; return whether any is left."""
        settings = self.problem.settings
        waited = (done - self.steps[self.positions]) // settings.check_every
        going = torch.nonzero(waited < settings.patience)[:, 0]
        if len(going) < len(self.positions):
            self.positions = self.positions[going]
            on_device = going.to(self.problem.device)
            self.optimiser.keep(on_device)
            self.scale = self.scale.of(on_device)
        return bool(len(self.positions))

    def best(self) -> Trained:
        """Return the decoders with the weights that were kept."""
        losses = self.losses.double().numpy()
        return Trained(self.divisions, self.kept, self.all_scales, self.steps.numpy(), losses)


@torch.no_grad()
def predict(
    problem: MapProblem, trained: Trained, rows: Sequence[Integers]
) -> Iterator[tuple[int, int, Floats32]]:
    """Yield number of a decoder, row of a tile and logits [K, H, W] at the size of the tile.

    Logits are means over the views of a tile, put back in place.

    Parameters
    ----------
    problem, trained
        The decoders.
    rows
        Rows that each of them predicts.
    """
    shape = problem.masks.values.shape[1:]
    size = problem.settings.batch_size
    for chosen, is_valid in padded(rows, size):
        of_views = (
            problem.logits(chosen, trained.layers, trained.scale, view).float()
            for view in range(problem.maps.views)
        )
        logits = mean_of_views(of_views)
        for place in range(len(chosen)):
            at_full_size = resized(logits[place : place + 1], shape)[0].cpu().numpy()
            for decoder in np.flatnonzero(is_valid[place]):
                yield int(decoder), int(chosen[place, decoder]), at_full_size[decoder]


def padded(rows: Sequence[Integers], size: int) -> Iterator[tuple[Integers, Bools]]:
    """Yield rows [B, M] of each decoder's list, and whether each is one of the list, bool.

    Examples
    --------
    >>> lists = [np.array([4, 5, 6]), np.array([7])]
    >>> [(rows.tolist(), valid.tolist()) for rows, valid in padded(lists, 2)]
    [([[4, 7], [5, 7]], [[True, True], [True, False]]), ([[6, 7]], [[True, False]])]
    """
    lengths = np.array([len(part) for part in rows])
    # Where a list has ended, its last row is repeated; where it is empty, that of another.
    any_row = next((part[:1] for part in rows if len(part)), np.zeros(1, np.int64))
    for start in range(0, lengths.max(initial=0), size):
        places = np.arange(start, min(start + size, lengths.max()))
        filled = [part if len(part) else any_row for part in rows]
        columns = [part[np.minimum(places, len(part) - 1)] for part in filled]
        yield np.stack(columns, axis=1), places[:, None] < lengths


def _shown(rows: Integers, views: int) -> Integers:
    """Return a number for each view of each row: row * views + view."""
    return (rows[:, None] * views + np.arange(views)).ravel()


def _endless(rows: Integers, names: tuple[object, ...]) -> Iterator[int]:
    """Yield rows in a random order, each once before any comes again."""
    rng = np.random.default_rng(derive_seed(*names, "order"))
    while True:
        yield from rng.permutation(rows).tolist()


def _next(rows: Iterator[int], size: int) -> Integers:
    return np.array([next(rows) for _ in range(size)], dtype=np.int64)

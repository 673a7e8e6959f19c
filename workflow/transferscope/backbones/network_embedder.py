"""Embedding tiles with a network: device, number format, batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.backbones.checks import check_backbone, check_before_building, check_built
from transferscope.backbones.class_token import compute_class_token_alone
from transferscope.backbones.compiled import CompiledBackbone, is_worth_compiling
from transferscope.backbones.cores import IMAGES_PER_CORE, Cores, results
from transferscope.backbones.device_copies import DeviceCopies
from transferscope.backbones.embedder import (
    Embedder,
    Embeddings,
    Rows,
    Tiles,
    decision,
    storage_dtype,
)
from transferscope.backbones.neighbours import neighbours_kept
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.precision import (
    DTYPES,
    LEAST_AGREEMENT,
    Precision,
    centred_cosine,
    choose_precision,
)
from transferscope.backbones.preprocessing import Preprocessor, normalization_for
from transferscope.backbones.readout import Backbone, in_precision, output_widths
from transferscope.backbones.weights import weights_sha256
from transferscope.cards import NetworkCard
from transferscope.channels.assignment import Assignment, Pass, assign, column_layout
from transferscope.config.channel_strategies import ADAPT
from transferscope.config.compute import ComputeSettings
from transferscope.errors import Problem, UserError
from transferscope.runtime.devices import AllottedDevice, allotted_device, moved

logger = logging.getLogger(__name__)


class NetworkEmbedder(Embedder):
    """Embeds tiles with the network of a backbone card.

    Parameters
    ----------
    card, card_path
        The backbone and its file.
    channels, intensity_range
        Channels of the tiles, and their raw values of black and white [C, 2].
    assignment
        Which channel goes into which slot, in which passes.
    settings
        Device, number format, batch size, threads.
    tile_shape
        Shape of a raw tile [C, H, W], which limits the batches on a GPU; empty: small.
    clip_range
        Raw values to which pixels are clipped, [C, 2]; None: black and white.
    sibling
        An embedder with the same card, channels and settings, and another assignment, whose
        device and networks it uses; None: none.
    """

    def __init__(
        self,
        card: NetworkCard,
        card_path: Path,
        channels: list[str],
        intensity_range: npt.NDArray[np.float32],
        assignment: Assignment,
        settings: ComputeSettings,
        tile_shape: Sequence[int] = (),
        clip_range: npt.NDArray[np.float32] | None = None,
        sibling: NetworkEmbedder | None = None,
    ) -> None:
        if sibling is None and (problems := _checked_early(card, card_path)):
            raise UserError(problems)
        self.card = card
        self.card_path = card_path
        self.assignment = assignment
        self.settings = settings
        self._owns_device = sibling is None
        self._shared: Shared = (
            Shared.of(card, card_path, settings) if sibling is None else sibling._shared
        )
        self.device, self._copies = self._shared.device, self._shared.copies
        self._networks, self._cores = self._shared.networks, self._shared.cores
        self.batch_size = settings.images_per_batch(
            on_gpu=self.device.type != "cpu", tile_shape=tile_shape
        )
        n_inputs = assignment.n_inputs
        self._n_adapted = n_inputs if assignment.strategy == ADAPT else None
        with _explained(card, card_path):
            self.backbone = self._networks.get(self._n_adapted)
            self.widths = output_widths(self.backbone, n_inputs, card.input_size)
        if sibling is None and (problems := _checked_late(card, card_path, self.backbone)):
            raise UserError(problems)
        self.weights_sha256 = self._networks.weights_sha256(self._n_adapted)
        self.normalization = normalization_for(assignment, card.normalization)
        self._tiles, self._clip_range = (channels, intensity_range), clip_range
        self.preprocessor = Preprocessor(
            *self._tiles,
            card.input_size,
            self.normalization,
            n_inputs,
            self.device,
            clip_range,
        )

    def sibling(self, strategy: str) -> NetworkEmbedder:
        """Return one for another channel strategy that shares device and networks.

        Raises
        ------
        UserError
            Where the backbone cannot serve that strategy.
        """
        assignment = assign(strategy, self._tiles[0], self.card.named_slots)
        given = self.card, self.card_path, *self._tiles
        clip = self._clip_range
        return NetworkEmbedder(*given, assignment, self.settings, clip_range=clip, sibling=self)

    def identity(self) -> dict[str, Any]:
        """Return what the values depend on besides the tiles."""
        return {
            "card": self.card.fingerprint(),
            "weights": self.weights_sha256,
            "strategy": self.assignment.strategy,
            "slots": self.assignment.slot_tables(),
        }

    def columns(self) -> list[dict[str, Any]]:
        """Return which columns hold what."""
        return column_layout(self.assignment, self.widths)

    def attributes(self) -> dict[str, Any]:
        """Return what the store says about itself."""
        return {
            "backbone": self.card.name,
            "card_fingerprint": self.card.fingerprint(),
            "weights_sha256": self.weights_sha256,
            "strategy": self.assignment.strategy,
            "slots": self.assignment.slot_tables(),
            "dropped_channels": list(self.assignment.dropped),
            "adapted_from": {c: list(s) for c, s in self.assignment.adapted.items()},
            "input_size": self.card.input_size,
            "normalization": self.normalization.model_dump(mode="json"),
            "layers": {output.name: output.layer for output in self.card.outputs},
        }

    def decide(self, sample: Tiles) -> dict[str, Any]:
        """Return the number formats to use, after trying them on a few tiles.

        Returns
        -------
        dict
            ``precision`` of the network; ``tried_precision`` and its ``centred_cosine`` to fp32
            (None where fp32 was chosen at once); ``dtype`` of the store.
        """
        tried = choose_precision(self.device, self.settings.precision)
        wanted = self._embed_in("fp32", sample)
        if tried == "fp32":
            return decision("fp32", storage_dtype(wanted))
        found = self._embed_in(tried, sample)
        agreement = min(
            centred_cosine(
                *(torch.from_numpy(v[:, c["start"] : c["stop"]]) for v in (wanted, found))
            )
            for c in self.columns()
        )
        if agreement >= LEAST_AGREEMENT:
            return decision(tried, storage_dtype(found), tried, agreement)
        logger.warning(
            "%s: %s embeddings agree with fp32 to a centred cosine of %.4f only (%.2f is needed): "
            "fp32 takes over",
            self.card.name,
            tried,
            agreement,
            LEAST_AGREEMENT,
        )
        return decision("fp32", storage_dtype(wanted), tried, agreement)

    def compiles(self, decision: dict[str, Any], sample: Tiles, n_tiles: int) -> bool:
        """Return whether networks run compiled, after trying it on a few of so many tiles."""
        plain = self._in(decision["precision"])
        pixels = n_tiles * len(self.assignment.passes) * self.card.input_size**2
        if not is_worth_compiling(plain, self.settings, pixels):
            return False
        self.backbone = self._compiled(plain)
        self.collected([self(np.resize(sample, (self._images_at_once, *sample.shape[1:])))])
        return self.backbone.is_compiled

    def kept(self, decision: dict[str, Any], sample: Iterable[Tiles]) -> list[dict[str, Any]]:
        """Return how many tiles of a sample keep their neighbours in the formats decided."""
        if decision["precision"] == "fp32":
            return []
        full, reduced = self._in("fp32"), self._in(decision["precision"])
        batch_size = self.batch_size
        wanted: list[Embeddings] = []
        found: list[Embeddings] = []
        for tiles in sample:
            for backbone, rows in ((full, wanted), (reduced, found)):
                self.backbone = backbone
                rows.append(self.collected([self(tiles)]))
        # fp32 needs more memory than the job will.
        self.batch_size = batch_size
        with np.errstate(over="ignore", invalid="ignore"):
            # A value that is too large for the store stops the job when its block is written.
            stored = np.concatenate(found).astype(decision["dtype"]).astype(np.float32)
            return neighbours_kept(
                np.concatenate(wanted), stored, self.columns(), self.assignment.strategy
            )

    def start(self, decision: dict[str, Any]) -> None:
        """Put the network into the number format that was decided."""
        self.backbone = self._in(decision["precision"])
        if decision.get("compiled"):
            self.backbone = self._compiled(self.backbone)

    def release_others(self, siblings: Sequence[Embedder] = ()) -> None:
        """Free the networks that neither this embedder nor its siblings use from here on."""
        self._networks.keep([own.backbone for own in (self, *_networks_of(siblings))])

    def __call__(self, tiles: Tiles, siblings: Sequence[Embedder] = ()) -> Rows:
        """Return embeddings of raw tiles [N, C, H, W], on the device, or under way on the cores.

        Parameters
        ----------
        tiles
            The tiles; they are resized once.
        siblings
            Embedders whose columns follow, [N, D + D' + ...]. What is fed to a network by
            several of them passes it once.
        """
        batch = partial(self._batch, siblings=siblings) if siblings else self._batch
        tiles = np.ascontiguousarray(tiles)
        if self.device.type == "cpu":
            return self._cores.computed(batch, tiles, self.batch_size)
        found = torch.cat(self._batches_on_gpu(torch.from_numpy(tiles), batch))
        if self._copies is not None:
            self._copies.taken(tiles)
        return found

    def collected(self, parts: Sequence[Rows]) -> Embeddings:
        """Return the rows of several calls, once they are computed."""
        return self.collecting(parts)()

    def collecting(self, parts: Sequence[Rows]) -> Callable[[], Embeddings]:
        """Return what waits for the rows of several calls: the device goes on meanwhile."""
        if self.device.type == "cpu":
            return lambda: _as_rows(results(parts))
        found = torch.cat(list(parts))
        if self._copies is None:
            rows = _as_rows(found.cpu())
            return lambda: rows
        returned = self._copies.returned(found)
        return lambda: _as_rows(returned())

    def buffer(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tiles:
        """Return an array to read tiles into; pinned, if they go to a GPU."""
        return np.empty(shape, dtype) if self._copies is None else self._copies.buffer(shape, dtype)

    def wait(self, buffer: Tiles) -> None:
        """Return when the tiles in a buffer have been taken."""
        (self._cores if self._copies is None else self._copies).wait(buffer)

    def close(self) -> None:
        """Stop the worker threads, and release the device; a sibling leaves both as they are."""
        if not self._owns_device:
            return
        self._cores.close()
        self._shared.allotted.release()
        torch.set_num_threads(self.settings.threads)

    def _batches_on_gpu(
        self, host: Tensor, compute: Callable[[Tensor], Tensor] | None = None
    ) -> list[Tensor]:
        compute = compute or self._batch
        found: list[Tensor] = []
        done, copies = 0, self._copies
        if copies is not None and not host.is_pinned():
            host = host.pin_memory()
        while done < len(host):
            batch = host[done : done + self.batch_size]
            try:
                found.append(compute(batch if copies is None else copies.copied(batch)))
            except torch.cuda.OutOfMemoryError:
                self._halve_batch()
                continue
            if copies is not None:
                copies.computed()
            done += len(batch)
        return found

    def _halve_batch(self) -> None:
        if self.batch_size == 1:
            what = f"{self.card.name} does not fit into the memory of {self.device}, even one image"
            raise UserError(Problem("compute.device", what, "Use `cpu`, or a larger GPU."))
        self.batch_size //= 2
        torch.cuda.empty_cache()
        logger.warning("out of GPU memory: going on with a batch of %d", self.batch_size)

    @torch.inference_mode()
    def _batch(self, raw: Tensor, siblings: Sequence[Embedder] = ()) -> Tensor:
        """Return embeddings [B, D] on the device, from raw tiles on the host."""
        # Strategies differ in mean and deviation at most, which `resize` does not use.
        resized = self.preprocessor.resize(moved(raw, self.device))
        found: dict[Hashable, list[Tensor]] = {}
        parts = []
        for own in (self, *_networks_of(siblings)):
            for one in own.assignment.passes:
                fed = own.fed(one)
                if fed not in found:
                    filled = own.preprocessor.fill(resized, one)
                    found[fed] = own.backbone(filled, one.filled)
                parts += found[fed]
        return torch.cat(parts, dim=1)

    def fed(self, one: Pass) -> Hashable:
        """Return what tells a pass from any other: the network, and what goes into each slot."""
        values = (tuple(self.normalization.mean), tuple(self.normalization.std))
        return id(self.backbone), tuple(one.slots.values()), values

    @property
    def _images_at_once(self) -> int:
        """Images per pass, but at the end of what is read."""
        on_cpu = self.device.type == "cpu"
        return min(self.batch_size, IMAGES_PER_CORE) if on_cpu else self.batch_size

    def _compiled(self, plain: Backbone) -> CompiledBackbone:
        return self._networks.compiled(plain, self._images_at_once)

    def _in(self, precision: Precision) -> Backbone:
        return self._networks.get(self._n_adapted, precision)

    def _embed_in(self, precision: Precision, tiles: Tiles) -> Embeddings:
        self.backbone = self._in(precision)
        return self.collected([self(tiles)])


@dataclass(frozen=True)
class Shared:
    """What the embedders of all strategies of a backbone use together.

    Parameters
    ----------
    allotted
        The device.
    copies
        What copies batches to a GPU; None: there is none.
    cores
        What computes on the cores of the processor.
    networks
        The networks.
    """

    allotted: AllottedDevice
    copies: DeviceCopies | None
    cores: Cores
    networks: Networks

    @classmethod
    def of(cls, card: NetworkCard, card_path: Path, settings: ComputeSettings) -> Shared:
        """Reserve the device, and build no network yet."""
        allotted = allotted_device(settings.device)
        return cls(
            allotted,
            DeviceCopies(allotted.device) if allotted.device.type == "cuda" else None,
            Cores(settings.threads),
            Networks(card, card_path, allotted.device),
        )

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.allotted.device


class Networks:
    """The networks of one backbone: with its input weights and adapted ones, in several formats.

    Parameters
    ----------
    card, card_path
        The backbone and its file.
    device
        Where they lie.
    """

    def __init__(self, card: NetworkCard, card_path: Path, device: torch.device) -> None:
        self._card, self._card_path, self._device = card, card_path, device
        self._found: dict[tuple[int | None, Precision], Backbone] = {}
        self._sums: dict[int | None, str] = {}
        self._compiled: list[CompiledBackbone] = []

    def get(self, n_adapted: int | None, precision: Precision = "fp32") -> Backbone:
        """Return a network, its input weights adapted to so many channels, if to any."""
        key = (n_adapted, precision)
        if key not in self._found:
            self._found[key] = self._built(n_adapted, precision)
        return self._found[key]

    def _built(self, n_adapted: int | None, precision: Precision) -> Backbone:
        if precision != "fp32":
            return in_precision(self.get(n_adapted), DTYPES[precision])
        built = build_backbone(self._card, self._card_path, n_adapted)
        self._sums[n_adapted] = weights_sha256(built)
        compute_class_token_alone(built)
        built.to(self._device)
        return built

    def compiled(self, backbone: Backbone, n_images: int) -> CompiledBackbone:
        """Return one of the networks with batches of a size compiled, the same for all who ask."""
        for found in self._compiled:
            if found.network is backbone.network and found.n_images == n_images:
                return found
        self._compiled.append(CompiledBackbone(backbone, n_images))
        return self._compiled[-1]

    def weights_sha256(self, n_adapted: int | None) -> str:
        """Return the digest of the weights of a network that has been built."""
        return self._sums[n_adapted]

    def keep(self, used: Sequence[Backbone]) -> None:
        """Forget all networks except these."""
        kept = set(map(id, used))
        self._found = {key: found for key, found in self._found.items() if id(found) in kept}
        self._compiled = [one for one in self._compiled if id(one) in kept]


def _as_rows(found: Tensor) -> Embeddings:
    return np.asarray(found.numpy(), dtype=np.float32)


def _checked_early(card: NetworkCard, card_path: Path) -> list[Problem]:
    """Return what is wrong with a card and can be known without building its network."""
    if card.has_architecture:
        return check_before_building(card, card_path)
    return check_backbone(card, card_path)


def _checked_late(card: NetworkCard, card_path: Path, built: Backbone) -> list[Problem]:
    """Return what a card says wrongly of its network."""
    return check_built(card, card_path, built.network) if card.has_architecture else []


@contextmanager
def _explained(card: NetworkCard, card_path: Path) -> Iterator[None]:
    """Say what is wrong with a card whose network cannot be built or run.

    The full check builds a second network and reads the weights once more, and is therefore not
    made of a card that does.
    """
    try:
        yield
    except Exception:
        if problems := check_backbone(card, card_path):
            raise UserError(problems) from None
        raise


def _networks_of(siblings: Sequence[Embedder]) -> list[NetworkEmbedder]:
    return [one for one in siblings if isinstance(one, NetworkEmbedder)]

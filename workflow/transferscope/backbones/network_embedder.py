"""Embedding tiles with a network: device, number format, batches."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.backbones.checks import check_backbone
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
from transferscope.channels.assignment import Assignment, column_layout
from transferscope.config.channel_strategies import ADAPT
from transferscope.config.compute import ComputeSettings
from transferscope.errors import Problem, UserError
from transferscope.runtime.devices import allotted_device

logger = logging.getLogger(__name__)

# On a processor each core takes separate images: the features of this many stay in its cache, and
# no core waits for another within a layer.
IMAGES_PER_CORE = 8


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
    """

    def __init__(
        self,
        card: NetworkCard,
        card_path: Path,
        channels: list[str],
        intensity_range: npt.NDArray[np.float32],
        assignment: Assignment,
        settings: ComputeSettings,
    ) -> None:
        if problems := check_backbone(card, card_path):
            raise UserError(problems)
        self.card = card
        self.assignment = assignment
        self.settings = settings
        self._allotted = allotted_device(settings.device)
        self.device = self._allotted.device
        self._copies = DeviceCopies(self.device) if self.device.type == "cuda" else None
        self.batch_size = settings.images_per_batch(on_gpu=self.device.type != "cpu")
        self._cores = ThreadPoolExecutor(
            settings.threads, initializer=torch.set_num_threads, initargs=(1,)
        )
        n_inputs = assignment.n_inputs
        n_adapted = n_inputs if assignment.strategy == ADAPT else None
        self.reference = build_backbone(card, card_path, n_adapted)
        self.weights_sha256 = weights_sha256(self.reference)
        self.widths = output_widths(self.reference, n_inputs, card.input_size)
        self.reference.to(self.device)
        self.backbone = self.reference
        self.normalization = normalization_for(assignment, card.normalization)
        self.preprocessor = Preprocessor(
            channels,
            intensity_range,
            card.input_size,
            self.normalization,
            n_inputs,
            self.device,
        )

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

    def kept(self, decision: dict[str, Any], sample: Iterable[Tiles]) -> list[dict[str, Any]]:
        """Return how many tiles of a sample keep their neighbours in the formats decided."""
        if decision["precision"] == "fp32":
            return []
        full, reduced = self.reference, self._in(decision["precision"])
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
        # Only one copy of the weights is needed from here on.
        self.reference = self.backbone

    def __call__(self, tiles: Tiles) -> Rows:
        """Return embeddings [N, D] of raw tiles [N, C, H, W], on the device."""
        host = torch.from_numpy(np.ascontiguousarray(tiles))
        if self.device.type == "cpu":
            parts = torch.split(host, min(self.batch_size, IMAGES_PER_CORE))
            return torch.cat(list(self._cores.map(self._batch, parts)))
        found = torch.cat(self._batches_on_gpu(host))
        if self._copies is not None:
            self._copies.taken(tiles)
        return found

    def collected(self, parts: Sequence[Rows]) -> Embeddings:
        """Return the rows of several calls; the host waits for the device here alone."""
        return np.asarray(torch.cat(list(parts)).cpu().numpy(), dtype=np.float32)

    def buffer(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tiles:
        """Return an array to read tiles into; pinned, if they go to a GPU."""
        return np.empty(shape, dtype) if self._copies is None else self._copies.buffer(shape, dtype)

    def wait(self, buffer: Tiles) -> None:
        """Return when the tiles in a buffer have been taken."""
        if self._copies is not None:
            self._copies.wait(buffer)

    def close(self) -> None:
        """Stop the worker threads, and release the device."""
        self._cores.shutdown()
        self._allotted.release()
        torch.set_num_threads(self.settings.threads)

    def _batches_on_gpu(self, host: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        done, copies = 0, self._copies
        if copies is not None and not host.is_pinned():
            host = host.pin_memory()
        while done < len(host):
            batch = host[done : done + self.batch_size]
            try:
                found.append(self._batch(batch if copies is None else copies.copied(batch)))
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
    def _batch(self, raw: Tensor) -> Tensor:
        """Return embeddings [B, D] on the device, from raw tiles on the host."""
        resized = self.preprocessor.resize(raw.to(self.device, non_blocking=True))
        parts = []
        for one in self.assignment.passes:
            parts += self.backbone(self.preprocessor.fill(resized, one), one.filled)
        return torch.cat(parts, dim=1)

    def _in(self, precision: Precision) -> Backbone:
        full = precision == "fp32"
        return self.reference if full else in_precision(self.reference, DTYPES[precision])

    def _embed_in(self, precision: Precision, tiles: Tiles) -> Embeddings:
        self.backbone = self._in(precision)
        return self.collected([self(tiles)])

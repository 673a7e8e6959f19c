"""A fine-tuning job: one backbone, channel strategy and mode on all divisions of a dataset."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from lightning_fabric import Fabric

from transferscope.backbones.precision import choose_precision
from transferscope.backbones.readout import Backbone
from transferscope.backbones.weights import weights_sha256
from transferscope.cards import NetworkCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.jobs import FinetuneProbe
from transferscope.config.modes import HEAD, head_of_mode
from transferscope.config.probed import output_of
from transferscope.errors import Problem, UserError
from transferscope.finetuning import VERSION
from transferscope.finetuning.layers import prepare
from transferscope.finetuning.network import Classifier, TileInput, TunedNetwork, open_backbone
from transferscope.finetuning.parts import Parts, Scores
from transferscope.finetuning.task import FinetuneTask, LabelledRows, class_scores
from transferscope.probes.decisions import decide
from transferscope.probes.evaluation import (
    Division,
    ProbeData,
    ResultTables,
    Sink,
    division_columns,
    without_controls,
    write_tables,
)
from transferscope.probes.head_batch import HeadBatch, HeadRows
from transferscope.probes.heads import fit_on
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.seeds import derive_seed
from transferscope.stores.origin import FIX, check_origin
from transferscope.stores.parquet import write_parquet
from transferscope.stores.tile_store import TileStore
from transferscope.training.fabric import training_fabric
from transferscope.training.loop import TrainingPlan, train
from transferscope.training.tiles import TrainingTiles

logger = logging.getLogger(__name__)

START = "linear"
# Settings of which the scores of a division do not depend.
RERUNS_NOTHING = {"backbones", "channels", "modes", "schemes", "fractions", "checkpoint_minutes"}


@dataclass(frozen=True)
class Tuned:
    """What is fine-tuned.

    Parameters
    ----------
    card, card_path
        The backbone and its file.
    mode
        `full`, `last-<n>`, `lora` or `head`.
    tiles
        Manifest of the tile store.
    """

    card: NetworkCard
    card_path: Path
    mode: str
    tiles: Path


def finetune(
    tuned: Tuned,
    data: ProbeData,
    probe: FinetuneProbe,
    compute: ComputeSettings,
    scores: Path,
    predictions: Path,
    losses: Path,
) -> None:
    """Train and test a backbone on every division, and write the tables by rename.

    Each training starts at the frozen backbone with the linear head that was trained on its
    embeddings (Kumar et al., ICLR 2022, arXiv 2202.10054: a random head would distort what the
    backbone knows). The head's scaler and weights see training rows only; early stopping and
    thresholds see validation rows.

    Parameters
    ----------
    tuned
        Which backbone, how much of it, on which tiles.
    data
        Embeddings of the frozen backbone, labels and divisions.
    probe
        Settings.
    compute
        Device, number format and threads.
    scores, predictions
        Tables to write, as those of the heads.
    losses
        Table of the losses to write, one row per step.

    Raises
    ------
    UserError
        Where tiles and embeddings do not belong together, or a training fails or is asked to end.
        What is finished is kept, and the same call goes on from there.
    """
    wanted = probe.settings.schemes
    made = without_controls(data.divisions)
    kept = [d for d in made if wanted is None or d.scheme in wanted]
    if not kept:
        what = f"there is no division by {', '.join(wanted or [])}"
        raise UserError(Problem("finetune.schemes", what, "Name schemes of the splits."))
    parts = Parts(scores.with_name(f"{scores.stem}.parts"))
    job = _Job.open(tuned, replace(data, divisions=kept), probe, compute, parts)
    write_tables(job.data, scores, predictions, job.run)
    write_parquet(job.losses(), losses, {})
    job.parts.remove()


@dataclass(frozen=True)
class _Job:
    """Everything that the divisions share."""

    tuned: Tuned
    data: ProbeData
    probe: FinetuneProbe
    rows: LabelledRows
    backbone: Backbone
    source: TileInput
    fabric: Fabric
    parts: Parts
    identity: str

    @classmethod
    def open(
        cls,
        tuned: Tuned,
        data: ProbeData,
        probe: FinetuneProbe,
        compute: ComputeSettings,
        parts: Parts,
    ) -> _Job:
        store = TileStore(tuned.tiles)
        if list(data.tiles.tile_ids) != store.tile_ids:
            raise UserError(Problem(str(store.path), "holds other tiles than the embeddings", FIX))
        made_from = {"backbone": tuned.card.name, "tiles_sha256": store.content_sha256}
        _check_embeddings(data, made_from)
        fabric, settings = training_fabric(compute), probe.settings
        chosen = choose_precision(fabric.device, compute.precision)
        backbone, source = open_backbone(
            store,
            tuned.card,
            tuned.card_path,
            data.identity["channels"],
            output_of(data.identity["backbone"]),
            # Gradients in fp16 would need their loss scaled.
            "fp32" if chosen == "fp16" else chosen,
            settings.augmentation if settings.augment else None,
            fabric.device,
        )
        _check_embeddings(data, {"weights_sha256": weights_sha256(backbone)})
        used = np.unique(np.concatenate([_all_rows(d) for d in data.divisions]))
        tiles = TrainingTiles.open(tuned.tiles, used)
        rows = LabelledRows(tiles, data.tiles.matrix, data.is_multi_label)
        identity = fingerprint(_identity(tuned, data, probe, store, backbone, chosen))
        prepare(
            backbone.network,
            tuned.mode,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
            seed=derive_seed("lora"),
        )
        return cls(tuned, data, probe, rows, backbone, source, fabric, parts, identity)

    def run(self, sink: Sink) -> ResultTables:
        """Train and test on every division."""
        results = ResultTables(self.data, sink)
        head = head_of_mode(self.tuned.mode)
        for division, validation, test in self._scored():
            decided = decide(self.data, division, validation, test, self.probe.heads)
            results.add(head, None, division, *decided)
        return results

    def losses(self) -> pd.DataFrame:
        """Return the losses of all divisions, one row per step."""
        tables = [
            losses.assign(**division_columns(division))
            for division in self.data.divisions
            if (losses := self.parts.losses(self._fingerprint(division))) is not None
        ]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"step": []})

    def _scored(self) -> Iterator[tuple[Division, Scores, Scores]]:
        """Yield the scores of the validation and the test rows of each division."""
        known = [self.parts.load(self._fingerprint(d)) for d in self.data.divisions]
        missing = [d for d, part in zip(self.data.divisions, known, strict=True) if part is None]
        if len(missing) < len(known):
            logger.info("%d of %d divisions are finished", len(known) - len(missing), len(known))
        # The linear head of each division, trained on the embeddings.
        frozen = replace(self.data, divisions=missing)
        heads = iter(fit_on(START, frozen, self.probe.heads) if missing else [])
        for division, part in zip(self.data.divisions, known, strict=True):
            validation, test = part or self._train(division, next(heads))
            yield division, validation, test

    def _train(self, division: Division, head: HeadBatch) -> tuple[Scores, Scores]:
        """Train on one division, and keep its scores."""
        network = TunedNetwork(copy.deepcopy(self.backbone), Classifier(head), self.source)
        network.to(self.fabric.device)
        digest, batch_size = self._fingerprint(division), self.probe.settings.batch_size
        try:
            if self.tuned.mode != HEAD:
                network = self._trained(network, division, digest)
            validation, test = (
                class_scores(network, self.rows, rows, batch_size)
                for rows in (division.validation, division.test)
            )
        except torch.cuda.OutOfMemoryError:
            what = f"{self.tuned.card.name} does not fit into the GPU's memory to be trained"
            fix = "Make it smaller, or take a larger GPU."
            raise UserError(Problem("finetune.batch_size", what, fix)) from None
        self.parts.store(digest, validation, test)
        return validation, test

    def _trained(self, network: TunedNetwork, division: Division, digest: str) -> TunedNetwork:
        settings = self.probe.settings
        names = HeadRows.of(division, self.data.identity["dataset"]).names
        seed = derive_seed(*names, "finetune")
        task = FinetuneTask(network, self.rows, division, settings, seed)
        steps = task.order.steps_an_epoch
        identity = self.data.identity
        store = f"{identity['dataset']}: {identity['backbone']}, {identity['channels']}"
        where = f"{division.scheme} {division.seed}.{division.fold}, {division.fraction:.0%}"
        plan = TrainingPlan(
            name=f"{store}, {self.tuned.mode}, {where}",
            n_steps=settings.epochs * steps,
            steps_an_epoch=steps,
            batch_size=task.order.batch_size,
            seed=seed,
            fingerprint=digest,
            checkpoint=self.parts.checkpoint(digest),
            history=self.parts.history(digest),
            checkpoint_minutes=settings.checkpoint_minutes,
        )
        try:
            train(task, task.optimiser, plan, self.fabric)
        finally:
            task.close()
        return task.best

    def _fingerprint(self, division: Division) -> str:
        rows = [part.tolist() for part in (division.train, division.validation, division.test)]
        labels = self.data.tiles.matrix[_all_rows(division)]
        digest = hashlib.sha256(labels.tobytes()).hexdigest()
        return fingerprint([self.identity, division.seed, *division.names, rows, digest])


def _check_embeddings(data: ProbeData, expected: Mapping[str, str]) -> None:
    """Check that the embeddings are those of the backbone and the tiles."""
    if data.store is not None:
        check_origin(*data.store, expected)


def _identity(
    tuned: Tuned,
    data: ProbeData,
    probe: FinetuneProbe,
    store: TileStore,
    backbone: Backbone,
    precision: str,
) -> list[object]:
    """Return what the scores of every division depend on, besides its rows and labels."""
    return [
        VERSION,
        tuned.mode,
        tuned.card.fingerprint(),
        weights_sha256(backbone),
        dict(data.identity),
        store.manifest.content_sha256,
        store.intensity_range.tolist(),
        probe.settings.model_dump(mode="json", exclude=RERUNS_NOTHING),
        probe.heads.model_dump(mode="json"),
        precision,
        hashlib.sha256(data.embeddings.tobytes()).hexdigest(),
    ]


def _all_rows(division: Division) -> npt.NDArray[np.int64]:
    return np.concatenate([division.train, division.validation, division.test])

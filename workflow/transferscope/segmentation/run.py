"""A segmentation job: decoders on one frozen backbone, on all divisions of a dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from transferscope.backbones.precision import Precision, choose_precision
from transferscope.backbones.readout import Backbone
from transferscope.backbones.weights import weights_sha256
from transferscope.cards import NetworkCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.jobs import Leakage, SegmentationProbe
from transferscope.config.segmentation import SCHEME, DecoderName
from transferscope.errors import Problem, UserError
from transferscope.finetuning.checks import reason_against
from transferscope.finetuning.network import TileInput, open_backbone
from transferscope.pretraining.leakage import confirmed
from transferscope.probes.evaluation import (
    Division,
    division_columns,
    evaluated_part,
    read_divisions,
)
from transferscope.probes.splits import read_splits
from transferscope.runtime.arrays import Bools, Integers
from transferscope.runtime.devices import allotted_device
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.seeds import derive_seed
from transferscope.segmentation import VERSION
from transferscope.segmentation.decoder_training import (
    MapProblem,
    predict,
    train_decoders,
    trained_together,
)
from transferscope.segmentation.decoders import Decoder
from transferscope.segmentation.elsewhere import Elsewhere, OtherFiles, open_elsewhere
from transferscope.segmentation.features import FeatureMaps, MapReader, compute_maps
from transferscope.segmentation.kept_masks import write_kept
from transferscope.segmentation.mask_tuning import MaskTask, predicted_masks, tuned_network
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.pictures import Picture, chosen_pictures
from transferscope.segmentation.scores import (
    elsewhere_table,
    image_table,
    score_rows,
    score_table,
)
from transferscope.segmentation.table_names import STEPS, TASK, VALIDATION_LOSS, tuned_decoder
from transferscope.segmentation.tested import TestedTiles
from transferscope.segmentation.tuned_parts import TunedPart, TunedParts
from transferscope.segmentation.views import possible_views
from transferscope.stores.origin import FIX, check_origin, check_tiles
from transferscope.stores.parquet import read_tile_table, write_parquet
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.training.fabric import fabric_on
from transferscope.training.loop import TrainingPlan, train
from transferscope.training.tiles import TrainingTiles

logger = logging.getLogger(__name__)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class MaskFiles:
    """Files of a dataset with masks.

    Parameters
    ----------
    dataset
        Its name.
    tiles, targets
        Manifests of its tile store and its target store.
    table, splits
        Tile table and split table.
    """

    dataset: str
    tiles: Path
    targets: Path
    table: Path
    splits: Path


def segment(
    card: NetworkCard,
    card_path: Path,
    channels: str,
    files: MaskFiles,
    probe: SegmentationProbe,
    compute: ComputeSettings,
    scores: Path,
    images: Path,
    elsewhere: Path | None = None,
    others: Sequence[OtherFiles] = (),
    masks: Path | None = None,
) -> list[Picture]:
    """Train decoders on the maps of a frozen backbone, score them, and write both tables.

    Parameters
    ----------
    card, card_path, channels
        The backbone, its file, and the channel strategy.
    files
        The dataset.
    probe
        Settings.
    compute
        Device, number format and threads.
    scores, images
        Tables to write: scores of divisions, and of each test tile.
    elsewhere
        Table of the scores of the tiles of other datasets to write; None: not written.
    others
        Datasets on which the trained decoders are tested, too.
    masks
        Manifest of the store of predicted masks to write, where the settings ask for them.

    Returns
    -------
    list of Picture
        Where the settings ask for pictures.

    Raises
    ------
    UserError
        If files do not belong together, no tile has a mask, or the backbone has no maps.
    """
    if not card.is_network:
        what = f"{card.name} is no network, and has no feature maps"
        raise UserError(Problem(str(card_path), what, "Give the card of a network."))
    torch.set_num_threads(compute.threads)
    allotted = allotted_device(compute.device)
    try:
        job = _Job.open(
            card, card_path, channels, files, probe, compute, allotted.device, scores, others
        )
        found = job.run()
    finally:
        allotted.release()
    described = {"classes": list(job.masks.classes), "task": TASK}
    write_parquet(image_table(found.images), images, described)
    if elsewhere is not None:
        write_parquet(elsewhere_table(found.elsewhere, job.identity), elsewhere, described)
    if masks is not None:
        job.write_masks(found.images, masks)
    write_parquet(score_table(found.divisions), scores, described)
    job.network.parts.remove()
    return list(chosen_pictures(found.images, job.tested)) if probe.settings.pictures else []


@dataclass(frozen=True)
class _Network:
    """The backbone itself, where it is trained with its decoders.

    Parameters
    ----------
    backbone, source
        As embedding uses them.
    tiles
        All tiles that are used.
    channels
        Of the tiles.
    precision
        Number format of the products.
    parts
        Finished trainings.
    made_from
        What all of them depend on.
    tiles_sha256, pixel_size_um
        Identity and pixel size of the tiles.
    """

    backbone: Backbone
    source: TileInput
    tiles: TrainingTiles
    channels: list[str]
    precision: Precision
    parts: TunedParts
    made_from: list[object]
    tiles_sha256: str
    pixel_size_um: float | None


@dataclass(frozen=True)
class _Found:
    """Rows of the tables of tiles, of divisions, and of tiles of other datasets."""

    images: Rows
    divisions: Rows
    elsewhere: Rows

    def add(self, other: _Found) -> None:
        """Append what another one has."""
        for own, more in (
            (self.images, other.images),
            (self.divisions, other.divisions),
            (self.elsewhere, other.elsewhere),
        ):
            own += more


@dataclass(frozen=True)
class _Job:
    """Everything that the decoders of a backbone share."""

    identity: dict[str, str]
    probe: SegmentationProbe
    leakage: Leakage
    divisions: list[Division]
    tested: TestedTiles
    others: list[Elsewhere]
    maps: FeatureMaps
    device: torch.device
    network: _Network

    @property
    def masks(self) -> TrueMasks:
        """True masks of all tiles that are used."""
        return self.tested.masks

    @classmethod
    def open(
        cls,
        card: NetworkCard,
        card_path: Path,
        channels: str,
        files: MaskFiles,
        probe: SegmentationProbe,
        compute: ComputeSettings,
        device: torch.device,
        scores: Path,
        others: Sequence[OtherFiles],
    ) -> _Job:
        store, targets, table = _opened(files)
        leakage = confirmed(probe.leakage, files.table, files.splits)
        made = read_splits(files.splits, table)
        check_origin(files.splits, made.attrs, {"dataset": files.dataset})
        fractions = probe.settings.fractions or probe.fractions
        divided = read_divisions(evaluated_part(made, leakage), fractions)
        divisions = list(_usable(divided, targets.has_mask, probe))
        if not divisions:
            what = "no division has tiles with a mask to train on and to test"
            fix = "Give masks of more groups, or more folds or groups that are labelled."
            raise UserError(Problem(str(files.targets), what, fix))
        rows = np.unique(np.concatenate([_rows_of(division) for division in divisions]))
        # Maps are made once: there is no hurry that would be worth another number.
        precision = "fp32" if compute.precision == "auto" else compute.precision
        chosen = choose_precision(device, precision)
        backbone, source = open_backbone(
            store, card, card_path, channels, None, chosen, None, device
        )
        tiles = TrainingTiles.open(files.tiles, rows)
        batch_size = compute.images_per_batch(on_gpu=device.type != "cpu")
        read = MapReader(backbone, source, probe.settings.decoders)
        views = possible_views(probe.settings.views, store.tile_size, files.dataset)
        maps = compute_maps(tiles, read, batch_size, scores.parent, views)
        masks = TrueMasks.read(targets, rows, probe.settings.size, objects=probe.settings.objects)
        groups = np.asarray(table["group"].astype(str), dtype=object)

        def feed(other: TileStore) -> tuple[Backbone, TileInput]:
            return open_backbone(other, card, card_path, channels, None, chosen, None, device)

        how = probe.settings.model_copy(update={"objects": masks.objects is not None})
        place = set(groups[rows]), masks.classes, feed, how, batch_size, scores.parent
        elsewhere = [open_elsewhere(other, *place) for other in others]
        return cls(
            identity={"dataset": files.dataset, "backbone": card.name, "channels": channels},
            probe=probe,
            leakage=leakage,
            divisions=divisions,
            tested=TestedTiles(
                np.asarray(store.tile_ids, dtype=object),
                groups,
                masks,
                masks.objects is not None,
                _kept(divisions) if probe.settings.keeps_masks else None,
            ),
            others=[other for other in elsewhere if other is not None],
            maps=maps,
            device=device,
            network=_Network(
                backbone,
                source,
                tiles,
                list(store.channels),
                # Gradients in fp16 would need their loss scaled.
                "fp32" if chosen == "fp16" else chosen,
                TunedParts(scores.with_name(f"{scores.stem}.parts")),
                [
                    VERSION,
                    card.fingerprint(),
                    weights_sha256(backbone),
                    files.dataset,
                    channels,
                    store.content_sha256,
                    targets.content_sha256,
                    probe.settings.model_dump(
                        mode="json", exclude={"decoders", "fractions", "seeds"}
                    ),
                    chosen,
                ],
                store.content_sha256,
                store.pixel_size_um,
            ),
        )

    def write_masks(self, rows: Rows, manifest: Path) -> None:
        """Write the masks that were kept of the test tiles of one seed and fraction."""
        tested, several = self.tested, len(self.masks.classes) > 1
        kind = "instances" if tested.finds_objects else "classes" if several else "binary"
        seed, fraction = tested.kept or (None, None)
        write_kept(
            rows,
            manifest,
            tested.tile_ids.tolist(),
            self.masks.values.shape[1:],
            {
                **self.identity,
                "tiles_sha256": self.network.tiles_sha256,
                "pixel_size_um": self.network.pixel_size_um,
                "kind": kind,
                "classes": list(self.masks.classes),
                "seed": seed,
                "fraction": fraction,
            },
        )

    def run(self) -> _Found:
        """Train and score all decoders; return the rows of all tables."""
        everything = _Found([], [], [])
        wanted = [self._decoder(name) for name in self.probe.settings.decoders]
        possible = [decoder for decoder in wanted if not decoder.lacks]
        for decoder in wanted:
            if reason := decoder.lacks:
                text = "%s: %s %s: left out"
                logger.warning(text, self.identity["backbone"], decoder.name, reason)
        title = "{dataset}: {backbone}, {channels}".format(**self.identity)
        tuned = list(self._tunable(possible))
        with progress_bar(
            title, (len(possible) + len(tuned)) * len(self.divisions), "decoders"
        ) as bar:
            for decoder in possible:
                for found in self._evaluated(decoder):
                    everything.add(found)
                    bar.update()
            for decoder, mode in tuned:
                for division in self.divisions:
                    everything.add(self._tuned(decoder, mode, division))
                    bar.update()
        return everything

    def _tunable(self, decoders: Sequence[Decoder]) -> Iterator[tuple[Decoder, str]]:
        """Yield the decoders and modes in which the backbone is trained, too."""
        tuning = self.probe.settings.tuning
        for mode in tuning.modes if tuning else ():
            if reason := reason_against(self.network.backbone.network, mode):
                text = "%s is left out of mode %s: %s"
                logger.warning(text, self.identity["backbone"], mode, reason)
                continue
            for decoder in decoders:
                if tuning and decoder.name in (tuning.decoders or [decoder.name]):
                    yield decoder, mode

    def _decoder(self, name: DecoderName) -> Decoder:
        return Decoder(name, self.maps.described, self.masks.n_out)

    def _evaluated(self, decoder: Decoder) -> Iterator[_Found]:
        """Yield what is found on each division."""
        problem = MapProblem(self.maps, self.masks, decoder, self.probe.settings, self.device)
        for divisions in trained_together(problem, self.divisions):
            for division, part in zip(divisions, self._parts(problem, divisions), strict=True):
                yield self._found(decoder.name, division, part)

    def _parts(self, problem: MapProblem, divisions: Sequence[Division]) -> list[TunedPart]:
        """Return what decoders that are trained together came to, also in a job that was killed."""
        kept = self.network.parts
        # Of other decoders that were trained at the same time, rounding would differ.
        together = self._digest(problem.decoder.name, divisions)
        digests = [fingerprint([together, number]) for number in range(len(divisions))]
        found = [kept.load(digest) for digest in digests]
        parts = [part for part in found if part is not None]
        if len(parts) < len(divisions):
            parts = self._trained_parts(problem, divisions)
            for digest, part in zip(digests, parts, strict=True):
                kept.store(digest, part)
        return parts

    def _trained_parts(self, problem: MapProblem, divisions: Sequence[Division]) -> list[TunedPart]:
        name = problem.decoder.name
        trained = train_decoders(problem, divisions, ("segmentation", self.identity["dataset"]))
        least = [self.masks.least_pixels(division.train) for division in divisions]
        rows_of: list[Rows] = [[] for _ in divisions]
        for number, row, logits in predict(problem, trained, [d.test for d in divisions]):
            given = name, divisions[number], row, logits, least[number]
            rows_of[number] += self.tested.rows(*given)
        rows_elsewhere: list[Rows] = [[] for _ in divisions]
        for other in self.others:
            there = MapProblem(
                other.maps, other.tested.masks, problem.decoder, problem.settings, self.device
            )
            for number, row, logits in predict(there, trained, [other.rows] * len(divisions)):
                given = name, divisions[number], row, logits, least[number]
                rows_elsewhere[number] += other.named_rows(*given)
        told = zip(rows_of, trained.losses, trained.steps, rows_elsewhere, strict=True)
        return [TunedPart(rows, float(loss), int(step), more) for rows, loss, step, more in told]

    def _digest(self, head: str, divisions: Sequence[Division]) -> str:
        """Return the digest of all that a training depends on."""
        named = [
            [d.seed, *d.names, *(part.tolist() for part in (d.train, d.validation, d.test))]
            for d in divisions
        ]
        others = [other.fingerprint for other in self.others]
        return fingerprint([*self.network.made_from, head, named, others])

    def _found(self, head: str, division: Division, part: TunedPart) -> _Found:
        training = {VALIDATION_LOSS: part.loss, STEPS: float(part.step)}
        told = training, self.identity, self.tested.groups, self.leakage
        of_division = score_rows(image_table(part.rows), division, head, *told)
        return _Found(part.rows, list(of_division), part.elsewhere)

    def _tuned(self, decoder: Decoder, mode: str, division: Division) -> _Found:
        """Train backbone and decoder on one division; return what is found."""
        head, parts = tuned_decoder(decoder.name, mode), self.network.parts
        digest = self._digest(head, [division])
        part = parts.load(digest)
        if part is None:
            part = self._trained(decoder, mode, division, digest)
            parts.store(digest, part)
        return self._found(head, division, part)

    def _trained(self, decoder: Decoder, mode: str, division: Division, digest: str) -> TunedPart:
        settings, tuning, own = self.probe.settings, self.probe.settings.tuning, self.network
        assert tuning is not None
        head, dataset = tuned_decoder(decoder.name, mode), self.identity["dataset"]
        seed = derive_seed("segmentation", dataset, head, division.seed, *division.names)
        network = tuned_network(own.backbone, own.source, decoder, mode, tuning, seed)
        task = MaskTask(
            network, own.tiles, self.masks, division, settings, tuning, own.channels, seed
        )
        where = f"{division.seed}.{division.fold}, {division.fraction:.0%}"
        plan = TrainingPlan(
            name=f"{dataset}: {self.identity['backbone']}, {head}, {where}",
            n_steps=tuning.steps,
            steps_an_epoch=min(settings.check_every, tuning.steps),
            batch_size=task.order.batch_size,
            seed=seed,
            fingerprint=digest,
            checkpoint=own.parts.checkpoint(digest),
        )
        try:
            train(task, task.optimiser, plan, fabric_on(self.device, own.precision))
        finally:
            task.close()
        least = self.masks.least_pixels(division.train)
        predicted = predicted_masks(
            task.best, own.tiles, self.masks, division.test, views=self.maps.views
        )
        rows = [
            found
            for row, logits in predicted
            for found in self.tested.rows(head, division, row, logits, least)
        ]
        elsewhere = [
            found
            for other in self.others
            for row, logits in predicted_masks(
                task.best,
                other.tiles,
                other.tested.masks,
                other.rows,
                other.source,
                other.maps.views,
            )
            for found in other.named_rows(head, division, row, logits, least)
        ]
        return TunedPart(rows, float(task.kept.loss), int(task.kept.step), elsewhere)


def _opened(files: MaskFiles) -> tuple[TileStore, TargetStore, pd.DataFrame]:
    """Open stores and table of a dataset, and check that they belong together."""
    store, targets = TileStore(files.tiles), TargetStore.open(files.targets)
    table = read_tile_table(files.table)
    check_tiles(files.table, table, store, files.dataset)
    made_from = {"dataset": files.dataset, "tiles_sha256": store.content_sha256}
    check_origin(files.targets, targets.attributes, made_from)
    if targets.tile_ids != store.tile_ids or targets.tile_size != store.tile_size:
        raise UserError(Problem(str(files.targets), f"is of other tiles than {store.path}", FIX))
    return store, targets, table


def _usable(
    divisions: Sequence[Division], has_mask: Bools, probe: SegmentationProbe
) -> Iterator[Division]:
    """Yield the divisions that are asked for, with the tiles that have masks."""
    for division in divisions:
        seeds = probe.settings.seeds
        if division.scheme != SCHEME or (seeds is not None and division.seed not in seeds):
            continue
        kept = has_mask[division.train]
        found = replace(
            division,
            train=division.train[kept],
            train_shares=division.train_shares[kept],
            validation=_with_mask(division.validation, has_mask),
            test=_with_mask(division.test, has_mask),
        )
        if len(found.train) and len(found.test):
            yield found
        else:
            names = ", ".join(f"{k} {v}" for k, v in division_columns(division).items())
            logger.warning("no tile with a mask to train on or to test: left out: %s", names)


def _kept(divisions: Sequence[Division]) -> tuple[int, float]:
    """Return the first seed, and the largest fraction: of its folds each tile is tested once."""
    return min(d.seed for d in divisions), max(d.fraction for d in divisions)


def _with_mask(rows: Integers, has_mask: Bools) -> Integers:
    return rows[has_mask[rows]]


def _rows_of(division: Division) -> Integers:
    return np.concatenate([division.train, division.validation, division.test])

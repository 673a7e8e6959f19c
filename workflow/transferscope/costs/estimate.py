"""What a whole study will take: jobs, downloads, hours and disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferscope.backbones.scale import card_for_tiles
from transferscope.cards import NetworkCard
from transferscope.channels.assignment import assign
from transferscope.costs.fields import Fields, expected_fields
from transferscope.costs.jobs import jobs_of_whole_study
from transferscope.costs.network_costs import (
    HANDCRAFTED_SECONDS,
    HANDCRAFTED_WIDTH,
    NetworkCost,
    training_operations,
)
from transferscope.costs.networks import network_cost
from transferscope.costs.rates import Rates
from transferscope.costs.tuning import tuning_passes
from transferscope.costs.weights import BYTES_A_WEIGHT, weights_state
from transferscope.costs.work import head_seconds
from transferscope.study.plan import Plan
from transferscope.study.study import Study

# Compressed share of a tile store, measured on 16-bit fields (docs/performance.md).
TILE_STORE_SHARE = 0.55
BYTES_A_VALUE = 4


@dataclass(frozen=True)
class EmbedJob:
    """One embedding job.

    Parameters
    ----------
    dataset, backbone, channels
        Which store it fills.
    passes
        Forward passes a tile.
    width
        Features a tile in the store.
    hours
        Expected hours on the device; on processor cores for hand-crafted features. Not a number
        where only the weights would tell.
    store_bytes
        Size of the store, at the most.
    """

    dataset: str
    backbone: str
    channels: str
    passes: int
    width: int
    hours: float
    store_bytes: int
    on_device: bool


@dataclass(frozen=True)
class Estimate:
    """What a study takes if nothing of it has been made yet.

    Parameters
    ----------
    jobs
        Rule -> number of jobs.
    fields
        Dataset -> its fields and tiles.
    embed
        The embedding jobs.
    downloads
        What has to be fetched, and about how many bytes that is.
    head_hours
        Processor hours of all head jobs, at the most: early stopping is not counted on.
    rates
        What the hours were computed with.
    training_hours
        Hours on the device of all trainings, one after the other.
    tuning_hours
        Hours on the device of all fine-tuning, at the most.
    """

    jobs: dict[str, int]
    fields: dict[str, Fields]
    embed: Sequence[EmbedJob]
    downloads: dict[str, int]
    head_hours: float
    rates: Rates
    training_hours: float = 0.0
    tuning_hours: float = 0.0

    @property
    def device_hours(self) -> float:
        """Hours of all network embeddings, one after the other, on one device."""
        return sum(job.hours for job in self.embed if job.on_device and math.isfinite(job.hours))

    @property
    def tile_bytes(self) -> int:
        """Size of all tile stores."""
        return round(TILE_STORE_SHARE * sum(found.tile_bytes for found in self.fields.values()))

    @property
    def store_bytes(self) -> int:
        """Size of all embedding stores, at the most."""
        return sum(job.store_bytes for job in self.embed)


class _Costs:
    """Costs of networks, each of which is built once, however many stores it fills."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], NetworkCost | None] = {}

    def of(
        self, card: NetworkCard, card_path: Path, n_inputs: int | None = None
    ) -> NetworkCost | None:
        """Return `network_cost` of the same arguments."""
        key = card.fingerprint(), n_inputs
        if key not in self._known:
            self._known[key] = network_cost(card, card_path, n_inputs)
        return self._known[key]


def estimate(plan: Plan, rates: Rates) -> Estimate:
    """Return what a study takes.

    Parameters
    ----------
    plan
        The study's plan; its cards have passed `preflight`.
    rates
        How fast the machine is.

    Raises
    ------
    UserError
        Where a sample sheet cannot be read.
    """
    study = plan.study
    fields = {dataset: expected_fields(study, dataset) for dataset in study.all_datasets}
    costs = _Costs()
    jobs = [
        _embed_job(study, fields[dataset], dataset, backbone, channels, rates, costs)
        for dataset, backbone, channels in _stores(study)
    ]
    return Estimate(
        jobs=jobs_of_whole_study(plan),
        fields=fields,
        embed=jobs,
        downloads=_downloads(study, fields, costs),
        head_hours=_head_hours(study, fields, jobs, rates),
        tuning_hours=_tuning_hours(study, jobs),
        rates=rates,
        training_hours=_training_hours(study, fields, rates, costs),
    )


def _training_hours(study: Study, fields: dict[str, Fields], rates: Rates, costs: _Costs) -> float:
    seconds = 0.0
    for name, card in study.trained.items():
        n_tiles = sum(fields[dataset].n_tiles for dataset in card.datasets)
        cost = costs.of(card, study.backbones[name].path)
        operations = training_operations(card, cost, n_tiles) if cost else math.nan
        seconds += operations / rates.embedding
    return seconds / 3600


def _stores(study: Study) -> list[tuple[str, str, str]]:
    stores = [(p.dataset, p.backbone, p.stored_channels) for p in study.probed()]
    return list(dict.fromkeys(stores))


def _downloads(study: Study, fields: dict[str, Fields], costs: _Costs) -> dict[str, int]:
    """Return what is not on this machine yet, images first."""
    images = {f"images of {name}": found.bytes_to_fetch for name, found in fields.items()}
    weights = {}
    for name, located in study.backbones.items():
        card, path = located.card, located.path
        if card.is_network and weights_state(card, path) == "to fetch":
            cost = costs.of(card, path)
            weights[f"weights of {name}"] = cost.parameters * BYTES_A_WEIGHT if cost else 0
    return {what: n_bytes for what, n_bytes in images.items() if n_bytes} | weights


def _embed_job(
    study: Study,
    fields: Fields,
    dataset: str,
    backbone: str,
    channels: str,
    rates: Rates,
    costs: _Costs,
) -> EmbedJob:
    located = study.backbones[backbone]
    if not located.card.is_network:
        passes, width = 1, HANDCRAFTED_WIDTH
        seconds = HANDCRAFTED_SECONDS * fields.tile_shape[0] * fields.n_tiles
    else:
        pixel_size = fields.pixel_size_um
        card = card_for_tiles(located.card, located.path, fields.tile_shape[1:], pixel_size)
        given = study.datasets[dataset].card.channels
        assignment = assign(channels, given, card.named_slots)
        n_inputs = assignment.n_inputs if card.takes_any_channels else None
        cost = costs.of(card, located.path, n_inputs)
        passes = len(assignment.passes)
        width = passes * cost.width if cost else 0
        operations = cost.operations if cost else math.nan
        seconds = fields.n_tiles * passes * operations / rates.embedding
    return EmbedJob(
        dataset,
        backbone,
        channels,
        passes=passes,
        width=width,
        hours=seconds / 3600,
        store_bytes=fields.n_tiles * width * BYTES_A_VALUE,
        on_device=located.card.is_network,
    )


def _head_hours(
    study: Study, fields: dict[str, Fields], jobs: Sequence[EmbedJob], rates: Rates
) -> float:
    width_of = {(job.dataset, job.backbone, job.channels): job for job in jobs}
    seconds = 0.0
    for probed in study.probed():
        job = width_of[probed.dataset, probed.backbone, probed.stored_channels]
        outputs = len(study.backbones[probed.backbone].card.output_names)
        n_classes = len(study.datasets[probed.dataset].card.labels)
        n_tiles = fields[probed.dataset].n_tiles
        seconds += head_seconds(study.config, n_tiles, job.width // outputs, n_classes, rates.heads)
    return seconds / 3600


def _tuning_hours(study: Study, jobs: Sequence[EmbedJob]) -> float:
    """Return the hours of all fine-tuning."""
    hours_of = {(job.dataset, job.backbone, job.channels): job.hours for job in jobs}
    passes = sum(tuning_passes(study.config, mode) for mode in study.config.finetune.modes)
    return sum(
        passes * hours_of[p.dataset, p.backbone, p.stored_channels] for p in study.fine_tuned()
    )

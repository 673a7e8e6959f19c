"""An estimate for a whole study: jobs, downloads, hours and disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from transferscope.config.ablation import OcclusionSettings
from transferscope.config.compute import RAW_BYTES
from transferscope.config.joining import SCHEME as JOINING_SCHEME
from transferscope.costs.fields import Fields
from transferscope.costs.needs import FLOAT_BYTES
from transferscope.costs.network_costs import (
    HANDCRAFTED_SECONDS,
    HANDCRAFTED_WIDTH,
    KnownCosts,
    training_operations,
)
from transferscope.costs.rates import Rates
from transferscope.costs.segmenting import (
    MapSize,
    decoder_operations,
    object_seconds,
    tuning_operations,
)
from transferscope.costs.sizes import UNKNOWN_COST, Sizes, find_cost
from transferscope.costs.tuning import tuning_passes
from transferscope.costs.weights import BYTES_PER_WEIGHT, weights_state
from transferscope.probes.probe import Load
from transferscope.probes.registry import wanted_probes
from transferscope.study.ablations import ablated_stores, occluded_stores
from transferscope.study.joinings import joined_stores, joining_probes
from transferscope.study.reductions import reduced_stores
from transferscope.study.study import Study

# Compressed share of a tile store, measured on 16-bit fields (docs/performance.md).
TILE_STORE_SHARE = 0.55
# The same of tiles that were reduced, which have finer levels.
REDUCED_STORE_SHARE = 0.6
# Of a target store: .020 to .032 for nuclei of two real datasets, and for glands.
TARGET_STORE_SHARE = 0.04
TARGET_BYTES_PER_PIXEL = 4


@dataclass(frozen=True)
class EmbedJob:
    """One embedding job.

    Parameters
    ----------
    dataset, backbone, channels
        Which store it fills.
    passes
        Forward passes per tile.
    width
        Features per tile in the store.
    hours
        Expected hours on the device; on processor cores for hand-crafted features. NaN: unknown
        without the weights.
    store_bytes
        Size of the store, at most.
    on_device
        Whether it runs a network.
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
    """The estimate for a study of which nothing has been made yet.

    Parameters
    ----------
    jobs
        Rule -> number of jobs.
    fields
        Dataset -> its fields and tiles.
    embed
        The embedding jobs.
    downloads
        What has to be fetched -> its approximate size in bytes.
    head_hours
        Core hours of all probes of frozen embeddings, at most: early stopping is not counted on.
    rates
        What the hours were computed with.
    training_hours
        Hours on the device of all trainings, one after the other.
    tuning_hours
        Hours on the device of all fine-tuning, at most.
    segmentation_hours
        Hours on the device of all decoders of masks, at most.
    target_bytes
        Size of all target stores.
    reduced_bytes
        Size of all tiles that are kept once more, reduced.
    """

    jobs: dict[str, int]
    fields: dict[str, Fields]
    embed: Sequence[EmbedJob]
    downloads: dict[str, int]
    head_hours: float
    rates: Rates
    training_hours: float = 0.0
    tuning_hours: float = 0.0
    segmentation_hours: float = 0.0
    target_bytes: int = 0
    reduced_bytes: int = 0

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
        """Size of all embedding stores, at most."""
        return sum(job.store_bytes for job in self.embed)


def estimate(study: Study, jobs: dict[str, int], rates: Rates) -> Estimate:
    """Return the estimate for a study.

    Parameters
    ----------
    study
        The study; its cards have passed `preflight`.
    jobs
        Rule -> number of jobs, as its steps say.
    rates
        Speed of the machine.

    Raises
    ------
    UserError
        Where a sample sheet cannot be read.
    """
    costs = KnownCosts()
    for located in study.backbones.values():
        if located.card.is_network:
            costs.learn(located.card, located.path, partial(find_cost, located.card, located.path))
    sizes = Sizes(study, costs, online=True)
    stores = [(p.dataset, p.backbone, p.stored_channels) for p in study.embedded()]
    ablated = {
        (e.probed.dataset, e.probed.backbone, e.probed.stored_channels, one.name): None
        for e in ablated_stores(study)
        for one in e.ablations
    }
    embed = [_embed_job(sizes, *store, rates) for store in dict.fromkeys(stores)]
    embed += [_embed_job(sizes, *store[:3], rates, *store[3:]) for store in ablated]
    embed += _covering(study, sizes, rates)
    fields = {dataset: sizes.fields(dataset) for dataset in study.all_datasets}
    return Estimate(
        jobs=jobs,
        fields=fields,
        embed=embed,
        downloads=_downloads(study, fields, sizes),
        head_hours=_probe_hours(study, sizes, rates),
        tuning_hours=_tuning_hours(study, embed),
        segmentation_hours=_segmentation_hours(study, sizes, rates),
        rates=rates,
        training_hours=_training_hours(study, sizes, rates),
        target_bytes=_target_bytes(study, fields),
        reduced_bytes=_reduced_bytes(study, fields),
    )


def _covering(study: Study, sizes: Sizes, rates: Rates) -> list[EmbedJob]:
    """Return what it costs to cover tiles patch by patch; nothing of it is stored."""
    ablation, found = study.config.ablation, []
    for p, covered in occluded_stores(study).items():
        fields = sizes.fields(p.dataset)
        settings = (ablation and ablation.occlusion) or OcclusionSettings()
        _, tile_shape = sizes.embedded(p.dataset, p.backbone)
        images = settings.n_images(tile_shape[-2:], len(covered))
        whole = _embed_job(sizes, p.dataset, p.backbone, p.stored_channels, rates, "covered")
        hours = whole.hours * images / max(1, fields.n_tiles)
        found.append(replace(whole, hours=hours, store_bytes=0))
    return found


def _target_bytes(study: Study, fields: dict[str, Fields]) -> int:
    """Return the size of the masks of all datasets that are segmented."""
    datasets = {p.dataset for p in study.segmented()}
    pixels = sum(
        fields[name].n_tiles * math.prod(fields[name].tile_shape[-2:]) for name in datasets
    )
    return round(TARGET_STORE_SHARE * TARGET_BYTES_PER_PIXEL * pixels)


def _reduced_bytes(study: Study, fields: dict[str, Fields]) -> int:
    """Return the size of all tiles that are kept once more, reduced."""
    pixels = sum(
        fields[name].n_tiles * fields[name].tile_shape[0] * side**2
        for name, side in reduced_stores(study)
    )
    return round(REDUCED_STORE_SHARE * RAW_BYTES * pixels)


def _training_hours(study: Study, sizes: Sizes, rates: Rates) -> float:
    seconds = 0.0
    for name, card in study.trainings.items():
        n_tiles = sum(sizes.fields(dataset).n_tiles for dataset in card.datasets)
        cost = sizes.known_cost(name)
        operations = training_operations(card, cost, n_tiles) if cost else math.nan
        seconds += operations / rates.embedding
    return seconds / 3600


def _downloads(study: Study, fields: dict[str, Fields], sizes: Sizes) -> dict[str, int]:
    """Return what is not on this machine yet: images, then weights."""
    images = {f"images of {name}": found.bytes_to_fetch for name, found in fields.items()}
    weights = {}
    for name, located in study.backbones.items():
        state = weights_state(located.card, located.path) if located.card.is_network else ""
        if state in ("to fetch", "to ask for"):
            cost = sizes.known_cost(name)
            asked = " (gated: accept the authors' conditions on the hub)"
            note = asked if state == "to ask for" else ""
            weights[f"weights of {name}{note}"] = cost.parameters * BYTES_PER_WEIGHT if cost else 0
    return {what: n_bytes for what, n_bytes in images.items() if n_bytes} | weights


def _embed_job(
    sizes: Sizes,
    dataset: str,
    backbone: str,
    channels: str,
    rates: Rates,
    ablation: str | None = None,
) -> EmbedJob:
    fields = sizes.fields(dataset)
    is_given = sizes.study.is_table(dataset)
    on_device = not is_given and sizes.card(backbone).is_network
    if is_given:
        # They are only copied.
        passes, width, seconds = 0, sizes.store(dataset, backbone, channels)[1], 0.0
    elif on_device:
        cost, passes = sizes.cost(dataset, backbone, channels)
        width = passes * cost.width if cost else 0
        operations = cost.operations if cost else math.nan
        seconds = fields.n_tiles * passes * operations / rates.embedding
    else:
        passes, width = 1, HANDCRAFTED_WIDTH
        seconds = HANDCRAFTED_SECONDS * fields.tile_shape[0] * fields.n_tiles
    return EmbedJob(
        dataset,
        backbone,
        channels if ablation is None else f"{channels}, {ablation}",
        passes=passes,
        width=width,
        hours=seconds / 3600,
        store_bytes=fields.n_tiles * width * FLOAT_BYTES,
        on_device=on_device,
    )


def _probe_hours(study: Study, sizes: Sizes, rates: Rates) -> float:
    """Return the core hours of all probes of frozen embeddings."""
    config, seconds = study.config, 0.0
    probes = wanted_probes(config)
    for probed in study.probed() if config.scored else ():
        n_classes = len(study.datasets[probed.dataset].card.labels)
        _, width = sizes.probed(probed)
        n_tiles = sizes.fields(probed.dataset).n_tiles
        load = Load(n_tiles, width, n_classes, config.splits, rates.heads)
        seconds += sum(probe.seconds(settings, load) for probe, settings in probes.items())
    # Of joined stores: all columns as one, and those of each part alone.
    whole = config.splits.model_copy(
        update={"schemes": [JOINING_SCHEME], "fractions": [max(config.splits.fractions)]}
    )
    for joined in joined_stores(study):
        n_tiles = sizes.fields(joined.probed.dataset).n_tiles
        n_classes = len(study.datasets[joined.probed.dataset].card.labels)
        width = 2 * sum(sizes.probed(part)[1] for part in joined.parts)
        load = Load(n_tiles, width, n_classes, whole, rates.heads)
        own = joining_probes(config).items()
        seconds += sum(probe.seconds(settings, load) for probe, settings in own)
    return seconds / 3600


def _tuning_hours(study: Study, jobs: Sequence[EmbedJob]) -> float:
    """Return the hours of all fine-tuning."""
    hours_of = {(job.dataset, job.backbone, job.channels): job.hours for job in jobs}
    passes = sum(tuning_passes(study.config, mode) for mode in study.config.finetune.modes)
    return sum(
        passes * hours_of[p.dataset, p.backbone, p.stored_channels] for p in study.fine_tuned()
    )


def _segmentation_hours(study: Study, sizes: Sizes, rates: Rates) -> float:
    """Return the hours of all decoders of masks, with the maps that they read."""
    settings, operations, seconds = study.config.segmentation, 0.0, 0.0
    if settings is None:
        return operations
    for p in study.segmented():
        found, passes = sizes.cost(p.dataset, p.backbone, p.channels)
        cost, n_tiles = found or UNKNOWN_COST, sizes.fields(p.dataset).n_tiles
        card: Any = sizes.card(p.backbone)
        maps = MapSize(passes * cost.width, card.input_size)
        operations += settings.views * n_tiles * passes * cost.operations
        operations += decoder_operations(settings, study.config.splits, n_tiles, maps)
        operations += tuning_operations(
            settings, study.config.splits, n_tiles, float(passes * cost.operations), maps
        )
        if p.dataset in study.with_objects:
            pixels = math.prod(sizes.tiles(p.dataset)[1][1:])
            seconds += object_seconds(settings, study.config.splits, n_tiles, pixels)
    return (seconds + operations / rates.embedding) / 3600

"""What each job needs, in memory and time: it follows from the study, and grows with the attempt.

Memory is what was measured on the steps themselves (docs/clusters.md has the table), as the sum of
what the libraries take and of what grows with the study. Times are generous: they are limits at
which a scheduler ends a job, not forecasts. Nothing here imports torch, because each job of a
cluster asks again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from transferscope.cards import (
    CellposeSegmentation,
    HandcraftedCard,
    NetworkCard,
    accepts_any_channels,
)
from transferscope.channels.assignment import assign, slots_of
from transferscope.config.modes import mode_of_head
from transferscope.costs.fields import Fields, expected_fields
from transferscope.costs.network_costs import (
    HANDCRAFTED_SECONDS,
    HANDCRAFTED_WIDTH,
    KnownCosts,
    NetworkCost,
    training_operations,
)
from transferscope.costs.tuning import tuning_passes
from transferscope.costs.work import head_seconds
from transferscope.errors import UserError
from transferscope.probes.budget import HEADS_BYTES
from transferscope.runtime.ordered_map import ITEMS_AHEAD
from transferscope.stores.manifest import TILES_FORMAT, Manifest
from transferscope.study.signatures import with_signature
from transferscope.study.study import Probed, Study, output_names
from transferscope.tiles.decoding import FIELDS_AHEAD

MIB = 2**20
FLOAT_BYTES = 4
# Peak of a step that has hardly anything to do: Python and its libraries, MiB.
TABLES_MB, IMAGES_MB, TORCH_MB = 350, 450, 950
# The two Snakemakes that a cluster runs around each step, and counts in.
SNAKEMAKE_MB = 450
# What CUDA and its libraries take of a node's memory beside that.
CUDA_MB = 3_000
# A segmentation by Cellpose: its network and what it holds of a field.
CELLPOSE_MB = 6_000
# Raw bytes of a field that a worker holds: as read, in floating point, resampled, measured.
FIELD_COPIES, CELL_COPIES = 6, 12
# Fields from an object store that wait in memory for a worker.
FETCHED_FIELDS = FIELDS_AHEAD + ITEMS_AHEAD
# Copies of the weights while the number format is tried: as read, in the network, reduced.
WEIGHT_COPIES = 3
# Activations of a batch, in multiples of its input in float32.
ACTIVATION_COPIES = 16
# Of a training: bytes a raw pixel, copies of the weights (student, teacher, gradients, two moments
# of the optimiser, head), and activations that wait for the way back, in multiples of the input.
RAW_BYTES, TRAINING_COPIES, TRAINED_ACTIVATION_COPIES = 2, 8, 400
# Copies of the embedding matrix that a probe holds.
MATRIX_COPIES = 3
# Bytes that a table holds a tile.
TABLE_BYTES = 4_000

# Minutes that any job may take, however little it does: a busy node, a cold file system.
LEAST_MINUTES = 15
# Seconds a byte of raw pixels, some ten times of what was measured on local disks.
DECODE_SECONDS, SEGMENT_SECONDS, SIMULATE_SECONDS = 1e-7, 1e-6, 2e-5
# The same of embeddings that are read and compared with their checksums.
READ_SECONDS = 2e-8
# Floating-point operations a second that the slowest usual GPU, and one core, reach in a network.
GPU_RATE, CORE_RATE = 4e12, 2e10
# Those that one core reaches in heads and neighbours.
PROBE_RATE = 5e9
# A network whose size is not known before it is fetched is taken for a ViT-L/16 at 224 px.
UNKNOWN_COST = NetworkCost(operations=123 * 10**9, parameters=304 * 10**6, width=1024)


@dataclass(frozen=True)
class Need:
    """What a job needs at its first attempt.

    Parameters
    ----------
    mem_mb
        Memory in MiB.
    minutes
        Longest time.
    """

    mem_mb: int
    minutes: int

    @classmethod
    def of(cls, mem_mb: float, seconds: float = 0.0) -> Need:
        """Return a need, rounded up, with the time that any job is given."""
        memory = math.ceil((mem_mb + SNAKEMAKE_MB) / 50) * 50
        return cls(memory, LEAST_MINUTES + math.ceil(seconds / 60))


class Needs:
    """The needs of a study's jobs, by rule; each method takes the wildcards of its rule.

    Parameters
    ----------
    study
        The study.
    costs
        What its networks cost; None: as found by the checks before the run.
    """

    def __init__(self, study: Study, costs: KnownCosts | None = None) -> None:
        self.study = study
        self._costs = costs
        # Bound to the object, so that they end with it.
        self._fields = lru_cache(None)(self._find_fields)
        self._size = lru_cache(None)(self._find_size)
        self._known_cost = lru_cache(None)(self._find_known_cost)
        self._store = lru_cache(None)(self._find_store)
        self._need_of = lru_cache(None)(self._find_need_of)

    def mem_mb(self, rule: str) -> Callable[..., int]:
        """Return the resource function of a rule's memory: it doubles with each attempt."""
        need = self._need_of(rule)
        return with_signature(
            lambda wildcards, attempt: need(wildcards).mem_mb * 2 ** (attempt - 1)
        )

    def runtime(self, rule: str) -> Callable[..., int]:
        """Return the resource function of a rule's time in minutes: doubled with each attempt."""
        need = self._need_of(rule)
        return with_signature(
            lambda wildcards, attempt: need(wildcards).minutes * 2 ** (attempt - 1)
        )

    def _find_need_of(self, rule: str) -> Callable[[Any], Need]:
        """Return the method of a rule, made to be asked once a job, for memory and time."""
        method: Callable[[Any], Need] = getattr(self, rule)
        known: dict[str, Need] = {}

        def need(wildcards: Any) -> Need:
            job = str(wildcards)
            if job not in known:
                known[job] = method(wildcards)
            return known[job]

        return need

    def simulate(self, wildcards: Any) -> Need:
        """Return the need of drawing raw fields."""
        return Need.of(IMAGES_MB, SIMULATE_SECONDS * self._raw_bytes(wildcards.dataset))

    def tiles(self, wildcards: Any) -> Need:
        """Return the need of decoding: a block of tiles, and a few copies of a field a worker."""
        located = self.study.all_datasets[wildcards.dataset]
        far = located.card.sheet is not None and self.study.sheet(wildcards.dataset).is_remote
        fetched_mb = FETCHED_FIELDS * self._field_mb(wildcards.dataset) if far else 0
        base = IMAGES_MB + fetched_mb
        return self._decoding(wildcards.dataset, base, FIELD_COPIES, DECODE_SECONDS)

    def cells(self, wildcards: Any) -> Need:
        """Return the need of segmenting and cutting: the same, with masks and measures."""
        cells = self.study.all_datasets[wildcards.dataset].card.cells
        with_network = cells is not None and isinstance(cells.segmentation, CellposeSegmentation)
        base = IMAGES_MB + (CELLPOSE_MB if with_network else 0)
        return self._decoding(wildcards.dataset, base, CELL_COPIES, SEGMENT_SECONDS)

    def table(self, wildcards: Any) -> Need:
        """Return the need of steps on tables of a dataset: splits, labels given by hand."""
        return Need.of(TABLES_MB + self._table_mb(self._size(wildcards.dataset)[0]))

    def contact_sheets(self, wildcards: Any) -> Need:
        """Return the need of drawing some tiles of each class."""
        table = self.table(wildcards)
        return Need(table.mem_mb + IMAGES_MB, table.minutes)

    def embed(self, wildcards: Any) -> Need:
        """Return the need of an embedding: weights, a batch, a few reads and a block."""
        dataset, channels = wildcards.dataset, wildcards.channels
        located, threads = self.study.backbones[wildcards.backbone], self.threads
        n_tiles, shape = self._size(dataset)
        card = located.card
        if isinstance(card, HandcraftedCard):
            seconds = 2 * HANDCRAFTED_SECONDS * shape[0] * n_tiles / threads
            return Need.of(IMAGES_MB + self._block_mb(HANDCRAFTED_WIDTH), seconds)
        cost, passes = self._cost(card, dataset, wildcards.backbone, channels)
        batch = self.study.config.compute.batch_size * len(slots_of(card)) * card.input_size**2
        memory = self._network_mb + self._block_mb(passes * cost.width)
        memory += FLOAT_BYTES * (WEIGHT_COPIES * cost.parameters + ACTIVATION_COPIES * batch) / MIB
        return Need.of(memory, n_tiles * passes * cost.operations / self._rate)

    def pretrain(self, wildcards: Any) -> Need:
        """Return the need of a training: the tiles in memory, weights, and steps of a batch."""
        card = self.study.trained[wildcards.backbone]
        sizes = [self._size(dataset) for dataset in card.datasets]
        cost = self._known_cost(wildcards.backbone)
        batch = card.batch_size * len(card.slots) * card.input_size**2
        memory = self._training_mb(sizes, cost, batch)
        operations = training_operations(card, cost, sum(n for n, _ in sizes))
        return Need.of(self._processes * memory, operations / (self._rate * self._processes))

    def embed_start(self, wildcards: Any) -> Need:
        """Return the need of trying the number format on a few tiles."""
        return Need(self.embed(wildcards).mem_mb, LEAST_MINUTES)

    def embed_part(self, wildcards: Any) -> Need:
        """Return the need of a part of an embedding: that of all, in a share of the time."""
        compute, whole = self.study.config.compute, self.embed(wildcards)
        rows = compute.block_rows * (compute.blocks_a_job or 1)
        share = min(1.0, rows / max(1, self._size(wildcards.dataset)[0]))
        minutes = LEAST_MINUTES + math.ceil(share * (whole.minutes - LEAST_MINUTES))
        return Need(whole.mem_mb, minutes)

    def embed_finish(self, wildcards: Any) -> Need:
        """Return the need of reading an embedding store once, a block at a time."""
        n_tiles, width = self._store(wildcards.dataset, wildcards.backbone, wildcards.channels)
        n_outputs = len(output_names(self.study.backbones[wildcards.backbone].card))
        n_bytes = FLOAT_BYTES * n_tiles * width * n_outputs
        return Need.of(IMAGES_MB + self._block_mb(width * n_outputs), READ_SECONDS * n_bytes)

    def heads(self, wildcards: Any) -> Need:
        """Return the need of all heads of a store: its matrix, and the budget of their training."""
        n_tiles, width = self._matrix(wildcards)
        n_classes = len(self.study.datasets[wildcards.dataset].card.labels)
        memory = TORCH_MB + HEADS_BYTES / MIB + self._matrices_mb(n_tiles, width)
        seconds = head_seconds(self.study.config, n_tiles, width, n_classes, PROBE_RATE)
        return Need.of(memory, seconds)

    def finetune(self, wildcards: Any) -> Need:
        """Return the need of a fine-tuning: tiles in memory, weights, steps of a batch."""
        dataset, backbone = wildcards.dataset, wildcards.representation.partition("@")[0]
        card = self.study.backbones[backbone].card
        if isinstance(card, HandcraftedCard):
            raise ValueError(f"{backbone} is not fine-tuned")
        cost, passes = self._cost(card, dataset, backbone, wildcards.channels)
        size = self._size(dataset)
        settings = self.study.config.finetune
        batch = passes * settings.batch_size * len(slots_of(card)) * card.input_size**2
        memory = self._training_mb([size], cost, batch)
        shown = size[0] * tuning_passes(self.study.config, mode_of_head(wildcards.tuned_head))
        heads = self.heads(wildcards)
        seconds = shown * passes * cost.operations / self._rate + 60 * heads.minutes
        return Need.of(memory + self._matrices_mb(*self._matrix(wildcards)), seconds)

    def knn(self, wildcards: Any) -> Need:
        """Return the need of all neighbours of a store: each fold against the others."""
        n_tiles, width = self._matrix(wildcards)
        config = self.study.config
        searches = len(config.splits.schemes) * len(config.splits.seeds) * len(config.knn.metrics)
        seconds = 2 * n_tiles**2 * width * searches / PROBE_RATE
        return Need.of(TORCH_MB + self._matrices_mb(n_tiles, width), seconds)

    def aggregate(self, wildcards: Any) -> Need:
        """Return the need of the same head at several levels, one after the other."""
        heads, settings = self.heads(wildcards), self.study.config.aggregate
        variants = 1 + len(settings.levels) * len(settings.methods)
        return Need(heads.mem_mb, LEAST_MINUTES + variants * (heads.minutes - LEAST_MINUTES))

    def compare(self, _: Any) -> Need:
        """Return the need of the comparison: all scores, predictions a fold at a time."""
        n_tiles = max(self._size(dataset)[0] for dataset in self.study.datasets)
        draws = self.study.config.compare.bootstrap
        seconds = 5 * self._n_scored * (1 + n_tiles / 10_000) * draws / 1000
        return Need.of(TABLES_MB + self._n_scored + self._table_mb(n_tiles), seconds)

    def figure(self, _: Any) -> Need:
        """Return the need of a figure of the comparison."""
        return Need.of(2 * TABLES_MB + self._n_scored, self._n_scored)

    def embedding_figure(self, wildcards: Any) -> Need:
        """Return the need of a figure of embeddings: one matrix at a time."""
        stores = [p for p in self.study.probed() if p.dataset == wildcards.dataset]
        shapes = [self._store(p.dataset, p.backbone, p.stored_channels) for p in stores]
        largest = max(self._matrices_mb(*shape) for shape in shapes)
        return Need.of(TORCH_MB + largest, 60 * len(stores))

    @property
    def threads(self) -> int:
        """Cores of a job that reads pixels."""
        return self.study.config.compute.threads

    @property
    def _processes(self) -> int:
        return self.study.config.training.processes

    @property
    def _on_gpu(self) -> bool:
        return self.study.config.compute.device != "cpu"

    @property
    def _rate(self) -> float:
        """Operations a second of a job that runs a network."""
        return GPU_RATE if self._on_gpu else self.threads * CORE_RATE

    @property
    def _network_mb(self) -> int:
        """Memory of such a job beside weights and data."""
        return TORCH_MB + (CUDA_MB if self._on_gpu else 0)

    def _training_mb(
        self, sizes: Sequence[tuple[int, tuple[int, ...]]], cost: NetworkCost, batch: int
    ) -> float:
        """Return the memory of a training: raw tiles, weights, and a batch of so many values."""
        raw = sum(n * math.prod(shape) * RAW_BYTES for n, shape in sizes)
        copies = TRAINING_COPIES * cost.parameters + TRAINED_ACTIVATION_COPIES * batch
        return self._network_mb + (raw + FLOAT_BYTES * copies) / MIB

    @cached_property
    def _n_scored(self) -> int:
        return len(self.study.probed())

    def _decoding(self, dataset: str, base_mb: float, copies: int, seconds: float) -> Need:
        tables = self._table_mb(self._fields(dataset).n_tiles)
        memory = base_mb + copies * self._field_mb(dataset) * self.threads + tables
        return Need.of(memory, seconds * self._raw_bytes(dataset))

    def _field_mb(self, dataset: str) -> float:
        """Return the size of a raw field in memory."""
        return self._raw_bytes(dataset) / max(1, self._fields(dataset).n_fields) / MIB

    def _raw_bytes(self, dataset: str) -> int:
        found = self._fields(dataset)
        channels = found.tile_shape[0]
        return found.n_fields * channels * math.prod(found.field_shape) * found.bytes_a_pixel

    def _find_fields(self, dataset: str) -> Fields:
        return expected_fields(self.study, dataset, online=False)

    def _find_size(self, dataset: str) -> tuple[int, tuple[int, ...]]:
        """Return the number and the shape of a dataset's tiles: as made, or else as expected."""
        try:
            n_tiles, *shape = Manifest.read(self.study.paths.tiles(dataset), TILES_FORMAT).shape
            return n_tiles, tuple(shape)
        except UserError:
            found = self._fields(dataset)
            return found.n_tiles, found.tile_shape

    def _cost(
        self, card: NetworkCard, dataset: str, backbone: str, channels: str
    ) -> tuple[NetworkCost, int]:
        """Return what a pass costs, and the number of passes."""
        cost = self._known_cost(backbone)
        given = self.study.datasets[dataset].card.channels
        assignment = assign(channels, given, slots_of(card))
        size = self._enlargement(card, dataset)
        if accepts_any_channels(card):
            size *= assignment.n_inputs / len(card.slots)
        operations = math.ceil(cost.operations * size)
        return replace(cost, operations=operations), len(assignment.passes)

    def _find_known_cost(self, backbone: str) -> NetworkCost:
        costs = self._costs = self._costs or KnownCosts()
        located = self.study.backbones[backbone]
        if isinstance(located.card, HandcraftedCard):
            return UNKNOWN_COST
        return costs.of(located.card, located.path) or UNKNOWN_COST

    def _enlargement(self, card: NetworkCard, dataset: str) -> float:
        """Return how many times the pixels of its own input a network is shown."""
        found = self._fields(dataset)
        if card.scale == "fit" or card.pixel_size_um is None or found.pixel_size_um is None:
            return 1.0
        side = found.tile_shape[1] * found.pixel_size_um / card.pixel_size_um
        return (side / card.input_size) ** 2

    def _find_store(self, dataset: str, backbone: str, channels: str) -> tuple[int, int]:
        """Return rows and columns of what a probe reads of a store."""
        n_tiles, _ = self._size(dataset)
        card = self.study.backbones[backbone].card
        if isinstance(card, HandcraftedCard):
            return n_tiles, HANDCRAFTED_WIDTH
        cost, passes = self._cost(card, dataset, backbone, channels)
        return n_tiles, passes * cost.width // len(output_names(card))

    def _matrix(self, wildcards: Any) -> tuple[int, int]:
        probed = Probed(wildcards.dataset, wildcards.representation, wildcards.channels)
        return self._store(probed.dataset, probed.backbone, probed.stored_channels)

    def _matrices_mb(self, n_tiles: int, width: int) -> float:
        return (MATRIX_COPIES * FLOAT_BYTES * width + TABLE_BYTES) * n_tiles / MIB

    def _table_mb(self, n_tiles: int) -> float:
        return TABLE_BYTES * n_tiles / MIB

    def _block_mb(self, width: int) -> float:
        return 3 * FLOAT_BYTES * self.study.config.compute.block_rows * width / MIB

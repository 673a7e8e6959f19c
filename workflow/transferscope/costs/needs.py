"""What a job needs, in memory and time, and what these are computed with.

Memory is what was measured on the steps themselves (docs/clusters.md has the table), as the sum of
what the libraries take and of what grows with the study. Times are generous: they are limits at
which a scheduler ends a job, not forecasts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transferscope.config.study import StudyConfig
from transferscope.costs.network_costs import NetworkCost

MIB = 2**20
FLOAT_BYTES = 4
# Peak of a step that has hardly anything to do: Python and its libraries, MiB.
TABLES_MB, IMAGES_MB, TORCH_MB = 350, 450, 950
# The two Snakemakes that a cluster runs around each step, and counts in.
SNAKEMAKE_MB = 450
# What CUDA and its libraries take of a node's memory in addition.
CUDA_MB = 3_000
# Minutes that any job may take, however little it does: a busy node, a cold file system.
LEAST_MINUTES = 15
# Copies of the embedding matrix that a probe holds.
MATRIX_COPIES = 3
# Bytes that a table holds per tile.
TABLE_BYTES = 4_000
# Of a training: bytes per raw pixel, copies of the weights (student, teacher, gradients, two
# moments of the optimiser, head), and activations that wait for the way back, in multiples of the
# input.
RAW_BYTES, TRAINING_COPIES, TRAINED_ACTIVATION_COPIES = 2, 8, 400
# Floating-point operations per second that the slowest usual GPU, and one core, reach in a network.
GPU_RATE, CORE_RATE = 4e12, 2e10


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


def table_mb(n_tiles: int, base: float = TABLES_MB) -> float:
    """Return the memory of a step on the tables of a dataset, in MiB."""
    return base + TABLE_BYTES * n_tiles / MIB


def matrices_mb(n_tiles: int, width: int) -> float:
    """Return the memory of a probe's embeddings and tables, in MiB."""
    return (MATRIX_COPIES * FLOAT_BYTES * width + TABLE_BYTES) * n_tiles / MIB


def block_mb(config: StudyConfig, width: int) -> float:
    """Return the memory of the block of embeddings that is being filled, in MiB."""
    return 3 * FLOAT_BYTES * config.compute.block_rows * width / MIB


def on_gpu(config: StudyConfig) -> bool:
    """Return whether networks of a study may run on a GPU."""
    return config.compute.device != "cpu"


def network_rate(config: StudyConfig) -> float:
    """Return the operations per second of a job that runs a network."""
    return GPU_RATE if on_gpu(config) else config.compute.threads * CORE_RATE


def network_mb(config: StudyConfig) -> int:
    """Return the memory of such a job in addition to weights and data, in MiB."""
    return TORCH_MB + (CUDA_MB if on_gpu(config) else 0)


def training_mb(
    config: StudyConfig,
    sizes: Sequence[tuple[int, tuple[int, ...]]],
    cost: NetworkCost,
    batch: int,
) -> float:
    """Return the memory of a training: raw tiles, weights, and a batch of so many values, in MiB.

    Parameters
    ----------
    config
        The study config.
    sizes
        Number and shape of the tiles of each dataset.
    cost
        The network.
    batch
        Input values of a step.
    """
    raw = sum(n * math.prod(shape) * RAW_BYTES for n, shape in sizes)
    copies = TRAINING_COPIES * cost.parameters + TRAINED_ACTIVATION_COPIES * batch
    return network_mb(config) + (raw + FLOAT_BYTES * copies) / MIB

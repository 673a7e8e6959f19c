"""Memory and time limits of jobs, and the constants they are computed from.

Memory was measured on the steps themselves (see the table in docs/clusters.md), as the sum of a
constant for the libraries and a part that grows with the study. Times are generous limits for a
scheduler, not forecasts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transferscope.config.compute import RAW_BYTES
from transferscope.config.study import StudyConfig
from transferscope.costs.network_costs import NetworkCost

MIB = 2**20
FLOAT_BYTES = 4
# Peak of a step with minimal input: Python and its libraries, MiB.
TABLES_MB, IMAGES_MB, TORCH_MB = 350, 450, 950
# The two Snakemake processes that a cluster job runs in addition to the step.
SNAKEMAKE_MB = 450
# Host memory of CUDA and its libraries.
CUDA_MB = 3_000
# Minutes that any job may take, for a busy node or a cold file system.
LEAST_MINUTES = 15
# Copies of the embedding matrix that a probe holds.
MATRIX_COPIES = 3
# Bytes that a table holds per tile.
TABLE_BYTES = 4_000
# Of a training: copies of the weights (student, teacher, gradients, two
# moments of the optimiser, head), and activations kept for the backward pass, in multiples of the
# input.
TRAINING_COPIES, TRAINED_ACTIVATION_COPIES = 8, 400
# Floating-point operations per second of a network on the slowest common GPU, and on one core.
GPU_RATE, CORE_RATE = 4e12, 2e10


@dataclass(frozen=True)
class Need:
    """Resources of a job at its first attempt.

    Parameters
    ----------
    mem_mb
        Memory in MiB.
    minutes
        Time limit.
    """

    mem_mb: int
    minutes: int

    @classmethod
    def of(cls, mem_mb: float, seconds: float = 0.0) -> Need:
        """Return rounded resources, including the minimum time of any job."""
        memory = math.ceil((mem_mb + SNAKEMAKE_MB) / 50) * 50
        return cls(memory, LEAST_MINUTES + math.ceil(seconds / 60))


# Of a block: its parts, all of it, in the type of the store, encoded; and the parts of the next.
BLOCK_COPIES = 5


def table_mb(n_tiles: int, base: float = TABLES_MB) -> float:
    """Return the memory of a step on the tables of a dataset, in MiB."""
    return base + TABLE_BYTES * n_tiles / MIB


def matrices_mb(n_tiles: int, width: int) -> float:
    """Return the memory of a probe's embeddings and tables, in MiB."""
    return (MATRIX_COPIES * FLOAT_BYTES * width + TABLE_BYTES) * n_tiles / MIB


def block_mb(config: StudyConfig, width: int) -> float:
    """Return the memory of the block of embeddings that is written, and of the next, in MiB."""
    return BLOCK_COPIES * FLOAT_BYTES * config.compute.block_rows * width / MIB


def on_gpu(config: StudyConfig) -> bool:
    """Return whether networks of a study may run on a GPU."""
    return config.compute.device != "cpu"


def probes_on_gpu(config: StudyConfig) -> bool:
    """Return whether large probes of a study may run on a GPU."""
    may = config.compute.device in ("auto", "cuda")
    return config.compute.probes == "cuda" or (config.compute.probes == "auto" and may)


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
    """Return the memory of a training in MiB: raw tiles, weights and a batch.

    Parameters
    ----------
    config
        The study config.
    sizes
        Number and shape of the tiles of each dataset.
    cost
        The network.
    batch
        Input values per step.
    """
    raw = sum(n * math.prod(shape) * RAW_BYTES for n, shape in sizes)
    copies = TRAINING_COPIES * cost.parameters + TRAINED_ACTIVATION_COPIES * batch
    return network_mb(config) + (raw + FLOAT_BYTES * copies) / MIB

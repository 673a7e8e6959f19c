"""Settings of devices, batches and trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import (
    Field,
)

from transferscope.config.model import Model

BATCH_ON_CPU, BATCH_ON_GPU = 32, 512
# Tiles that are read at once; one such part is computed, while the others are read.
READ_BYTES, RAW_BYTES = 64 * 2**20, 2
# Raw tiles of a batch on a GPU, where they are converted to float32 several times as large.
BATCH_BYTES = 512 * 2**20
READ_BUFFERS = 3
# Keys that change no embedding and no training: how work is divided, and where others run.
CHANGES_NO_NETWORK = {"jobs_per_store", "probes"}

# More would only take memory.
MOST_IMAGES, MOST_THREADS = 65_536, 1024


class ComputeSettings(Model):
    """Where and how the networks run."""

    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto",
        description=(
            "auto: the first CUDA GPU where there is one, else the processor. mps: the GPU of an "
            "Apple computer, which was never tried."
        ),
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description=(
            "auto: the fastest that the device supports well. Any other than fp32 is compared "
            "with fp32 on the first batch, and replaced by it where they disagree."
        ),
    )
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_IMAGES)] = Field(
        "auto",
        description=(
            f"Images per forward pass. auto: {BATCH_ON_CPU}, on a GPU {BATCH_ON_GPU}, or fewer "
            "where tiles are large; halved where its memory is too small."
        ),
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description=(
            "Whether torch compiles the networks, which takes half a minute and needs a C++ "
            "compiler. auto: transformers that run for more than about twenty minutes in a "
            "reduced number format. Values may differ in their last digits."
        ),
    )
    block_rows: int = Field(
        4096,
        ge=1,
        description=(
            "Tiles per saved block. A killed job loses at most the one that is being written and "
            "what is computed of the next. Decrease for slow networks."
        ),
    )
    jobs_per_store: int = Field(
        1,
        ge=1,
        description=(
            "Jobs that fill one embedding store in parallel, each its own blocks, on several GPUs "
            "or nodes; the store is identical, byte for byte. More than 1 is worthwhile only if "
            "a single store takes hours."
        ),
    )
    threads: int = Field(
        2, ge=1, le=MOST_THREADS, description="Processor cores of a tile or embedding job."
    )
    probe_threads: int = Field(
        1,
        ge=1,
        le=MOST_THREADS,
        description=(
            "Processor cores of a head or k-NN job: 1 for many small stores, whose jobs run in "
            "parallel; more for large stores. Scores may differ in the last digits."
        ),
    )
    probes: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description=(
            "Where heads and k-NN run. auto: on a CUDA GPU where there is one that `device` does "
            "not rule out, and a job is so large that its cores would take two minutes or more; "
            "else on the processor. Scores differ by rounding."
        ),
    )

    def images_per_batch(self, *, on_gpu: bool, tile_shape: Sequence[int] = ()) -> int:
        """Return the images per forward pass.

        Parameters
        ----------
        on_gpu
            Whether they go to a GPU.
        tile_shape
            Shape of a raw tile that is resized there; empty: small.

        Examples
        --------
        >>> auto = ComputeSettings()
        >>> tiles = [(2, 600, 600), (4, 2048, 2048)]
        >>> [auto.images_per_batch(on_gpu=True, tile_shape=shape) for shape in tiles]
        [256, 16]
        """
        if self.batch_size != "auto":
            return self.batch_size
        if not on_gpu:
            return BATCH_ON_CPU
        fitting = max(1, BATCH_BYTES // (RAW_BYTES * max(1, math.prod(tile_shape))))
        return int(min(BATCH_ON_GPU, 2 ** (fitting.bit_length() - 1)))


def rows_per_read(batch_size: int, tile_shape: Sequence[int]) -> int:
    """Return how many tiles are read at once.

    It is a whole number of batches, so that batches never depend on how much is read.

    Examples
    --------
    >>> rows_per_read(32, (2, 600, 600)), rows_per_read(32, (2, 64, 64))
    (32, 256)
    """
    pixels = max(1, math.prod(tile_shape))
    return max(1, min(8, READ_BYTES // (RAW_BYTES * pixels * batch_size))) * batch_size


class TrainingSettings(Model):
    """How backbones are trained; of these, only `processes` affects the result (random draws)."""

    processes: int = Field(
        1,
        ge=1,
        description=(
            "Processes that train one backbone in parallel, each on its own GPU or with its share "
            "of the processor cores."
        ),
    )
    checkpoint_minutes: float = Field(
        10.0,
        ge=0,
        description="Minutes between checkpoints, the most that is lost when killed.",
    )
    knn_tiles: int = Field(
        512,
        ge=0,
        description=(
            "Tiles that are classified by nearest neighbours in up to 25 epochs, for the training "
            "curves. 0: none; collapsed embeddings are then not detected."
        ),
    )

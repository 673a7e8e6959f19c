"""Settings of devices, batches and trainings."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from transferscope.config.model import Model


class ComputeSettings(Model):
    """Where and how the networks run."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: the first GPU where there is one, else the processor."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description=(
            "auto: the fastest that the device supports well. Any other than fp32 is compared "
            "with fp32 on the first batch, and replaced by it where they disagree."
        ),
    )
    batch_size: int = Field(32, ge=1, description="Images per forward pass; more on large GPUs.")
    block_rows: int = Field(
        4096,
        ge=1,
        description=(
            "Tiles per saved block, the most that a killed job loses. Decrease for slow networks."
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
    threads: int = Field(2, ge=1, description="Processor cores of a tile or embedding job.")
    probe_threads: int = Field(
        1,
        ge=1,
        description=(
            "Processor cores of a head or k-NN job: 1 for many small stores, whose jobs run in "
            "parallel; more for large stores. Scores may differ in the last digits."
        ),
    )


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

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
            "auto: the fastest that the device is good at. Whatever is chosen is compared with "
            "fp32 on the first batch, and fp32 takes over where the two disagree."
        ),
    )
    batch_size: int = Field(32, ge=1, description="Images per forward pass. More on a large GPU.")
    block_rows: int = Field(
        4096,
        ge=1,
        description=(
            "Tiles saved at a time: what a killed job loses at most. Fewer for slow networks."
        ),
    )
    jobs_per_store: int = Field(
        1,
        ge=1,
        description=(
            "Jobs that fill one embedding store together, each blocks of its own, so that several "
            "GPUs or nodes share it; it comes out the same, byte for byte. More than 1 only where "
            "single stores take hours."
        ),
    )
    threads: int = Field(2, ge=1, description="Processor cores of a tile or embedding job.")
    probe_threads: int = Field(
        1,
        ge=1,
        description=(
            "Processor cores of a head or k-NN job. One suits many small stores, which run next to "
            "each other; more suit large stores. Scores may differ in the last digits."
        ),
    )


class TrainingSettings(Model):
    """How backbones are trained; only `processes`, of which each draws its own, changes results."""

    processes: int = Field(
        1,
        ge=1,
        description=(
            "Processes that train one backbone together: each has a GPU of its own, or its share "
            "of the processor."
        ),
    )
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="Minutes between checkpoints: what a killed training loses at most."
    )
    knn_tiles: int = Field(
        512,
        ge=0,
        description=(
            "Tiles that are classified by nearest neighbours in up to 25 epochs, for the curves. "
            "0: none, and embeddings that become all alike go unnoticed."
        ),
    )

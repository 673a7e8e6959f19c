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
    batch_size: int = Field(32, ge=1, description="Images a forward pass.")
    block_rows: int = Field(
        4096, ge=1, description="Tiles saved at a time: what a killed job loses at the most."
    )
    jobs_per_store: int = Field(
        1,
        ge=1,
        description=(
            "Jobs that fill one embedding store together, so that several GPUs or nodes share it; "
            "each fills blocks of its own."
        ),
    )
    threads: int = Field(2, ge=1, description="Processor cores of a tile or embedding job.")
    probe_threads: int = Field(
        1, ge=1, description="Processor cores of a head or k-NN job; results depend on it slightly."
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
        10.0, ge=0, description="A killed training loses no more than this."
    )
    knn_tiles: int = Field(
        512,
        ge=0,
        description=(
            "Tiles that are classified by nearest neighbours in up to 25 epochs, for the curves. "
            "0: none, and embeddings that become all alike go unnoticed."
        ),
    )

"""Devices, number format and processes of a training."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import nn

from transferscope.backbones.precision import Precision, choose_precision
from transferscope.backbones.readout import use_plain_attention
from transferscope.config.compute import ComputeSettings
from transferscope.errors import Problem, UserError
from transferscope.runtime.devices import AllottedDevice, allotted_device, can_hold, torch_device

# Fabric's names. fp16 would need its losses scaled: fp32 takes its place.
PRECISIONS: dict[str, Any] = {"bf16": "bf16-mixed", "fp32": "32-true", "fp16": "32-true"}


def training_fabric(settings: ComputeSettings, processes: int = 1) -> Fabric:
    """Return the devices of a training, launched.

    Parameters
    ----------
    settings
        Device, number format and threads.
    processes
        How many train together, each on a separate GPU or as processes on the processor. All but
        the first are started here, with the command line of this one.
    """
    device = torch_device(settings.device)
    if device.type == "mps" and processes > 1:
        what = "an Apple computer has one GPU, and no process shares it"
        fix = "Set `training.processes: 1`, or `compute.device: cpu`."
        raise UserError(Problem("training.processes", what, fix))
    alone_on_gpu = device.type == "cuda" and processes == 1
    devices: Any = [_own_device(settings.device).device.index] if alone_on_gpu else processes
    precision = choose_precision(device, settings.precision)
    torch.set_num_threads(settings.threads)
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        strategy="ddp" if processes > 1 else "auto",
        precision=PRECISIONS[precision],
        # On a cluster, too, a job starts its own processes: Slurm gives it one task.
        plugins=[LightningEnvironment()],
    )
    fabric.launch()
    return fabric


def fabric_on(device: torch.device, precision: Precision) -> Fabric:
    """Return the fabric of a training in this process, on a device that it has already.

    Parameters
    ----------
    device, precision
        Where, and the number format of products.
    """
    devices: Any = 1 if device.index is None else [device.index]
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        precision=PRECISIONS[precision],
        plugins=[LightningEnvironment()],
    )
    fabric.launch()
    return fabric


@cache
def _own_device(name: str) -> AllottedDevice:
    """Return the GPU of this process, which has it until it ends."""
    return allotted_device(name)


def prepare(modules: Iterable[nn.Module], fabric: Fabric) -> None:
    """Move networks to the device, and choose the attention that is fastest there."""
    with fabric.autocast():
        reduced = torch.is_autocast_enabled(fabric.device.type)
    for module in modules:
        # The best measures so far, in float64, stay on the processor of an Apple computer.
        if can_hold(fabric.device, module.state_dict().values()):
            module.to(fabric.device)
        if reduced and fabric.device.type == "cpu":
            use_plain_attention(module)

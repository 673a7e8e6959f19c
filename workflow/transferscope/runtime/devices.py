"""The compute device of a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from transferscope.errors import user_error
from transferscope.runtime import gpus


def torch_device(name: str) -> torch.device:
    """Return the device that `compute.device` names.

    Raises
    ------
    UserError
        If a GPU is requested and none is usable.
    """
    if name == "cuda" and not torch.cuda.is_available():
        fix = "Set `compute.device: auto`, or check the driver with `nvidia-smi`."
        what = "no usable GPU on this machine: one is requested, but torch finds none"
        raise user_error("compute.device", what, fix)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True)
class AllottedDevice:
    """A device reserved for this job.

    Parameters
    ----------
    device
        The CPU, or a GPU that no other job on this machine uses.
    release
        Makes it available to other jobs.
    """

    device: torch.device
    release: Callable[[], None]


def allotted_device(name: str) -> AllottedDevice:
    """Reserve the device that `compute.device` names; of several GPUs, one that is free.

    Parameters
    ----------
    name
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UserError
        If a GPU is requested and none is usable.
    """
    device = torch_device(name)
    if device.type != "cuda":
        return AllottedDevice(device, lambda: None)
    allotment = gpus.allot(visible_gpus())
    torch.cuda.set_device(allotment.index)
    return AllottedDevice(torch.device("cuda", allotment.index), allotment.release)


def visible_gpus() -> list[str]:
    """Return the UUIDs of the GPUs that torch sees, in its order."""
    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]

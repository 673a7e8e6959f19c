"""The device that a config asks for, the same for networks and for probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from transferscope.errors import Problem, UserError
from transferscope.runtime import gpus


def torch_device(name: str) -> torch.device:
    """Return the device that `compute.device` names.

    Raises
    ------
    UserError
        Where a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        fix = "Set `compute.device: auto`, or check the driver with `nvidia-smi`."
        what = "no usable GPU on this machine: one is asked for, but torch finds none"
        raise UserError(Problem("compute.device", what, fix))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True)
class AllottedDevice:
    """A device for a whole job.

    Parameters
    ----------
    device
        The processor, or a GPU that no other job on this machine has.
    release
        Lets other jobs have it.
    """

    device: torch.device
    release: Callable[[], None]


def allotted_device(name: str) -> AllottedDevice:
    """Return the device that `compute.device` names; of several GPUs one that no other job has.

    Parameters
    ----------
    name
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UserError
        Where a GPU is asked for and there is none.
    """
    device = torch_device(name)
    if device.type != "cuda":
        return AllottedDevice(device, lambda: None)
    allotment = gpus.allot(visible_gpus())
    torch.cuda.set_device(allotment.index)
    return AllottedDevice(torch.device("cuda", allotment.index), allotment.release)


def visible_gpus() -> list[str]:
    """Return the identities of the GPUs that torch sees, in its order."""
    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]

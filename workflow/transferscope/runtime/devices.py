"""The compute device of a job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from transferscope.errors import user_error
from transferscope.runtime import gpus

# Devices that are sent none of these numbers, and no copy that does not block: Apple's.
LIMITED = ("mps",)
LACKING = (torch.float64, torch.uint16, torch.uint32, torch.uint64)

logger = logging.getLogger(__name__)


def torch_device(name: str, key: str = "compute.device") -> torch.device:
    """Return the device that `compute.device` names.

    ``auto`` never takes the GPU of an Apple computer, on which nothing was ever tried.

    Parameters
    ----------
    name
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    key
        The config key that names it, for messages.

    Raises
    ------
    UserError
        If a GPU is requested and none is usable.
    """
    if name == "cuda" and not torch.cuda.is_available():
        fix = f"Set `{key}: auto`, or check the driver with `nvidia-smi`."
        what = "no usable GPU on this machine: one is requested, but torch finds none"
        raise user_error(key, what, fix)
    if name == "mps" and not torch.backends.mps.is_available():
        fix = f"Set `{key}: auto`; mps needs an Apple computer with its own chip, and macOS."
        what = "no usable Apple GPU on this machine: mps is requested, but torch finds none"
        raise user_error(key, what, fix)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def moved(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor on a device; from pinned memory, the host does not wait for the copy.

    Apple's GPUs have no float64, and not in every version unsigned integers of more than 8 bits:
    both are float32 there.
    """
    if device.type not in LIMITED:
        return values.to(device, non_blocking=True)
    return (values.float() if values.dtype in LACKING else values).to(device)


def can_hold(device: torch.device, tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether a device has the numbers of all of some tensors."""
    return device.type not in LIMITED or all(each.dtype not in LACKING for each in tensors)


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
        ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises
    ------
    UserError
        If a GPU is requested and none is usable.
    """
    device = torch_device(name)
    if device.type != "cuda":
        return AllottedDevice(device, lambda: None)
    # In fp32, networks compute in fp32: convolutions would have ten bits of it, as torch starts.
    torch.backends.cudnn.allow_tf32 = False
    allotment = gpus.allot(visible_gpus())
    torch.cuda.set_device(allotment.index)
    return AllottedDevice(torch.device("cuda", allotment.index), allotment.release)


def gpu_for_probes(name: str, least_bytes: int) -> torch.device | None:
    """Reserve a CUDA GPU for a job that can do without; None: it runs on the processor.

    Parameters
    ----------
    name
        As `compute.probes`: ``auto`` takes a GPU where there is one with enough free memory.
    least_bytes
        The memory that the job may take there.

    Raises
    ------
    UserError
        If ``cuda`` is requested and no GPU is usable.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return None
    torch_device("cuda", "compute.probes")
    allotted = allotted_device("cuda")
    free = torch.cuda.mem_get_info(allotted.device)[0]
    if name == "auto" and free < least_bytes:
        gib = free / 2**30, least_bytes / 2**30
        logger.info("on the processor: of the GPU %.1f GiB are free, it may take %.1f", *gib)
        allotted.release()
        return None
    return allotted.device


def visible_gpus() -> list[str]:
    """Return the UUIDs of the GPUs that torch sees, in its order."""
    count = torch.cuda.device_count()
    return [str(torch.cuda.get_device_properties(index).uuid) for index in range(count)]

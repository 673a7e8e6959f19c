"""The device that a config asks for, the same for networks and for probes."""

from __future__ import annotations

import torch

from transferscope.errors import Problem, UserError


def torch_device(name: str) -> torch.device:
    """Return the device that `compute.device` names.

    Raises
    ------
    UserError
        Where a GPU is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        mend = "Set `compute.device: auto`, or check the driver with `nvidia-smi`."
        what = "no usable GPU on this machine: one is asked for, but torch finds none"
        raise UserError(Problem("compute.device", what, mend))
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)

"""The rate of matrix products on this machine, measured."""

from __future__ import annotations

import time

import torch

from transferscope.backbones.precision import DTYPES, choose_precision
from transferscope.runtime.devices import torch_device

SIDE = {"cpu": 1536, "cuda": 8192, "mps": 4096}
SECONDS = 0.4


def measured_products(device: str, precision: str) -> tuple[str, str, float]:
    """Measure the device of a study in the number format that its jobs would try first.

    Parameters
    ----------
    device, precision
        As in the study's `compute`.

    Returns
    -------
    tuple
        Device, number format, and its rate in operations per second.

    Raises
    ------
    UserError
        If a GPU is requested and there is none.
    """
    place = torch_device(device)
    chosen = choose_precision(place, precision)
    return place.type, chosen, product_rate(place, chosen, threads=torch.get_num_threads())


def core_rate() -> float:
    """Measure one processor core in fp32, in operations per second."""
    return product_rate(torch.device("cpu"), "fp32", threads=1)


def product_rate(device: torch.device, precision: str, threads: int) -> float:
    """Return the rate of a large square matrix product, in operations per second.

    Parameters
    ----------
    device
        Device of the product.
    precision
        ``fp32``, ``bf16`` or ``fp16``.
    threads
        Processor cores to use.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        side = SIDE[device.type]
        matrix = torch.ones(side, side, dtype=DTYPES[precision], device=device)  # type: ignore[index]
        seconds, products = 0.0, 0
        matrix @ matrix  # the first product also chooses an algorithm
        while seconds < SECONDS:
            seconds += _timed_product(matrix)
            products += 1
    finally:
        torch.set_num_threads(before)
    return 2 * side**3 * products / seconds


def _timed_product(matrix: torch.Tensor) -> float:
    _wait(matrix.device)
    start = time.perf_counter()
    matrix @ matrix
    _wait(matrix.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()

"""The rate of matrix products on this machine, and the fraction of it that the steps reach."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from transferscope.backbones.precision import DTYPES, choose_precision
from transferscope.runtime.devices import torch_device

# Fraction of the rate of a large matrix product that embedding jobs reach (docs/performance.md):
# measured on a processor, and reported for good pipelines on GPUs.
EMBEDDING_SHARE = {"bf16": 0.63, "fp16": 0.63, "fp32": 0.8}
EMBEDDING_SHARE_OF_GPU = 0.45
# The fraction that the training of heads reaches on one core, measured in the same way.
HEADS_SHARE = 0.5
SIDE = {"cpu": 1536, "cuda": 8192}
SECONDS = 0.4


@dataclass(frozen=True)
class Rates:
    """Rates in floating-point operations per second; a multiply-add counts as two.

    Parameters
    ----------
    embedding
        Of an embedding job.
    heads
        Of head training on one processor core.
    device, precision
        For which `embedding` is valid.
    measured
        Whether it was measured on this machine, or given by the user.
    """

    embedding: float
    heads: float
    device: str
    precision: str
    measured: bool


def machine_rates(device: str, precision: str, tflops: float | None = None) -> Rates:
    """Return the rates of this machine, from about a second of matrix products.

    Parameters
    ----------
    device, precision
        As in the study's `compute`.
    tflops
        Rate of large matrix products of another machine that the study will run on, in 10^12
        operations per second.

    Raises
    ------
    UserError
        If a GPU is requested, there is none, and no rate is given.
    """
    core = product_rate(torch.device("cpu"), "fp32", threads=1)
    if tflops is not None:
        rate = tflops * 1e12 * EMBEDDING_SHARE_OF_GPU
        return Rates(rate, HEADS_SHARE * core, "stated GPU", precision, measured=False)
    place = torch_device(device)
    chosen = choose_precision(place, precision)
    on_gpu = place.type == "cuda"
    share = EMBEDDING_SHARE_OF_GPU if on_gpu else EMBEDDING_SHARE[chosen]
    rate = share * product_rate(place, chosen, threads=torch.get_num_threads())
    return Rates(rate, HEADS_SHARE * core, place.type, chosen, measured=True)


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

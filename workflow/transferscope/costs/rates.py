"""The rate of matrix products on this machine, and the fraction of it that the steps reach."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transferscope.runtime.json_cache import JsonCache

# Fraction of the rate of a large matrix product that embedding jobs reach (docs/performance.md):
# measured on a processor (a little less, as not all networks are read by their class token alone),
# and reported for good pipelines on GPUs.
EMBEDDING_SHARE = {"bf16": 0.7, "fp16": 0.7, "fp32": 0.85}
EMBEDDING_SHARE_OF_GPU = 0.45
# The fraction that the training of heads reaches on one core, measured in the same way.
HEADS_SHARE = 0.5
TORCH_VERSION = version("torch")
CACHE = Path(".snakemake") / "transferscope" / "rates.json"


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


def machine_rates(
    device: str, precision: str, tflops: float | None = None, kept: Path = CACHE
) -> Rates:
    """Return the rates of this machine, from about a second of matrix products.

    Parameters
    ----------
    device, precision
        As in the study's `compute`.
    tflops
        Rate of large matrix products of another machine that the study will run on, in 10^12
        operations per second.
    kept
        JSON file of rates measured before. An equal machine is not measured again: that, and to
        load torch for it, takes longer than all other checks of a study.

    Raises
    ------
    UserError
        If a GPU is requested, there is none, and no rate is given.
    """
    measured = JsonCache(kept, tuple)

    def known(what: str, measure: Callable[[], Any]) -> Any:
        key = f"{what} of {_machine()}"
        if key not in measured.values:
            measured.put(key, measure())
        return measured.values[key]

    core = known("a core", _core)
    if tflops is not None:
        rate = tflops * 1e12 * EMBEDDING_SHARE_OF_GPU
        return Rates(rate, HEADS_SHARE * core[0], "stated GPU", precision, measured=False)
    place, chosen, rate = known(f"{device} in {precision}", partial(_products, device, precision))
    share = EMBEDDING_SHARE_OF_GPU if place != "cpu" else EMBEDDING_SHARE[chosen]
    return Rates(share * rate, HEADS_SHARE * core[0], place, chosen, measured=True)


def _core() -> tuple[float]:
    from transferscope.costs.products import core_rate

    return (core_rate(),)


def _products(device: str, precision: str) -> tuple[str, str, float]:
    from transferscope.costs.products import measured_products

    return measured_products(device, precision)


def _machine() -> str:
    """Return what a rate belongs to: another machine, driver or torch has another one."""
    seen = [os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")]
    driver = Path("/dev/nvidiactl").exists()
    parts = [platform.node(), os.cpu_count(), TORCH_VERSION, driver, *seen]
    return ", ".join(map(str, parts))

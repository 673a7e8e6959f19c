"""Which number format a network runs in, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
# Least centred cosine to fp32 with which a reduced precision is trusted.
LEAST_AGREEMENT = 0.99
# Rows nearer to the batch mean than this share of their length differ from it by rounding alone.
INDISTINCT = 1e-5
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")


def choose_precision(device: torch.device, requested: str = "auto") -> Precision:
    """Return the number format to try first.

    Parameters
    ----------
    device
        Where the network runs.
    requested
        ``auto`` takes the fastest that the device is good at: on a GPU bf16, or fp16 where it has
        no bf16, and on Apple's; on a processor what it multiplies in hardware, else fp32. Anything
        else is returned as it is, for the guard to judge.
    """
    if requested in DTYPES:
        return requested
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "mps":
        return "fp16"
    if _processor_multiplies_bf16():
        return "bf16"
    return "fp32"


def centred_cosine(reference: Tensor, candidate: Tensor) -> float:
    """Return how well a batch of embeddings agrees with a reference, at its worst row.

    Each side's mean over the batch is removed first: embeddings share a large common part that
    hides even a wrong network from the plain cosine, and a constant offset between the two sides
    (what rounding the weights amounts to) moves no tile against another. Rows that do not differ
    from the mean by more than rounding (a batch of one, equal tiles) have no centred direction
    and are compared by their plain cosine.

    Parameters
    ----------
    reference, candidate
        Embeddings [B, D].

    Returns
    -------
    float
        The smallest cosine over the rows, -1 to 1; -1 where a value is not finite.
    """
    wanted, found = reference.double(), candidate.double()
    if not bool(torch.isfinite(wanted).all() and torch.isfinite(found).all()):
        return -1.0
    centred = wanted - wanted.mean(dim=0)
    distinct = (centred.norm(dim=1) > INDISTINCT * wanted.norm(dim=1))[:, None]
    a = torch.where(distinct, centred, wanted)
    b = torch.where(distinct, found - found.mean(dim=0), found)
    return float(_cosine(a, b).min())


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    lengths = a.norm(dim=1) * b.norm(dim=1)
    both_zero = (a.norm(dim=1) == 0) & (b.norm(dim=1) == 0)
    cosine = (a * b).sum(dim=1) / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(both_zero, 1.0, cosine)


def _processor_multiplies_bf16() -> bool:
    """Tell whether the processor has bf16 instructions and oneDNN uses them.

    Without the instructions oneDNN emulates bf16, which is slower than fp32. fp16 is never chosen:
    most processors emulate it hundreds of times slower, and bf16 is as fast where they do not.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    capabilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in BF16_INSTRUCTIONS)

"""Networks that torch's compiler has rewritten: fewer passes over memory, the same products."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from transferscope.backbones.packed_linear import operator_for_compiler
from transferscope.backbones.precision import LEAST_AGREEMENT, centred_cosine
from transferscope.backbones.readout import Backbone, has_tokens
from transferscope.config.compute import ComputeSettings
from transferscope.errors import printable
from transferscope.transport.cache import cache_folder

logger = logging.getLogger(__name__)

# Compiling takes half a minute; after that a vision transformer takes a sixteenth less time on a
# processor. Floating-point operations of a job, for each core or on a GPU, from which on that is
# repaid about twice: some twenty minutes.
LEAST_OPERATIONS = {"cpu": 2e14, "cuda": 4e17}
# Side of the patches of most vision transformers, in px: their operations need not be exact here.
PATCH = 16
# Where compiled code is kept between jobs. It is executed, so that the folder is not a shared one,
# as torch's own default is.
CACHE = "TORCHINDUCTOR_CACHE_DIR"


class CompiledBackbone(Backbone):
    """A backbone whose batches of one size pass a compiled copy of its network.

    Batches of other sizes, such as the last, pass the network itself, and so does everything where
    the compiler fails.

    Parameters
    ----------
    backbone
        What to compile; its network is shared.
    n_images
        Images per batch.
    """

    def __init__(self, backbone: Backbone, n_images: int) -> None:
        super().__init__(backbone.network, backbone.outputs)
        self.dtype, self.n_images = backbone.dtype, n_images
        os.environ.setdefault(CACHE, str(cache_folder() / "compiled"))
        operator_for_compiler()
        # It tells of a missing CUDA wherever a toolkit is installed.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        on_cpu = next(backbone.parameters()).device.type == "cpu"
        # On a processor each core takes batches of its own.
        options: dict[str, Any] | None = {"cpp.threads": 1} if on_cpu else None
        self._run: Callable[..., list[Tensor]] | None = torch.compile(
            backbone.outputs_of, dynamic=False, options=options
        )
        self._first = Lock()
        self._tried = False

    @property
    def is_compiled(self) -> bool:
        """Whether the compiler has succeeded, or has not been asked yet."""
        return self._run is not None

    def forward(self, images: Tensor, filled: Sequence[int] | None = None) -> list[Tensor]:
        """Return [B, D] float32 for each output; see `Backbone.forward`."""
        if not getattr(self.network, "leaves_out_empty_slots", False):
            filled = None  # a network that does not look at it is compiled once
        if len(images) != self.n_images or self._run is None:
            return super().forward(images, filled)
        if self._tried:
            return self._run(images, filled)
        with self._first:
            return self._first_batch(images, filled)

    def _first_batch(self, images: Tensor, filled: Sequence[int] | None) -> list[Tensor]:
        wanted = super().forward(images, filled)
        if self._run is None or self._tried:
            return wanted if self._run is None else self._run(images, filled)
        start = time.perf_counter()
        logger.info("the network is being compiled, which takes up to a minute")
        try:
            found = self._run(images, filled)
        # Compilers and what they call fail in many ways, and the network itself is as good.
        except Exception as error:
            self._give_up(str(error).strip().partition("\n")[0])
            return wanted
        # Both round, each in its own way: as closely as the number format has to agree with fp32.
        agreement = min(map(centred_cosine, wanted, found))
        if agreement < LEAST_AGREEMENT:
            self._give_up(f"its embeddings agree to a centred cosine of {agreement:.4f} only")
            return wanted
        self._tried = True
        logger.info("compiled in %.0f s", time.perf_counter() - start)
        return found

    def _give_up(self, why: str) -> None:
        self._run = None
        logger.warning("the network runs as it is, not compiled: %s", printable(why))


def is_worth_compiling(backbone: Backbone, settings: ComputeSettings, pixels: int) -> bool:
    """Return whether a network is to be compiled.

    It depends on nothing that is measured, so that all jobs of a store decide alike.

    Parameters
    ----------
    backbone
        The network, in the number format that it runs in.
    settings
        ``compile``, and the number of cores.
    pixels
        Pixels of all images that will pass it.
    """
    if settings.compile != "auto":
        return settings.compile == "on"
    kind = next(backbone.parameters()).device.type
    # The gain is known of transformers in a reduced format.
    known = kind in LEAST_OPERATIONS and has_tokens(backbone.network)
    if not known or backbone.dtype == torch.float32:
        return False
    weights = sum(one.numel() for one in backbone.parameters() if one.ndim > 1)
    operations = 2.0 * pixels / PATCH**2 * weights
    return operations >= LEAST_OPERATIONS[kind] * (settings.threads if kind == "cpu" else 1)

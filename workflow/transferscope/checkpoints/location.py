"""Where in a checkpoint file the weights of one network are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from transferscope.checkpoints.reading import Checkpoint, Format
from transferscope.checkpoints.wrappers import plain_name

# Parts of a key that mark the network that is meant to be used, and the one that is not.
AVERAGED = {"teacher", "ema", "model_ema", "state_dict_ema", "teacher_backbone"}
TRAINED = {"student", "online"}
# The copies of weights that an optimiser keeps are not a network.
NO_NETWORK = {"optimizer", "optimizers", "optimizer_states"}


@dataclass(frozen=True)
class NetworkWeights:
    """The weights of one network within a file.

    Parameters
    ----------
    prefix
        What stands before the name of each weight, such as ``teacher.module.backbone.``.
    tensors
        Weights by name, without the prefix.
    outside
        Paths of the file's other tensors.
    format
        How the file is written.
    """

    prefix: str
    tensors: Mapping[str, Tensor]
    outside: tuple[str, ...]
    format: Format


def locate(checkpoint: Checkpoint, anchor: str, state_key: str | None) -> NetworkWeights | None:
    """Find the network that has a weight of a certain name.

    Only what stands before the anchor is stripped, and only from the start of a key: a prefix may
    be ``0.``, and ``blocks.0.`` must keep its own.

    Parameters
    ----------
    checkpoint
        The file.
    anchor
        Name of a weight that every network of the kind has, such as ``patch_embed.proj.weight``.
    state_key
        What the prefix has to start with; None: the teacher before any other, the student last.

    Returns
    -------
    NetworkWeights or None
        None where no network has such a weight.
    """
    prefixes = [
        name.removesuffix(anchor)
        for name in checkpoint.tensors
        if f".{name}".endswith(f".{anchor}")
    ]
    start = "" if state_key is None else f"{plain_name(state_key)}."
    chosen = [p for p in prefixes if p.startswith(start) and p.split(".")[0] not in NO_NETWORK]
    if not chosen:
        return None
    prefix = min(chosen, key=lambda p: (_rank(p), len(p)))
    outside = tuple(name for name in checkpoint.tensors if not name.startswith(prefix))
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    return NetworkWeights(prefix, inside, outside, checkpoint.format)


def _rank(prefix: str) -> int:
    parts = set(prefix.split("."))
    if parts & AVERAGED:
        return 0
    return 2 if parts & TRAINED else 1

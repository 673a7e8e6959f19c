"""Where in a checkpoint file the weights of one network are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from transferscope.checkpoints.reading import Checkpoint

# Parts of a key that mark the network that is meant to be used, and the one that is not.
AVERAGED = ("teacher", "ema", "model_ema", "state_dict_ema", "teacher_backbone")
TRAINED = ("student", "online")
# The copies of weights that an optimiser keeps are no network.
NO_NETWORK = ("optimizer", "optimizers", "optimizer_states")


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
    """

    prefix: str
    tensors: Mapping[str, Tensor]
    outside: tuple[str, ...]


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
    prefixes = [p for p in _prefixes(checkpoint, anchor) if _is_chosen(p, state_key)]
    if not prefixes:
        return None
    prefix = min(prefixes, key=lambda p: (_rank(p), len(p)))
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    outside = tuple(name for name in checkpoint.tensors if not name.startswith(prefix))
    return NetworkWeights(prefix, inside, outside)


def _prefixes(checkpoint: Checkpoint, anchor: str) -> list[str]:
    return [
        name.removesuffix(anchor)
        for name in checkpoint.tensors
        if name == anchor or name.endswith(f".{anchor}")
    ]


def _is_chosen(prefix: str, state_key: str | None) -> bool:
    if prefix.split(".")[0] in NO_NETWORK:
        return False
    return state_key is None or prefix.startswith(f"{state_key}.")


def _rank(prefix: str) -> int:
    parts = prefix.split(".")
    if any(part in AVERAGED for part in parts):
        return 0
    return 2 if any(part in TRAINED for part in parts) else 1

"""Names of weights without what wrappers of training put into them.

FSDP, activation checkpointing and torch.compile wrap modules anywhere in a network, so that a part
of their own stands in the middle of names. DistributedDataParallel and EMA stand in front alone,
where `location` passes over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from transferscope.errors import Problem, UserError

WRAPPERS = {
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_checkpoint_wrapped_module",
    "_orig_mod",
    "_forward_module",
}
# FSDP's weights of several modules in one row of numbers.
FLAT = ("flat_param", "_flat_param")


def plain_name(name: str) -> str:
    """Return a name without the parts of wrappers.

    Examples
    --------
    >>> plain_name("_orig_mod.blocks.0._fsdp_wrapped_module.attn.qkv.weight")
    'blocks.0.attn.qkv.weight'
    """
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def unwrapped(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return tensors under their names without wrappers.

    Raises
    ------
    UserError
        Where two names become one, or weights are flattened, so that their shapes are lost.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if any(part.startswith(FLAT) for part in name.split(".")):
            what = f"holds flattened weights of FSDP ({name}), whose shapes are lost"
            fix = "Save it with `StateDictType.FULL_STATE_DICT`."
            raise UserError(Problem(str(path), what, fix))
        plain = plain_name(name)
        if plain in found:
            what = f"holds the weight {plain} twice, with and without a wrapper of training"
            raise UserError(Problem(str(path), what, "Save the state dict of one network alone."))
        found[plain] = tensor
    return found

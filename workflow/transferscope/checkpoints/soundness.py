"""Whether the tensors of a file are weights: plain numbers that it holds, not all of them zero."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Containers and tensors of a file: thousands, of which shared references make any number.
MOST_NODES = 100_000
# Characters of a name, or plain entries of a container, that take the time of a container.
PER_NODE = 64
DEEPEST = 100
LONGEST_KEY = 8
# Several copies of the weights in one file may share their values; more than these do not.
MOST_COPIES = 16
# Below this, tensors of repeated values are still read, so that their shapes can be looked at.
MOST_BYTES = 32 * 2**30


class TreeLimitError(ValueError):
    """A file's tree of containers is no file of weights; the message says why."""


def tensors_of(tree: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of nested containers, by its path with dots.

    Raises
    ------
    TreeLimitError
        Where the tree is nested too deeply, refers to itself, or is endless by references.
    """
    visited = 0
    waiting: list[tuple[str, Any, int]] = [("", tree, 0)]
    while waiting:
        name, node, depth = waiting.pop()
        visited += 1 + len(name) // PER_NODE
        if isinstance(node, Tensor):
            yield name, node
            continue
        # Numbers and texts are passed over: trainings keep long lists of losses.
        visited += len(node) // PER_NODE
        pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
        children = [
            (_joined(name, key), child)
            for key, child in pairs
            if isinstance(child, Tensor | Mapping | list | tuple)
        ]
        if depth == DEEPEST:
            raise TreeLimitError(f"is nested more than {DEEPEST} levels deep, or holds itself")
        if visited > MOST_NODES:
            raise TreeLimitError(f"has more than {MOST_NODES:,} containers, shared ones repeated")
        # Reversed, because the last is taken first.
        waiting += [(path, child, depth + 1) for path, child in reversed(children)]


def _joined(name: str, key: Any) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    plain = all(isinstance(part, str | int | float | bool | None) for part in parts)
    if not plain or len(parts) > LONGEST_KEY:
        raise TreeLimitError(f"has a {type(key).__name__} for a key")
    return f"{name}.{key}" if name else str(key)


def fault_of_tensors(tensors: Mapping[str, Tensor]) -> str | None:
    """Return why the tensors of a file are no arrays of a network's size; None if they are.

    Nothing of them is read: they say it of themselves.
    """
    for name, tensor in tensors.items():
        if kind := _kind(tensor):
            return f"{name} is {kind}, no plain tensor"
    total = sum(map(_size, tensors.values()))
    if total > MOST_BYTES and total > MOST_COPIES * sum(map(_held, tensors.values())):
        return f"its tensors would take {total / 2**30:,.0f} GiB, but it holds far less"
    return None


def fault_of_values(tensors: Mapping[str, Tensor]) -> str | None:
    """Return why a file does not hold all values of its tensors; None if it does.

    A tensor may repeat one number a billion times.
    """
    for name, tensor in tensors.items():
        if _size(tensor) > _held(tensor):
            return f"{name} has {tensor.numel():,} values, of which the file holds fewer"
    return None


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _held(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _kind(tensor: Tensor) -> str | None:
    if tensor.is_meta:
        return "without values (meta)"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_nested:
        return "nested"
    return None if tensor.layout == torch.strided else "sparse"


def fault_of_weights(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Return why weights of the right shapes are no trained weights; None if they may be.

    Parameters
    ----------
    state
        The weights of a file, under the names of the network.
    wanted
        The weights of the network, for their types.
    """
    for name, tensor in wanted.items():
        given = state.get(name)
        if given is None or not tensor.is_floating_point():
            continue
        if not given.is_floating_point():
            kind = str(given.dtype).removeprefix("torch.")
            return f"{name} has the type {kind}; weights are floating-point numbers"
    matrices = {n: t for n, t in state.items() if n in wanted and t.ndim > 1 and t.numel() > 1}
    zero = [name for name, tensor in matrices.items() if not bool(tensor.any())]
    if zero and 2 * len(zero) > len(matrices):
        return f"{len(zero)} of {len(matrices)} matrices of weights are zero throughout"
    if zero:
        logger.warning("zero throughout: %s", ", ".join(zero))
    return None

"""What a checkpoint file says in words about its network, such as arguments of its training.

Weights do not tell how many attention heads there are, nor whether 16 positions are of 4 x 4
patches or of 2 x 8. Training scripts often store both next to the weights.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEADS = {"num_heads", "n_heads", "nheads", "num_attention_heads", "vit_heads"}
SIZES = {"img_size", "image_size", "input_size", "input_shape", "crop_size"}
DEEPEST = 6


@dataclass(frozen=True)
class Facts:
    """What a file says of a network.

    Parameters
    ----------
    heads
        Every number of attention heads that is named.
    sizes
        Every image size that is named, (height, width) in px.
    """

    heads: frozenset[int] = frozenset()
    sizes: frozenset[tuple[int, int]] = frozenset()

    @property
    def one_number_of_heads(self) -> int | None:
        """The number of heads, if the file names one, and no other."""
        return next(iter(self.heads)) if len(self.heads) == 1 else None


def facts_of(content: Any) -> Facts:
    """Return what plain data, such as a checkpoint without its weights, say of a network."""
    named = list(_named(content, 0))
    heads = {value for name, value in named if name in HEADS and _is_count(value)}
    sizes = {size for name, value in named if name in SIZES and (size := _size(value))}
    return Facts(frozenset(heads), frozenset(sizes))


def _named(node: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Namespace):
        node = vars(node)
    if not isinstance(node, Mapping) or depth > DEEPEST:
        return
    for key, value in node.items():
        yield str(key), value
        yield from _named(value, depth + 1)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1024


def _size(value: Any) -> tuple[int, int] | None:
    """Return (height, width) of a list of two numbers, or of three with the channels."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) not in (2, 3):
        return None
    height, width = value[-2:]
    both = all(isinstance(n, int) and 0 < n < 1 << 16 for n in (height, width))
    return (height, width) if both else None

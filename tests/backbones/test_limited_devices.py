"""A device without float64 and wide unsigned integers is asked for none, from tile to embedding.

No test has such a device: tensors of `meta`, which have a type and no values, stand for its own.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tile_stores import CHANNELS, SETTINGS, card
from transferscope.backbones import network_embedder
from transferscope.backbones.network_embedder import NetworkEmbedder
from transferscope.channels.assignment import assign
from transferscope.runtime import devices
from transferscope.training.fabric import prepare

META = torch.device("meta")


class Watched(TorchDispatchMode):
    """Notes every type of numbers that is put onto `meta`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        self.found |= {leaf.dtype for leaf in leaves if leaf.device == META}
        return out


@pytest.mark.parametrize(
    "normalization",
    [
        {},
        {"kind": "self"},
        {"intensity": "tile", "percentiles": [1, 99]},
        {"bits": 8},
        {"intensity": "joint"},
    ],
)
def test_tiles_become_embeddings_in_numbers_that_the_device_has(
    monkeypatch: pytest.MonkeyPatch, normalization: Mapping[str, Any]
) -> None:
    monkeypatch.setattr(devices, "LIMITED", ("meta",))
    allotted = devices.AllottedDevice(META, lambda: None)
    monkeypatch.setattr(network_embedder, "allotted_device", lambda _name: allotted)
    given = card(normalization={"mean": [0.3, 0.4, 0.5], "std": [0.2, 0.2, 0.2], **normalization})
    limits = np.array([[0, 3000]] * 3, dtype=np.float32)
    assignment = assign("map", CHANNELS, given.named_slots)
    tiles = np.zeros((2, 3, 48, 48), dtype=np.uint16)
    with Watched() as watched:
        embedder = NetworkEmbedder(
            given, Path("tiny.yaml"), CHANNELS, limits, assignment, SETTINGS, (3, 48, 48)
        )
        (found,) = embedder._batches_on_gpu(torch.from_numpy(tiles))
    embedder.close()
    assert found.device == META
    assert found.dtype == torch.float32
    assert len(found) == 2
    assert torch.float32 in watched.found
    assert not watched.found & set(devices.LACKING)


def test_numbers_that_a_device_lacks_stay_on_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The best measures so far are float64; a training reads them on any device."""
    monkeypatch.setattr(devices, "LIMITED", ("meta",))
    layer, best = torch.nn.Linear(2, 2), torch.nn.Module()
    best.register_buffer("values", torch.zeros(2, dtype=torch.float64))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _type: False)  # meta has none
    fabric: Any = SimpleNamespace(device=META, autocast=nullcontext)
    prepare([layer, best], fabric)
    assert layer.weight.device == META
    assert best.values.tolist() == [0.0, 0.0]
    monkeypatch.setattr(devices, "LIMITED", ())
    prepare([best], fabric)
    assert best.values.device == META

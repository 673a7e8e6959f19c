"""The order of copies and computations, with streams that only take notes: no GPU is needed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from transferscope.backbones.device_copies import BATCHES_AHEAD, DeviceCopies

CPU = torch.device("cpu")


class Event:
    def __init__(self, notes: list[str], name: str) -> None:
        self.notes, self.name = notes, name

    def synchronize(self) -> None:
        self.notes.append(f"host waits for {self.name}")


class Stream:
    def __init__(self, notes: list[str], name: str) -> None:
        self.notes, self.name, self.events = notes, name, 0

    def record_event(self) -> Event:
        self.events += 1
        return Event(self.notes, f"{self.name} {self.events}")

    def wait_stream(self, other: "Stream") -> None:
        self.notes.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    @contextmanager
    def used(device: torch.device) -> Iterator[None]:
        found.append(f"on {device}")
        yield

    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream(found, "copies"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream(found, "network"))
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "device", used)

    def record(tensor: torch.Tensor, stream: Stream) -> None:
        found.append(f"kept for {stream.name}")

    monkeypatch.setattr(torch.Tensor, "record_stream", record)
    return found


def test_the_network_waits_for_the_copy_and_the_host_for_the_network_of_two_before(
    notes: list[str],
) -> None:
    copies = DeviceCopies(CPU)
    for _ in range(BATCHES_AHEAD + 1):
        batch = torch.ones(2)
        assert torch.equal(copies.copied(batch), batch)
        copies.computed()
    each = ["network waits for copies", "kept for network"]
    assert notes == [*each, *each, "host waits for network 1", *each]


def test_the_host_waits_for_the_copies_of_the_buffer_that_it_overwrites_and_no_other(
    notes: list[str],
) -> None:
    copies = DeviceCopies(CPU)
    buffers: list[Any] = [np.zeros((4, 2)) for _ in range(2)]
    copies.wait(buffers[0])
    assert notes == []
    copies.taken(buffers[0][:3])
    copies.taken(buffers[1])
    copies.wait(buffers[0])
    copies.wait(buffers[0])
    assert notes == ["on cpu", "host waits for copies 1"]


def test_rows_that_come_back_are_waited_for_where_they_are_used(
    notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = []
    empty = torch.empty

    def noted(*shape: Any, pin_memory: bool, **kind: Any) -> torch.Tensor:
        pinned.append(pin_memory)
        return empty(*shape, **kind)

    monkeypatch.setattr(torch, "empty", noted)
    rows = torch.arange(6.0).reshape(2, 3)
    wait = DeviceCopies(CPU).returned(rows)
    assert (notes, pinned) == ([], [True])
    assert torch.equal(wait(), rows)
    assert notes == ["on cpu", "host waits for network 1"]

"""The device of a job: what is chosen, what is refused, and what is never sent there."""

import numpy as np
import pytest
import torch

from transferscope.backbones.precision import choose_precision
from transferscope.config.compute import ComputeSettings
from transferscope.errors import UserError
from transferscope.runtime import devices
from transferscope.runtime.devices import allotted_device, can_hold, moved, torch_device
from transferscope.training.fabric import training_fabric

MPS = torch.device("mps")


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [
        (False, False, {"auto": "cpu", "cpu": "cpu", "cuda": None, "mps": None}),
        (True, False, {"auto": "cuda", "cpu": "cpu", "cuda": "cuda", "mps": None}),
        # What was never tried is taken only where it is asked for.
        (False, True, {"auto": "cpu", "cpu": "cpu", "cuda": None, "mps": "mps"}),
    ],
)
def test_a_device_is_chosen_or_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: dict[str, str | None]
) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)
    for name, kind in expected.items():
        if kind is not None:
            assert torch_device(name).type == kind
            continue
        with pytest.raises(UserError, match="no usable") as caught:
            torch_device(name)
        (problem,) = caught.value.problems
        assert problem.where == "compute.device"
        assert "compute.device: auto" in problem.fix


def test_apple_s_gpu_is_reserved_by_nobody_and_tries_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=False, mps=True)
    allotted = allotted_device("mps")
    allotted.release()
    assert allotted.device == MPS
    assert choose_precision(MPS) == "fp16"
    assert choose_precision(MPS, "fp32") == "fp32"
    with pytest.raises(UserError, match="one GPU"):
        training_fabric(ComputeSettings(device="mps"), processes=2)


@pytest.mark.parametrize("limited", [(), ("meta",)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.uint32, np.float32, np.float64])
def test_a_device_is_sent_only_numbers_that_it_has(
    monkeypatch: pytest.MonkeyPatch, limited: tuple[str, ...], kind: type
) -> None:
    monkeypatch.setattr(devices, "LIMITED", limited)
    values = torch.from_numpy(np.array([0, 1, 255], dtype=kind))
    found = moved(values, torch.device("meta"))
    assert found.device.type == "meta"
    changes = bool(limited) and values.dtype in devices.LACKING
    assert found.dtype == (torch.float32 if changes else values.dtype)
    assert can_hold(torch.device("meta"), [values]) is not changes
    assert can_hold(torch.device("cpu"), [values])


def test_raw_tiles_keep_their_values_in_the_numbers_of_a_limited_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "LIMITED", ("cpu",))
    values = np.arange(2**16, dtype=np.uint16)
    found = moved(torch.from_numpy(values), torch.device("cpu"))
    np.testing.assert_array_equal(found.numpy(), values)


def free_gpu(monkeypatch: pytest.MonkeyPatch, free: int) -> list[str]:
    """Pretend a GPU with so many free bytes; return what is done with it, in order."""
    pretend(monkeypatch, cuda=True, mps=False)
    done: list[str] = []

    def allotted(name: str) -> devices.AllottedDevice:
        done.append(name)
        return devices.AllottedDevice(torch.device("cuda", 1), lambda: done.append("released"))

    monkeypatch.setattr(devices, "allotted_device", allotted)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    return done


@pytest.mark.parametrize(
    ("name", "free", "taken", "done"),
    [
        ("cpu", 100, False, []),
        ("auto", 100, True, ["cuda"]),
        ("auto", 99, False, ["cuda", "released"]),
        ("cuda", 99, True, ["cuda"]),
    ],
)
def test_a_probe_takes_a_gpu_that_has_room(
    monkeypatch: pytest.MonkeyPatch, name: str, free: int, taken: bool, done: list[str]
) -> None:
    found = free_gpu(monkeypatch, free)
    device = devices.gpu_for_probes(name, least_bytes=100)
    assert device == (torch.device("cuda", 1) if taken else None)
    assert found == done


def test_a_probe_without_a_gpu_runs_on_the_processor_unless_it_must(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, cuda=False, mps=True)
    assert devices.gpu_for_probes("auto", 0) is None
    with pytest.raises(UserError, match="no usable GPU") as caught:
        devices.gpu_for_probes("cuda", 0)
    (problem,) = caught.value.problems
    assert problem.where == "compute.probes"
    assert "compute.probes: auto" in problem.fix

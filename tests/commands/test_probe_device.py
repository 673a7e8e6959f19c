"""The device that the command gives to a probe."""

from dataclasses import replace

import pytest
import torch

from transferscope.commands import probe as module
from transferscope.errors import UserError
from transferscope.probes.probe import GPU_BYTES, GPU_COPIES, FrozenProbe
from transferscope.probes.registry import HEADS, KNN
from transferscope.runtime import devices

SIZE = 1000


@pytest.mark.parametrize("probe", [HEADS, KNN])
def test_a_probe_is_given_the_device_that_has_room_for_its_embeddings(
    probe: FrozenProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def found(name: str, least_bytes: int) -> torch.device:
        asked.append((name, least_bytes))
        return torch.device("cuda", 1)

    monkeypatch.setattr(devices, "gpu_for_probes", found)
    assert module._gpu(probe, "auto", SIZE) == {"device": torch.device("cuda", 1)}
    assert asked == [("auto", GPU_COPIES * SIZE + GPU_BYTES)]
    assert module._gpu(probe, "cpu", SIZE) == {}
    assert module._gpu(replace(probe, on_gpu=False), "cuda", SIZE) == {}
    assert len(asked) == 1


def test_a_gpu_that_is_too_small_is_said_in_words() -> None:
    with pytest.raises(UserError, match="too small") as caught, module._enough_gpu_memory():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")
    (problem,) = caught.value.problems
    assert "compute.probes: cpu" in problem.fix

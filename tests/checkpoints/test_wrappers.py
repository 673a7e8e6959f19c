"""Names of weights in whatever wrappers: the same weights, or a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoint_files import save, vit_state
from transferscope.backbones.inspection import inspect_checkpoint
from transferscope.checkpoints.facts import facts_of
from transferscope.checkpoints.reading import read_checkpoint
from transferscope.checkpoints.wrappers import WRAPPERS, unwrapped
from transferscope.errors import UserError

FILE = Path("w.pth")
PARTS = st.sampled_from(sorted(WRAPPERS))
STATE = vit_state(depth=1)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_wrappers_anywhere_in_names_are_left_out(data: st.DataObject) -> None:
    wrapped = {}
    for name, tensor in STATE.items():
        parts = name.split(".")
        for _ in range(data.draw(st.integers(0, 2))):
            parts.insert(data.draw(st.integers(0, len(parts) - 1)), data.draw(PARTS))
        wrapped[".".join(parts)] = tensor
    assert unwrapped(wrapped, FILE).keys() == STATE.keys()


@pytest.mark.parametrize("prefix", ["module.", "module._orig_mod.", "_orig_mod.module.", ""])
@pytest.mark.parametrize("outer", ["state_dict", "model", None])
def test_wrapped_networks_are_recognised(tmp_path: Path, prefix: str, outer: str | None) -> None:
    state = {prefix + name: tensor for name, tensor in vit_state().items()}
    path = save({outer: state} if outer else state, tmp_path / "w.pth")
    found = inspect_checkpoint(path)
    assert found.problem is None
    assert found.matched == len(vit_state())


def test_flattened_weights_are_refused(tmp_path: Path) -> None:
    for name in ("_flat_param", "blocks.0._fsdp_wrapped_module._flat_param", "x.flat_param_0"):
        path = save({name: torch.ones(3)}, tmp_path / "w.pth")
        with pytest.raises(UserError, match="FULL_STATE_DICT"):
            read_checkpoint(path)


def test_facts_in_words() -> None:
    content = {"args": {"num_heads": 6, "img_size": [3, 32, 128]}, "epoch": 3, "heads": True}
    facts = facts_of(content)
    assert facts.one_number_of_heads == 6
    assert facts.sizes == {(32, 128)}
    assert facts_of({**content, "decoder": {"num_heads": 8}}).one_number_of_heads is None
    cyclic: dict[str, object] = {"num_heads": 4}
    cyclic["self"] = cyclic
    assert facts_of(cyclic).heads == {4}


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(STATE)),
    value=st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    at=st.integers(0),
)
def test_one_broken_number_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: float, at: int
) -> None:
    state = {key: tensor.clone() for key, tensor in STATE.items()}
    state[name].view(-1)[at % state[name].numel()] = value
    path = save(state, tmp_path_factory.mktemp("weights") / "w.safetensors")
    problem = inspect_checkpoint(path).problem
    assert problem is not None
    assert f"1 of {len(state)} weights hold NaN or infinity: {name}" in problem.what

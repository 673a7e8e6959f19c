from __future__ import annotations

import argparse
import io
import os
import pickle
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from transferscope.checkpoints.reading import count_values, read_checkpoint
from transferscope.errors import UserError

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


class Hostile:
    """Pickles as a call of os.system."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


class Opening:
    """Pickles as a call of open, which makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.trace), "w")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("hidden", ["top", "optimizer", "teacher"])
@pytest.mark.parametrize(("kind", "named"), [(Hostile, "system"), (Opening, "open")])
def test_a_hostile_pickle_is_refused_and_never_run(
    tmp_path: Path, kind: Any, named: str, hidden: str, legacy: bool
) -> None:
    trace = tmp_path / "was_run"
    bomb = kind(trace)
    content: dict[str, Any] = {"teacher": dict(WEIGHTS), "optimizer": {"state": {0: {"step": 1}}}}
    if hidden == "top":
        content["extra"] = bomb
    elif hidden == "optimizer":
        content["optimizer"]["state"][0]["exp_avg"] = [torch.ones(2), bomb]
    else:
        content["teacher"]["a.weight"] = bomb
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=rf"could run code: it asks for `\w+\.{named}`") as caught:
        read_checkpoint(tmp_path / "w.pth")
    assert "w.pth" in str(caught.value)
    assert not trace.exists()


def test_the_hostile_file_would_run_if_it_were_unpickled(tmp_path: Path) -> None:
    """The traces above mean something: plain unpickling does leave them."""
    pickle.loads(pickle.dumps(Opening(tmp_path / "was_run"))).close()
    assert (tmp_path / "was_run").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.bin"])
def test_a_plain_pickle_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "was_run"
    (tmp_path / name).write_bytes(pickle.dumps(Hostile(trace)))
    with pytest.raises(UserError, match=name):
        read_checkpoint(tmp_path / name)
    assert not trace.exists()


def test_an_array_of_objects_hides_nothing(tmp_path: Path) -> None:
    """NumPy's own pickles may hold further objects."""
    trace = tmp_path / "was_run"
    content = {"w": torch.ones(1), "schedule": np.array([Hostile(trace)], dtype=object)}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match="could run code"):
        read_checkpoint(tmp_path / "w.pth")
    assert not trace.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_what_training_scripts_leave_is_read_as_plain_data(tmp_path: Path, legacy: bool) -> None:
    content = {
        "teacher": OrderedDict(WEIGHTS), "epoch": 3, "best": np.float64(0.5), "n": np.int64(7),
        "args": argparse.Namespace(lr=0.1, out=PurePosixPath("a/b").name),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    }  # fmt: skip
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(tmp_path / "w.pth")
    assert found.format == "torch"
    assert found.entries == tuple(content)
    assert set(found.tensors) == {
        "teacher.a.weight", "teacher.b", "optimizer.state.0.exp_avg"
    }  # fmt: skip
    assert torch.equal(found.tensors["teacher.a.weight"], WEIGHTS["a.weight"])
    assert count_values(found.tensors) == 11


def test_folders_among_the_arguments_are_text(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1), "args": argparse.Namespace(out=tmp_path)}, tmp_path / "w.pth")
    assert set(read_checkpoint(tmp_path / "w.pth").tensors) == {"w"}


def test_safetensors_are_read_and_told_by_their_content(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    found = read_checkpoint(tmp_path / "w.safetensors")
    assert found.format == "safetensors"
    assert set(found.tensors) == set(WEIGHTS)
    torch.save(WEIGHTS, tmp_path / "misnamed.safetensors")
    assert read_checkpoint(tmp_path / "misnamed.safetensors").format == "torch"


def test_a_header_whose_length_begins_as_a_pickle_does_is_still_a_header(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    for length in range(300):
        save_file(WEIGHTS, path, metadata={"note": "x" * length})
        if path.read_bytes()[:1] == b"\x80":
            break
    assert path.read_bytes()[:1] == b"\x80"
    assert read_checkpoint(path).format == "safetensors"


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_absent_and_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / name)
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(UserError, match=name):
        read_checkpoint(tmp_path / name)


def test_a_cut_off_file_is_named(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not a readable PyTorch file"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_file_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "args": {}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no weights, only epoch, args"):
        read_checkpoint(tmp_path / "w.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")


def test_a_whole_pickled_network_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"asks for `torch\.nn\.modules\.linear\.Linear`"):
        read_checkpoint(tmp_path / "w.pth")


def valid_file() -> bytes:
    buffer = io.BytesIO()
    content = {"w": torch.ones(3), "best": np.float64(0.5), "args": argparse.Namespace(a=1)}
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


VALID = valid_file()


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_a_damaged_file_is_read_or_refused_but_never_a_traceback(
    tmp_path: Path, edits: list[tuple[int, int]]
) -> None:
    content = bytearray(VALID)
    for place, value in edits:
        content[place] = value
    (tmp_path / "w.pth").write_bytes(content)
    # Whatever it is, it is read, or refused with a message that names it.
    with suppress(UserError):
        assert read_checkpoint(tmp_path / "w.pth").tensors

"""Small files that would take for ever, or all memory: refused with a sentence, at once."""

from __future__ import annotations

import resource
import struct
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from checkpoint_files import vit_state
from transferscope.cards import FileCard
from transferscope.checkpoints.loading import check_checkpoint
from transferscope.checkpoints.pickle_limits import LEGACY_MAGIC
from transferscope.checkpoints.reading import read_checkpoint
from transferscope.checkpoints.soundness import fault_of_weights
from transferscope.errors import UserError

WEIGHT = torch.ones(2, 2)
SECONDS = 20
MEMORY = 8 * 2**30
fuzzed = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """Fail, and do not take the machine along, where a bound does not hold."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(path: Path) -> str:
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    assert time.monotonic() - started < SECONDS
    problem = caught.value.problems[0]
    assert problem.where == str(path)
    assert problem.fix
    return problem.what


def as_zip(path: Path, code: bytes, storage: bytes = bytes(64), compression: int = 0) -> Path:
    """Write a file as torch.save does, around a pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + code + b".")
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", storage)
    return path


def as_legacy(path: Path, code: bytes, storage: bytes = bytes(64)) -> Path:
    """Write a file as torch.save did before version 1.6, around a pickle."""
    torch.save({}, path, _use_new_zipfile_serialization=False)
    start = path.read_bytes()[: path.read_bytes().index(b"}q\x00.", 60)]
    assert start.startswith(LEGACY_MAGIC)
    path.write_bytes(start + b"\x80\x02" + code + b"." + b"\x80\x02]q\x00.")
    return path


WRITERS: list[Callable[..., Path]] = [as_zip, as_legacy]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def storage(n: int, kind: str = "torch FloatStorage") -> bytes:
    module, name = kind.split()
    identity = text("storage") + f"c{module}\n{name}\n".encode() + text("0") + text("cpu")
    return b"(" + identity + number(n) + b"tQ"


def tensor(n: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """Return the opcodes of a tensor of a storage of n values."""
    sizes = b"(" + b"".join(map(number, size)) + b"t"
    strides = b"(" + b"".join(map(number, stride)) + b"t"
    rest = storage(n) + number(0) + sizes + strides + b"\x89" + b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + rest + b"tR"


def mapping(value: bytes, key: bytes = text("w")) -> bytes:
    return b"}" + key + value + b"s"


@pytest.mark.parametrize("legacy", [False, True])
@fuzzed
@given(data=st.data())
def test_shared_and_cyclic_references(tmp_path: Path, legacy: bool, data: st.DataObject) -> None:
    depth = data.draw(st.integers(25, 90))
    kinds = st.sampled_from([dict, list, OrderedDict, tuple])
    node: Any = {"w": WEIGHT}
    for level in range(depth):
        kind = data.draw(kinds)
        children = [node] * data.draw(st.integers(2, 3))
        named = {f"{level}{i}": child for i, child in enumerate(children)}
        node = kind(named) if issubclass(kind, dict) else kind(children)
    path = tmp_path / "w.pth"
    torch.save({"state_dict": node}, path, _use_new_zipfile_serialization=not legacy)
    assert path.stat().st_size < 20_000
    assert "containers" in (what := refused(path)) or "endless" in what


@pytest.mark.parametrize("kind", [dict, list])
def test_a_container_that_holds_itself(tmp_path: Path, kind: Any) -> None:
    node: Any = kind()
    inner = {"w": WEIGHT, "again": node}
    node.update(inner) if kind is dict else node.append(inner)
    torch.save({"model": node}, tmp_path / "w.pth")
    assert "holds itself" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("opening", [b"]", b"}"])
@pytest.mark.parametrize("depth", [150, 3_000, 200_000])
def test_deep_nesting(tmp_path: Path, write: Any, opening: bytes, depth: int) -> None:
    inner = (b"]" if opening == b"]" else b"}" + text("a")) * depth + b"}"
    closing = (b"a" if opening == b"]" else b"s") * depth
    path = write(tmp_path / "w.pth", mapping(inner + closing))
    assert "nested" in refused(path)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("levels", [25, 60, 120])
@pytest.mark.parametrize("width", [2, 3])
def test_a_key_that_is_hashed_for_ever(tmp_path: Path, write: Any, levels: int, width: int) -> None:
    again = b"".join(
        b"h" + bytes([i]) + (b"h" + bytes([i])) * (width - 1) + bytes([0x84 + width]) + b"q"
        + bytes([i + 1])
        for i in range(levels)
    )  # fmt: skip
    path = write(tmp_path / "w.pth", mapping(b"K\x01", b")q\x00" + again))
    assert path.stat().st_size < 5_000
    assert "endless" in refused(path)


@pytest.mark.parametrize("write", WRITERS)
def test_deep_tuples_as_a_key(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "w.pth", mapping(b"K\x01", b")" + b"\x85" * 300_000))
    assert "endless" in refused(path)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("n", [10**6, 10**9, 10**12, 2**62])
@pytest.mark.parametrize("kind", ["torch FloatStorage", "torch ByteStorage", "torch BoolStorage"])
def test_a_storage_larger_than_its_file(tmp_path: Path, write: Any, n: int, kind: str) -> None:
    path = write(tmp_path / "w.pth", mapping(storage(n, kind)))
    assert "declares" in refused(path)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    "called", ["__builtin__\nbytearray", "builtins\nbytearray", "torch\nFloatTensor",
               "torch\nTensor", "torch.storage\nUntypedStorage", "torch.cuda\nFloatTensor"],
)  # fmt: skip
@pytest.mark.parametrize("how", [b"R", b"\x81"])
def test_memory_asked_for_by_size(tmp_path: Path, write: Any, called: str, how: bytes) -> None:
    call = f"c{called}\n".encode() + number(10**11) + b"\x85" + how
    path = write(tmp_path / "w.pth", mapping(call))
    assert "size" in refused(path)


@given(exponent=st.integers(9, 17), dimensions=st.integers(1, 4))
@fuzzed
def test_one_number_repeated(tmp_path: Path, exponent: int, dimensions: int) -> None:
    side = round(10 ** (exponent / dimensions))
    code = mapping(tensor(16, (side,) * dimensions, (0,) * dimensions))
    path = as_zip(tmp_path / "w.pth", code)
    if side**dimensions * 4 > 32 * 2**30:
        assert "GiB" in refused(path)
    else:  # its shape may be looked at
        assert read_checkpoint(path).tensors["w"].shape == (side,) * dimensions


def test_compressed_parts(tmp_path: Path) -> None:
    code, zeros = mapping(tensor(16, (4,), (1,))), bytes(10**7)
    path = as_zip(tmp_path / "w.pth", code, zeros, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    assert "compressed" in refused(path)


ODD: dict[str, Callable[[], torch.Tensor]] = {
    "meta": lambda: torch.ones(2, 2, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed rows": lambda: torch.eye(3).to_sparse_csr(),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("place", ["model", "optimizer"])
def test_tensors_that_are_no_arrays(tmp_path: Path, kind: str, place: str) -> None:
    torch.save({"model": {"w": WEIGHT}, place: {"v": ODD[kind]()}}, tmp_path / "w.pth")
    assert "tensor" in refused(tmp_path / "w.pth")


def card(path: Path) -> FileCard:
    return FileCard(
        source="file",
        name="tiny",
        weights=path,
        architecture="vit_tiny_patch16_224",
        arguments={"depth": 2, "embed_dim": 64, "num_heads": 1},
        slots=[{"name": n} for n in "rgb"],
        input_size=48,
        normalization={"kind": "self"},
        outputs=[{"name": "cls"}],
    )


def problems_with(path: Path, state: dict[str, torch.Tensor]) -> str:
    from transferscope.backbones.networks import network_without_values

    torch.save(state, path) if path.suffix == ".pth" else save_file(state, path)
    return "\n".join(
        map(str, check_checkpoint(network_without_values(card(path)), card(path), path))
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.uint8, torch.int64])
def test_weights_that_are_no_floating_point_numbers(
    tmp_path: Path, suffix: str, dtype: torch.dtype
) -> None:
    state = vit_state()
    path = tmp_path / f"w{suffix}"
    assert not problems_with(path, state)
    assert not problems_with(path, {name: t.half() for name, t in state.items()})
    for name in ("blocks.1.attn.qkv.weight", "norm.bias"):
        said = problems_with(path, {**state, name: state[name].to(dtype)})
        assert name in said
        assert str(dtype).removeprefix("torch.") in said


def test_weights_that_are_all_zero(tmp_path: Path) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in vit_state().items()}
    assert "zero throughout" in problems_with(tmp_path / "w.pth", state)


def test_some_matrices_may_be_zero(caplog: pytest.LogCaptureFixture) -> None:
    # Some networks start with zeros in their last layers.
    state = {**vit_state(), "pos_embed": torch.zeros(1, 10, 64)}
    assert fault_of_weights(state, state) is None
    assert "pos_embed" in caplog.text


def test_repeated_values_are_not_loaded(tmp_path: Path) -> None:
    state = {name: torch.ones(1).expand(tensor.shape) for name, tensor in vit_state().items()}
    assert "fewer" in problems_with(tmp_path / "w.pth", state)


def test_files_as_trainings_write_them_are_read(tmp_path: Path) -> None:
    state = vit_state()
    content = {
        "teacher": state,
        "ema": state,
        "epoch": 300,
        "seed": 2**60,
        "losses": [0.5] * 200_000,
        "shape": {("a", 0): (3, 224, 224)},
        "random": bytearray(b"abc"),
        "optimizer": {"state": {i: {"exp_avg": WEIGHT} for i in range(2000)}, "betas": (0.9, 0.99)},
    }
    for legacy in (False, True):
        path = tmp_path / f"{legacy}.pth"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        assert len(read_checkpoint(path).tensors) == 2 * len(state) + 2000

from __future__ import annotations

import numpy as np
import pytest
import torch

from transferscope.backbones import precision
from transferscope.backbones.precision import centred_cosine, choose_precision


def embeddings(rows: int = 8) -> torch.Tensor:
    """Return embeddings with a large common part, as networks give."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(size=(rows, 32)) + 20 * rng.normal(size=32))


def test_centred_cosine_equals_its_formula() -> None:
    a, b = embeddings(), embeddings() + 0.3 * torch.randn(8, 32, generator=torch.manual_seed(0))
    x, y = (v.numpy() - v.numpy().mean(axis=0) for v in (a, b))
    cosines = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert centred_cosine(a, b) == pytest.approx(cosines.min(), abs=1e-9)


def test_it_sees_what_the_plain_cosine_hides() -> None:
    a = embeddings()
    wrong = a.mean(dim=0) + (a - a.mean(dim=0)).flip(0)
    assert float(torch.cosine_similarity(a, wrong).min()) > 0.98
    assert centred_cosine(a, wrong) < 0.5


def test_one_wrong_row_is_enough() -> None:
    a = embeddings()
    b = a.clone()
    b[3] = a[5]
    assert centred_cosine(a, b) < 0.8


def test_a_constant_offset_is_no_error() -> None:
    a = embeddings()
    assert centred_cosine(a, a + 3) == pytest.approx(1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_never_agree(bad: float) -> None:
    b = embeddings()
    b[0, 0] = bad
    assert centred_cosine(embeddings(), b) == -1
    assert centred_cosine(b, embeddings()) == -1


def test_a_batch_of_one_is_compared_by_the_plain_cosine() -> None:
    a = embeddings(1)
    assert centred_cosine(a, a * 1.001) == pytest.approx(1)
    assert centred_cosine(a, -a) == pytest.approx(-1)


def test_equal_tiles_are_compared_by_the_plain_cosine() -> None:
    a = embeddings(1).expand(5, -1)
    assert centred_cosine(a, a + 1e-4 * torch.randn(5, 32)) > 0.999
    assert centred_cosine(torch.zeros(4, 8), torch.zeros(4, 8)) == 1


def test_what_is_asked_for_is_tried() -> None:
    for name in ("fp32", "bf16", "fp16"):
        assert choose_precision(torch.device("cpu"), name) == name


@pytest.mark.parametrize(
    ("supported", "capabilities", "expected"),
    [
        (True, {"avx512_bf16": True}, "bf16"),
        (True, {"amx_bf16": True}, "bf16"),
        (True, {"avx512_f": True, "avx512_bf16": False}, "fp32"),
        (False, {"avx512_bf16": True}, "fp32"),
    ],
)
def test_a_processor_gets_bf16_only_where_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool, capabilities: dict, expected: str
) -> None:
    class Ops:
        _is_mkldnn_bf16_supported = staticmethod(lambda: supported)

    monkeypatch.setattr(precision.torch.ops, "mkldnn", Ops)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_precision(torch.device("cpu")) == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_gets_bf16_where_it_has_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    assert choose_precision(torch.device("cuda")) == expected

"""Measuring a machine: plausible, and without side effects."""

from pathlib import Path

import pytest
import torch

from transferscope.costs.products import product_rate
from transferscope.costs.rates import machine_rates


def test_the_rate_is_that_of_a_product_and_the_threads_are_restored():
    before = torch.get_num_threads()
    # Anything from a very slow to an impossibly fast core.
    assert 1e9 < product_rate(torch.device("cpu"), "fp32", threads=1) < 1e13
    assert torch.get_num_threads() == before


def test_a_stated_rate_is_not_measured(tmp_path: Path):
    rates = machine_rates("cuda", "auto", tflops=100, kept=tmp_path / "rates.json")
    assert not rates.measured
    assert rates.embedding == pytest.approx(45e12)


def test_the_processor_is_measured_once_in_each_format_that_is_asked_for(
    tmp_path: Path, monkeypatch
):
    kept = tmp_path / "rates.json"
    first = machine_rates("cpu", "fp32", kept=kept)
    assert (first.device, first.precision, first.measured) == ("cpu", "fp32", True)
    assert first.embedding > 0
    assert first.heads > 0

    def measured(*_: object) -> tuple[str, str, float]:
        return "cpu", "bf16", 1e9

    monkeypatch.setattr("transferscope.costs.products.measured_products", measured)
    assert machine_rates("cpu", "fp32", kept=kept) == first
    assert machine_rates("cpu", "bf16", kept=kept).precision == "bf16"
    # On more threads, or another machine, it is another rate.
    monkeypatch.setenv("OMP_NUM_THREADS", "63")
    assert machine_rates("cpu", "fp32", kept=kept).embedding != first.embedding

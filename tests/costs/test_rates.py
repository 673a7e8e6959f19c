"""Measuring a machine: plausible, and without side effects."""

import pytest
import torch

from transferscope.costs.rates import machine_rates, product_rate


def test_the_rate_is_that_of_a_product_and_the_threads_are_restored():
    before = torch.get_num_threads()
    # Anything from a very slow to an impossibly fast core.
    assert 1e9 < product_rate(torch.device("cpu"), "fp32", threads=1) < 1e13
    assert torch.get_num_threads() == before


def test_a_stated_rate_is_not_measured():
    rates = machine_rates("cuda", "auto", tflops=100)
    assert not rates.measured
    assert rates.embedding == pytest.approx(45e12)


def test_the_processor_is_measured_in_the_format_that_is_asked_for():
    rates = machine_rates("cpu", "fp32")
    assert (rates.device, rates.precision, rates.measured) == ("cpu", "fp32", True)
    assert rates.embedding > 0
    assert rates.heads > 0

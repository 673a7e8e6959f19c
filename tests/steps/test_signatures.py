"""Functions that Snakemake calls are the same with a remembered signature."""

import inspect

from snakemake.common import get_input_function_aux_params

from transferscope.steps.signatures import with_signature


class Inputs:
    def of(self, wildcards, attempt):
        return wildcards, attempt


def test_the_signature_is_the_functions_own():
    def memory(wildcards, attempt=1):
        return wildcards, attempt

    kept = with_signature(memory)
    assert inspect.signature(kept) == inspect.signature(memory)
    assert inspect.signature(kept) is inspect.signature(kept)
    assert kept("a", attempt=2) == ("a", 2)


def test_snakemake_gives_a_method_what_it_asks_for():
    kept = with_signature(Inputs().of)
    candidates = {"attempt": 2, "input": ["a"]}
    assert get_input_function_aux_params(kept, candidates) == {"attempt": 2}
    assert list(inspect.signature(kept).parameters) == ["wildcards", "attempt"]
    assert inspect.signature(kept) is inspect.signature(kept)

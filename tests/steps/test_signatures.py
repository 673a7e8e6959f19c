"""Functions that Snakemake calls are the same with a remembered signature."""

import inspect

from snakemake.common import get_input_function_aux_params

from transferscope.steps.signatures import with_signature, with_signatures


@with_signatures
class Inputs:
    def of(self, wildcards, attempt):
        return wildcards, attempt


def test_the_signature_is_the_functions_own():
    def memory(wildcards, attempt=1):
        return wildcards, attempt

    plain = inspect.signature(memory)
    assert inspect.signature(with_signature(memory)) == plain
    assert inspect.signature(memory) is inspect.signature(memory)


def test_snakemake_gives_a_method_what_it_asks_for():
    candidates = {"attempt": 2, "input": ["a"]}
    assert get_input_function_aux_params(Inputs().of, candidates) == {"attempt": 2}
    assert list(inspect.signature(Inputs().of).parameters) == ["wildcards", "attempt"]

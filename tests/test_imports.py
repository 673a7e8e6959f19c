"""A command imports what it uses and no more: a study starts it hundreds of times."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "timm", "sklearn", "scipy.stats", "matplotlib", "zarr", "pandas", "snakemake"}
# What a module may import of these.
USED = {
    "transferscope": set(),
    "transferscope.study.opened": {"pandas", "zarr"},
    "transferscope.commands.app": set(),
    "transferscope.steps.preflight": {"pandas", "zarr"},
    "transferscope.compare.study": {"pandas", "zarr", "scipy.stats"},
    "transferscope.figures.dispatch": {"pandas", "matplotlib"},
}


@pytest.mark.parametrize("module", USED)
def test_a_module_imports_no_library_that_it_does_not_use(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) <= USED[module]

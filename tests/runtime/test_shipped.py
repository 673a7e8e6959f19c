"""What comes with the package, and how it says what to install."""

import re

import pytest

from factories import REPOSITORY
from transferscope.runtime import shipped
from transferscope.runtime.shipped import install_hint


def test_a_clone_is_its_own_package() -> None:
    assert shipped.SHIPPED == REPOSITORY
    assert shipped.IS_CLONE
    assert shipped.SNAKEFILE.is_file()
    assert shipped.DEMO.is_file()
    assert (shipped.PROFILES / "slurm/config.yaml").is_file()


def test_hints_are_for_the_place_where_the_user_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert install_hint("harmony") == f"Install it: `make install` in {REPOSITORY}"
    assert f"--editable '{REPOSITORY}[umap]'" in install_hint("umap")
    monkeypatch.setattr(shipped, "IS_CLONE", False)
    for extra in ("harmony", "umap"):
        assert install_hint(extra) == f"Install it: pip install 'transferscope[{extra}]'"


def test_what_a_hint_takes_for_locked_is_what_make_locks() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert {*re.findall(r"--extra (\S+)", makefile)} - {"dev", "docs"} == shipped.LOCKED

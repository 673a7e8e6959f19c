"""A finished tiny study, made once and copied by each test that changes something."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from factories import run_snakemake, write_study


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study that ran to its end; not to be changed."""
    folder = write_study(tmp_path_factory.mktemp("finished") / "study")
    run_snakemake(folder)
    return folder


@pytest.fixture
def copied_study(finished_study: Path, tmp_path: Path) -> Callable[[], Path]:
    """Return a function that copies the finished study, times included."""

    def copy() -> Path:
        return Path(shutil.copytree(finished_study, tmp_path / "study"))

    return copy

"""A finished tiny study, made once and copied by each test that changes something."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from factories import run_snakemake, write_study

# What its run printed to standard error.
SAID = "said.txt"


@pytest.fixture(scope="session")
def finished_study(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of a study that ran to its end; not to be changed. All workers share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            done = run_snakemake(write_study(folder.with_suffix(".new")))
            (folder.with_suffix(".new") / SAID).write_text(done.stderr)
            folder.with_suffix(".new").rename(folder)
    return folder


@pytest.fixture(scope="session")
def said(finished_study: Path) -> str:
    """Return what the run of the finished study printed to standard error."""
    return (finished_study / SAID).read_text()


@pytest.fixture
def copied_study(finished_study: Path, tmp_path: Path) -> Callable[[], Path]:
    """Return a function that copies the finished study, times included."""

    def copy() -> Path:
        return Path(shutil.copytree(finished_study, tmp_path / "study"))

    return copy

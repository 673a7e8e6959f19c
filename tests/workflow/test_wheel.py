"""The package runs anywhere: a wheel, a folder with a study, and nothing of the clone."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from factories import REPOSITORY, environment, write_study

pytestmark = pytest.mark.workflow
PROGRAM = str(Path(sys.executable).parent / "transferscope")
# What `python -m build --no-isolation` does: the wheel is built from the source archive.
BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""
SHORT = {
    "backbones": ["handcrafted"],
    "channel_strategies": ["map"],
    "splits": {
        "schemes": ["group"],
        "folds": {"group": 2},
        "halves": 1,
        "seeds": [0],
        "fractions": [1.0],
    },
    "heads": {"kinds": ["logreg"], "epochs": 3},
    "knn": {"k": []},
}


def built(kind: str, source: Path, into: Path) -> Path:
    """Build an archive of a source tree by the project's own backend, without a network."""
    into.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, kind, str(into)],
        cwd=source,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    kept = ("workflow", "resources", "profiles", "envs")
    for name in kept:
        shutil.copytree(
            REPOSITORY / name,
            folder / "clone" / name,
            ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
        )
    for file in ("Snakefile", "config.yaml", "pyproject.toml", "setup.py", "MANIFEST.in"):
        shutil.copy(REPOSITORY / file, folder / "clone" / file)
    for file in ("README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, folder / "clone" / file)
    with tarfile.open(built("sdist", folder / "clone", folder / "archive")) as archive:
        archive.extractall(folder / "source", filter="data")
    [source] = (folder / "source").iterdir()
    with zipfile.ZipFile(built("wheel", source, folder / "wheels")) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def transferscope(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Give a command as a user of the wheel does."""
    settings = {**environment(), "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [PROGRAM, *words], cwd=folder, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


def test_the_wheel_carries_all_that_the_clone_has(installed: Path) -> None:
    carried = installed / "transferscope/shipped"
    for folder in ("workflow/rules", "workflow/schemas", "workflow/report", "profiles"):
        named = {path.relative_to(REPOSITORY) for path in (REPOSITORY / folder).rglob("*.*")}
        assert {path for path in named if not (carried / path).is_file()} == set()
    for kind in ("backbones", "datasets", "relations", "studies"):
        own = REPOSITORY / "resources" / kind
        assert {p.name for p in own.iterdir()} == {
            p.name for p in (carried / "resources" / kind).iterdir()
        }
    # Captions are at the same place as seen from the rules.
    for caption in (REPOSITORY / "workflow/transferscope/figures").glob("*.rst"):
        assert (carried / "workflow/transferscope/figures" / caption.name).is_file()


def test_a_study_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    folder = write_study(tmp_path / "mine", **SHORT)
    said = transferscope(installed, folder, "run", "study.yaml", "--cores", "2").stderr
    assert str(installed / "transferscope/shipped/profiles/default") in said
    assert (
        "transferscope run study.yaml --cores 1 --report results/tiny/snakemake-report.html" in said
    )
    summary = pd.read_csv(folder / "results/tiny/summary.csv")
    assert set(summary["backbone"]) >= {"handcrafted"}
    report = ["run", "study.yaml", "--cores", "1", "--report", "results/tiny/report.html"]
    transferscope(installed, folder, *report)
    assert (folder / "results/tiny/report.html").stat().st_size > 100_000
    again = transferscope(installed, folder, "run", "study.yaml", "--", "-n", "--quiet", "rules")
    assert "Nothing to be done" in again.stdout + again.stderr
    status = transferscope(installed, folder, "status", "study.yaml").stdout
    assert "to do" in status


def test_the_demo_and_ready_studies_are_found_anywhere(installed: Path, tmp_path: Path) -> None:
    said = transferscope(installed, tmp_path, "demo", "-n", "--quiet", "rules")
    assert "wrote demo.yaml" in said.stderr
    assert (tmp_path / "demo.yaml").read_text() == (REPOSITORY / "config.yaml").read_text()
    (tmp_path / "demo.yaml").write_text(
        "study: mine\ndatasets: [opencell-demo]\nbackbones: [handcrafted]\n"
    )
    said = transferscope(installed, tmp_path, "demo", "--", "-n")
    assert "results/mine/" in said.stdout + said.stderr, "what a user has changed is kept"
    assert not (tmp_path / "results/mine").exists()
    transferscope(installed, tmp_path, "run", "demo-screen", "-n", "--quiet")
    assert "efficientnet" in transferscope(installed, tmp_path, "backbone", "list").stdout

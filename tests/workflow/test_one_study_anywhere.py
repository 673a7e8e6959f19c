"""One study file means one thing: in the clone, from another folder, and as a module."""

import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from factories import DATASET_CARD, REPOSITORY, run_command, write_raw, write_yaml
from transferscope.config.study import StudyConfig
from transferscope.study.defaults import with_defaults

pytestmark = pytest.mark.workflow
OUTER = """
configfile: "mine.yaml"

module transferscope:
    snakefile: "{clone}/Snakefile"
    config: config

use rule * from transferscope
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a clone, raw data, and a study that leaves out most keys."""
    base = tmp_path_factory.mktemp("anywhere")
    ignored = shutil.ignore_patterns(".venv", ".git", ".snakemake", "results", ".*_cache")
    shutil.copytree(REPOSITORY, base / "clone", ignore=ignored)
    # Five groups per class: as many as the folds that a study has by default.
    sheet = write_raw(base / "raw", n_groups=15, fovs_per_group=2)
    card = write_yaml(base / "cells.yaml", {**DATASET_CARD, "sheet": str(sheet)})
    study = {
        "study": "mine",
        "datasets": [str(card)],
        # By name: found next to the Snakefile, wherever that is.
        "backbones": ["handcrafted"],
        "heads": {"kinds": ["linear"]},
        "compute": {"threads": 1, "device": "cpu"},
    }
    for name in ("clone", "elsewhere", "outer"):
        write_yaml(base / name / "mine.yaml", study)
    (base / "outer/Snakefile").write_text(OUTER.format(clone=base / "clone"))
    return base


@pytest.fixture(scope="module")
def folders(base: Path) -> list[Path]:
    """Run the study in the three ways; return where."""
    snakefile = str(base / "clone/Snakefile")
    commands = {
        "clone": ["--configfile", "mine.yaml"],
        "elsewhere": ["--snakefile", snakefile, "--configfile", "mine.yaml"],
        "outer": [],
    }
    for name, arguments in commands.items():
        command = ["snakemake", "--cores", "2", *arguments]
        run_command([*command, "--dry-run"], base / name)
        assert not (base / name / "results").exists()
        # In a module, a job writes what ran; elsewhere, it is written whatever is asked for.
        wanted = ["results/mine/summary.csv", *["results/mine/config.yaml"] * (name == "outer")]
        run_command([*command, "--", *wanted], base / name)
    return [base / name for name in commands]


def test_the_scores_are_the_same_bytes(folders: list[Path]) -> None:
    summaries = {(folder / "results/mine/summary.csv").read_bytes() for folder in folders}
    assert len(summaries) == 1


def test_what_ran_is_the_study_on_top_of_the_defaults_and_is_what_is_exported(
    folders: list[Path],
) -> None:
    given = yaml.safe_load((folders[0] / "mine.yaml").read_text())
    expected = StudyConfig.model_validate(with_defaults(given))
    exported = set()
    for folder in folders:
        ran = (folder / "results/mine/config.yaml").read_text()
        assert StudyConfig.model_validate(yaml.safe_load(ran)) == expected
        run_command(["transferscope", "export", "mine.yaml"], folder)
        with tarfile.open(folder / "mine.tar") as archive:
            names = [member.name for member in archive]
            exported.add(archive.extractfile("mine/config.yaml").read().decode())
        assert "mine/results/config.yaml" not in names
        assert exported == {ran}


def test_what_ran_is_exported_though_the_file_has_been_changed_since(
    folders: list[Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders[1], tmp_path / "changed")
    changed = yaml.safe_load((folder / "mine.yaml").read_text()) | {"knn": {"k": [2]}}
    write_yaml(folder / "mine.yaml", changed)
    run_command(["transferscope", "export", "mine.yaml"], folder)
    with tarfile.open(folder / "mine.tar") as archive:
        exported = archive.extractfile("mine/config.yaml").read()
    assert exported == (folder / "results/mine/config.yaml").read_bytes()
    said = run_command(["transferscope", "study", "check", "mine.yaml"], folder).stdout
    assert "knn.k: [1, 5, 10, 20, 50] -> [2]: knn, compare, figures, report again" in said
    said = run_command(["transferscope", "status", "mine.yaml"], folder).stdout
    assert "changed since the last run: knn.k: [1, 5, 10, 20, 50] -> [2]" in said
    (folder / "results/mine/config.yaml").unlink()
    said = run_command(["transferscope", "study", "check", "mine.yaml"], folder).stdout
    assert "docs/carry-over.md" in said
    assert "heads.epochs: 40 -> 100: heads, compare, figures, report again" in said


def test_a_study_that_has_not_changed_runs_nothing_again(folders: list[Path]) -> None:
    for folder in folders:
        said = run_command(["transferscope", "study", "check", "mine.yaml"], folder).stdout
        assert "again" not in said


def test_the_config_of_the_working_folder_is_the_study_where_no_other_is_named(
    base: Path, tmp_path: Path
) -> None:
    own = yaml.safe_load((base / "clone/mine.yaml").read_text()) | {"study": "own"}
    write_yaml(tmp_path / "config.yaml", own)
    command = ["snakemake", "--snakefile", str(base / "clone/Snakefile"), "--cores", "2", "-n"]
    done = run_command([*command, "--printshellcmds", "--config", "metrics=[macro_f1]"], tmp_path)
    said = done.stdout + done.stderr
    assert "results/own/summary.csv" in said
    # On top of it, as on top of the demo, come single keys.
    assert '"metrics":["macro_f1"]' in said

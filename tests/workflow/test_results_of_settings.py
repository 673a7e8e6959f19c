"""Results belong to their settings, wherever they lie; and every change of a file is noticed."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from alterations import altered, files_of, kind_of
from factories import (
    STUDY,
    TINY_NETWORK,
    environment,
    planned_jobs,
    run_command,
    run_snakemake,
    snakemake_command,
    write_study,
    write_yaml,
)
from transferscope.cards.lookup import card_roots
from transferscope.steps.plan import Plan
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study
from transferscope.upkeep.verify import verify

pytestmark = pytest.mark.workflow
SLOW = "TRANSFERSCOPE_SLOW_TESTS"
ROOT = "results/tiny"


def transferscope(folder, *arguments, check=False):
    return run_command(["transferscope", *arguments], folder, check=check)


@pytest.fixture
def moved(copied_study):
    """Return a finished study in another folder, without Snakemake's history."""
    folder = copied_study()
    shutil.rmtree(folder / ".snakemake")
    return folder


def keep_date(path, text):
    """Change a file, and give it the date that it had."""
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def change_a_backbone_card(folder):
    write_yaml(folder / "cards/backbones/tiny.yaml", {"name": "tiny", **TINY_NETWORK, "seed": 9})


def change_a_dataset_card(folder):
    path = folder / "cards/datasets/cells.yaml"
    card = yaml.safe_load(path.read_text())
    write_yaml(path, {**card, "labels": card["labels"][::-1]})


def edit_the_sheet(folder):
    sheet = folder / "raw/samples.tsv"
    row = "P01_0\tP01_0.tif\tP01\tmembrane"
    keep_date(sheet, sheet.read_text().replace(row, row.replace("membrane", "vesicles")))


def change_a_setting(folder):
    heads = {**STUDY["heads"], "epochs": 4}
    keep_date(folder / "study.yaml", yaml.safe_dump({**STUDY, "heads": heads}))


CHANGES = {
    change_a_backbone_card: {"embed", "heads", "knn"},
    change_a_dataset_card: {"splits", "heads", "knn"},
    edit_the_sheet: {"tiles", "splits", "heads", "knn"},
    change_a_setting: {"heads"},
}


def test_what_was_made_from_something_else_is_made_again_without_any_history(moved):
    kept = shutil.copytree(moved, moved.with_name("kept"))
    assert planned_jobs(moved) == {}
    assert transferscope(moved, "verify", "study.yaml").stdout.startswith("Sound")
    for change, steps in CHANGES.items():
        change(moved)
        assert steps <= set(planned_jobs(moved)), change.__name__
        told = transferscope(moved, "verify", "study.yaml")
        assert told.returncode == 1
        assert "was made from something else than the study asks for now" in told.stdout
        status = transferscope(moved, "status", "study.yaml")
        assert "stale" in status.stdout
        assert "made from something else" in status.stdout
        if change is not change_a_setting:
            # The config that goes with an export is that of the last run.
            for command in (["export", "study.yaml"], ["publish", "study.yaml", "--to", "there"]):
                refused = transferscope(moved, *command)
                assert refused.returncode == 1
                assert "was made from something else" in refused.stderr
            assert not (moved / "tiny.tar").exists()
            assert not (moved / "there").exists()
        shutil.rmtree(moved)
        shutil.copytree(kept, moved)
    change_a_setting(moved)
    run_snakemake(moved)
    assert planned_jobs(moved) == {}
    assert transferscope(moved, "verify", "study.yaml").stdout.startswith("Sound")
    shutil.rmtree(moved / ".snakemake")
    assert planned_jobs(moved) == {}


def test_a_job_that_was_cut_short_runs_again_though_nothing_else_says_so(moved):
    sheets = moved / ROOT / "checksums/contact_sheets/cells.sha256"
    from transferscope.runtime.job_records import JobRecord

    record = JobRecord.read(sheets, "contact_sheets/cells")
    JobRecord(record.job, record.made_from, record.makes).write(sheets)
    next((moved / ROOT / "figures/contact_sheets/cells").iterdir()).unlink()
    assert "was cut short" in transferscope(moved, "verify", "study.yaml").stdout
    assert planned_jobs(moved).keys() == {"contact_sheets", "all"}
    run_snakemake(moved)
    assert transferscope(moved, "verify", "study.yaml").stdout.startswith("Sound")


def test_two_folders_do_not_write_the_same_results_at_once(tmp_path):
    one = write_study(tmp_path / "one", results=str(tmp_path / "shared results"))
    other = Path(shutil.copytree(one, tmp_path / "other"))
    first = subprocess.Popen(
        snakemake_command(one),
        env=environment(),
        cwd=one,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    holder = tmp_path / "shared results/tiny/.run"
    while not holder.exists():
        assert first.poll() is None
        time.sleep(0.02)
    refused = run_snakemake(other, check=False)
    assert refused.returncode != 0
    assert "another run writes these results" in refused.stderr
    assert str(one) in refused.stderr
    assert "Traceback" not in refused.stderr
    first.kill()
    first.wait()


def test_files_of_an_earlier_version_are_not_vouched_for_until_they_are_accepted(copied_study):
    folder = copied_study()
    shutil.rmtree(folder / ROOT / "checksums")
    assert planned_jobs(folder) == {}
    told = transferscope(folder, "verify", "study.yaml")
    assert told.returncode == 1
    assert "Sound" not in told.stdout
    assert "made by an earlier version" in told.stdout
    archive = transferscope(folder, "export", "study.yaml", check=True)
    assert "not compared" in archive.stderr
    accepted = transferscope(folder, "verify", "study.yaml", "--accept")
    assert accepted.stdout.startswith("Sound"), accepted.stdout
    assert planned_jobs(folder) == {}
    (folder / ROOT / "summary.md").write_text("other")
    told = transferscope(folder, "verify", "study.yaml").stdout
    assert "summary.md: is not what was written" in told


def test_every_change_of_any_file_is_noticed(copied_study, monkeypatch):
    folder = copied_study()
    (folder / "results/tiny/mine.html").write_text("made by hand")
    monkeypatch.chdir(folder)
    study = load_study(merged_config(Path("study.yaml")), card_roots(), "study.yaml")
    plan, root = Plan(study), study.paths.root
    kept = Path(shutil.copytree(root, "kept"))
    assert verify(root, plan).is_sound
    assert [path.name for path in verify(root, plan).others] == ["mine.html"]
    (root / "mine.html").unlink()
    (kept / "mine.html").unlink()
    assert len({kind_of(root, path) for path in files_of(root)}) > 30
    for seed in range(1000 if SLOW in os.environ else 30):
        with altered(root, kept, seed) as change:
            assert not verify(root, plan).is_sound, f"{seed}: {change}"


def test_a_damaged_study_is_repaired_by_the_commands_that_are_printed(tmp_path):
    """Whatever characters are in the path of the results."""
    results = "my 'results'; $(touch x)"
    folder = write_study(tmp_path / "a study", results=results, backbones=["handcrafted"])
    run_snakemake(folder)
    root = folder / results / "tiny"
    damaged = [root / "summary.csv", root / "embeddings/cells/handcrafted/features.zarr/zarr.json"]
    damaged.append(root / "compare/leaderboard.csv")
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-3])
    told = transferscope(folder, "verify", "study.yaml").stdout
    commands = [line.partition("-> ")[2] for line in told.splitlines() if "-> rm" in line]
    assert len(commands) == 3, told
    *removals, last = commands
    for command in [*(removal.partition(" && ")[0] for removal in removals), last]:
        subprocess.run(["sh", "-c", command], cwd=folder, env=environment(), check=True)
    assert not (folder / "x").exists()
    assert sorted(path.name for path in root.parent.iterdir()) == ["tiny"]
    assert transferscope(folder, "verify", "study.yaml").stdout.startswith("Sound")

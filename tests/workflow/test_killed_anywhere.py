"""Whatever is killed, whenever: the study goes on and ends with the bytes of an undisturbed run."""

import os
import shutil

import pytest

from disturbances import assert_equal_results, count_logs, run_killed
from factories import run_command, snakemake_command, write_study
from segment_study import write_segment_study

pytestmark = pytest.mark.workflow
SLOW = "TRANSFERSCOPE_SLOW_TESTS"


def test_a_study_that_is_killed_a_few_times_ends_with_the_same_results(finished_study, tmp_path):
    root, whole = write_study(tmp_path / "study") / "results/tiny", finished_study / "results/tiny"
    command, jobs = snakemake_command(tmp_path / "study"), count_logs(whole)
    kills = run_killed(command, root, kills=3, jobs=jobs, longest=3, seed=0)
    assert {kill.victim for kill in kills} == {"snakemake", "worker", "everything"}
    assert_equal_results(root, whole)
    # Among them the tables that a user reads: the same config in two folders gives the same.
    for name in ("summary.csv", "summary.md"):
        assert (root / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.skipif(SLOW not in os.environ, reason=f"takes half an hour: set {SLOW}=1")
def test_the_demo_study_that_is_killed_at_twenty_moments_ends_with_the_same_results(
    repository, tmp_path
):
    ignored = shutil.ignore_patterns(".venv", ".git", ".snakemake", "results", ".*_cache")
    whole = shutil.copytree(repository, tmp_path / "whole", ignore=ignored) / "results/demo"
    killed = shutil.copytree(repository, tmp_path / "killed", ignore=ignored) / "results/demo"
    command = ["snakemake", "--cores", "2", "--resources", "gpu=1"]
    run_command(command, whole.parents[1])
    jobs = count_logs(whole)
    kills = run_killed(command, killed, kills=20, jobs=jobs, longest=10, seed=0)
    print(f"{jobs} jobs", *kills, sep="\n")
    assert len(kills) == 20
    assert_equal_results(killed, whole)


@pytest.mark.skipif(SLOW not in os.environ, reason=f"takes half an hour: set {SLOW}=1")
def test_a_study_that_segments_and_is_killed_at_twenty_moments_ends_with_the_same_results(
    tmp_path,
):
    # Backbones that are trained with decoders resume from their checkpoints and finished parts.
    tuning = {"modes": ["full"], "decoders": ["unet"], "steps": 20}
    roots = []
    for name in ("whole", "killed"):
        folder = write_segment_study(tmp_path / name, tuning=tuning, check_every=5)
        roots.append(folder / "results/tiny")
    whole, killed = roots
    run_command(snakemake_command(whole.parents[1]), whole.parents[1])
    jobs = count_logs(whole)
    kills = run_killed(
        snakemake_command(killed.parents[1]), killed, kills=24, jobs=jobs, longest=6, seed=0
    )
    print(f"{jobs} jobs", *kills, sep="\n")
    # The last jobs may be over before a part of them is killed.
    assert len(kills) >= 20
    assert any("segment" in job for kill in kills for job in kill.jobs)
    assert_equal_results(killed, whole)

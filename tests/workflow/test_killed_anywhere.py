"""Whatever is killed, whenever: the study goes on and ends with the bytes of an undisturbed run."""

import os
import shutil
import time

import pytest

from disturbances import assert_equal_results, run_killed
from factories import run_command, snakemake_command, write_study

pytestmark = pytest.mark.workflow
SLOW = "TRANSFERSCOPE_SLOW_TESTS"


def test_a_study_that_is_killed_a_few_times_ends_with_the_same_results(finished_study, tmp_path):
    folder = write_study(tmp_path / "study")
    kills = run_killed(snakemake_command(folder), folder, kills=3, longest=15, seed=0)
    assert {kill.victim for kill in kills} == {"snakemake", "worker", "everything"}
    assert_equal_results(folder / "results/tiny", finished_study / "results/tiny")


@pytest.mark.skipif(SLOW not in os.environ, reason=f"takes an hour: set {SLOW}=1")
def test_the_demo_study_that_is_killed_at_twenty_moments_ends_with_the_same_results(
    repository, tmp_path
):
    ignored = shutil.ignore_patterns(".venv", ".git", ".snakemake", "results", ".*_cache")
    whole = shutil.copytree(repository, tmp_path / "whole", ignore=ignored)
    killed = shutil.copytree(whole, tmp_path / "killed")
    command = ["snakemake", "--cores", "2", "--resources", "gpu=1"]
    start = time.monotonic()
    run_command(command, whole)
    seconds = time.monotonic() - start
    kills = run_killed(command, killed, kills=20, longest=seconds / 10, seed=0)
    assert len(kills) == 20
    print(f"undisturbed: {seconds:.0f} s", *kills, sep="\n")
    assert_equal_results(killed / "results/demo", whole / "results/demo")

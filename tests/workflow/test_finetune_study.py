"""A tiny study that fine-tunes: killed in the middle, gone on with, compared and drawn."""

import subprocess
import time

import pandas as pd
import pytest

from factories import (
    STUDY,
    environment,
    kill_group,
    planned_jobs,
    run_snakemake,
    snakemake_command,
    write_study,
    write_yaml,
)

pytestmark = pytest.mark.workflow
FINETUNE = {
    "backbones": ["cards/backbones/tiny.yaml"],
    "channels": ["map"],
    "modes": ["full", "head"],
    "schemes": ["group"],
    "epochs": 4,
    "batch_size": 8,
    "augment": False,
}
CHANGES = {
    "backbones": ["cards/backbones/tiny.yaml"],
    "finetune": FINETUNE,
    "channel_strategies": ["map"],
    "heads": {"kinds": ["linear", "logreg"], "epochs": 3},
}
FIGURE = "results/tiny/figures/scaling.png"
TUNED = "results/tiny/scores/finetune-full/cells/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A study whose fine-tuning was killed after one division, and which then ran to its end."""
    folder = write_study(tmp_path_factory.mktemp("tuned") / "study", **CHANGES)
    process = subprocess.Popen(
        snakemake_command(folder, f"{TUNED}/map.parquet"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    parts = folder / TUNED / "map.parts"
    while not list(parts.glob("*.npz")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    kill_group(process)
    finished = [path.name for path in parts.glob("*.npz")]
    assert not (folder / TUNED / "map.parquet").exists()
    run_snakemake(folder, "--unlock")
    run_snakemake(folder, FIGURE)
    log = (folder / "results/tiny/logs/finetune-full/cells/tiny/map.log").read_text()
    assert f"{len(finished)} of 4 divisions are finished" in log
    return folder


def test_the_mode_head_scores_as_the_linear_head_does(folder):
    summary = pd.read_csv(folder / "results/tiny/summary.csv").query("metric == 'macro_f1'")
    assert set(summary[summary["head"] == "finetune-full"]["scheme"]) == {"group"}
    keys = ["backbone", "channels", "scheme", "fraction"]
    both = summary[summary["head"] == "finetune-head"].merge(
        summary[summary["head"] == "linear"], on=keys
    )
    assert len(both) == 2
    # The embeddings are stored in float16, so that single tiles near a threshold may differ.
    assert (both["mean_x"] - both["mean_y"]).abs().max() < 0.05


def test_frozen_and_fine_tuned_have_the_same_test_rows(folder):
    tuned = pd.read_parquet(folder / TUNED / "map.predictions.parquet")
    frozen = pd.read_parquet(
        folder / "results/tiny/scores/heads/cells/tiny/map.predictions.parquet"
    ).query("head == 'logreg' and scheme == 'group'")
    keys = ["seed", "fold", "fraction", "row", "group"]
    pd.testing.assert_frame_equal(
        tuned[keys].sort_values(keys, ignore_index=True),
        frozen[keys].sort_values(keys, ignore_index=True),
    )


def test_it_is_compared_and_told(folder):
    gains = pd.read_parquet(folder / "results/tiny/compare/finetuning.parquet")
    assert set(gains["head"]) == {"finetune-full", "finetune-head"}
    assert (
        "Fine-tuning of all layers of `tiny / map`"
        in (folder / "results/tiny/details.md").read_text()
    )
    assert not (folder / TUNED / "map.parts").exists()


def test_changes_rerun_what_they_must(folder):
    def planned(**changes):
        changed = {**CHANGES, "finetune": {**FINETUNE, **changes}}
        write_yaml(folder / "study.yaml", {**STUDY, **changed})
        jobs = planned_jobs(folder, FIGURE)
        return {name: jobs.get(name, 0) for name in ("embed", "heads", "finetune", "compare")}

    assert planned() == {"embed": 0, "heads": 0, "finetune": 0, "compare": 0}
    assert planned(modes=["full", "head", "lora"])["finetune"] == 1
    assert planned(modes=["full"]) == {"embed": 0, "heads": 0, "finetune": 0, "compare": 1}
    assert planned(learning_rate=0.1) == {"embed": 0, "heads": 0, "finetune": 2, "compare": 1}

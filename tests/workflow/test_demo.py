"""The demo study in part: it runs offline, and its results make sense."""

import shutil
import subprocess

import pandas as pd
import pytest

from doc_pages import blocks, run_block
from factories import environment

pytestmark = pytest.mark.workflow
FEWER = [
    "backbones=[handcrafted,vit-mini-random@cls-inner]",
    "channel_strategies=[map]",
    "splits={fractions: [0.1, 1.0], halves: 1}",
    "heads={epochs: 10}",
]


@pytest.fixture(scope="module")
def demo(repository, tmp_path_factory):
    """Return the folder of a copy of the project in which the demo study has run."""
    folder = tmp_path_factory.mktemp("demo") / "transferscope"
    ignored = shutil.ignore_patterns(".venv", ".git", ".snakemake", "results", ".*_cache")
    shutil.copytree(repository, folder, ignore=ignored)
    done = subprocess.run(
        ["snakemake", "--cores", "2", "--resources", "gpu=1", "--config", *FEWER],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Study demo is complete" in done.stderr
    return folder


@pytest.fixture(scope="module")
def full(demo):
    """Return macro F1 with all training groups, one row a store, head and scheme."""
    summary = pd.read_csv(demo / "results/demo/summary.csv", keep_default_na=False)
    macro = summary[(summary["metric"] == "macro_f1") & (summary["fraction"] == 1)]
    return macro.assign(mean=macro["mean"].astype(float))


def test_no_method_is_near_perfect(full):
    assert full["mean"].max() < 0.98


@pytest.mark.parametrize("dataset", ["opencell-demo", "hpa-demo"])
@pytest.mark.parametrize("scheme", ["group", "image"])
def test_a_good_method_clearly_beats_the_floor(full, dataset, scheme):
    here = full[(full["dataset"] == dataset) & (full["scheme"] == scheme)]
    floor = here.loc[here["head"] == "floor", "mean"].max()
    best = here.loc[here["mean"].idxmax()]
    assert float(best["ci_low"]) > floor


def test_a_split_of_images_flatters(full):
    best = full.groupby(["dataset", "scheme"])["mean"].max().unstack()
    assert (best["image"] > best["group"]).all()


def test_more_labels_help(demo):
    summary = pd.read_csv(demo / "results/demo/summary.csv", keep_default_na=False)
    curve = summary[
        (summary["metric"] == "macro_f1")
        & (summary["backbone"] == "handcrafted")
        & (summary["head"] == "logreg")
        & (summary["scheme"] == "group")
    ]
    means = curve.pivot_table(index="fraction", columns="dataset", values="mean", aggfunc="first")
    assert (means.loc[1.0].astype(float) > means.loc[0.1].astype(float) + 0.05).all()


def test_the_commands_of_the_tutorial_work(repository, demo):
    for language, content in blocks((repository / "docs/tutorial.md").read_text()):
        run_block(language, content, demo)

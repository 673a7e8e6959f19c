"""A study with a grid: every cell is trained and compared, and one more value adds its cells."""

import json

import pandas as pd
import pytest
from test_what_reruns_what import COMPARISON, change_study

from factories import STUDY, TRAINED, planned_jobs, run_snakemake, write_yaml

pytestmark = pytest.mark.workflow


def name_grid(folder, **grid):
    """Write a card with a grid, and name it in the study."""
    steps = {"objective": {"method": "mae", "decoder_width": 32, "decoder_depth": 1}, "steps": 3}
    steps["objective"]["decoder_heads"] = 2
    own = {**TRAINED, "name": "grid", **steps, "grid": grid}
    write_yaml(folder / "cards/backbones/grid.yaml", own)
    backbones = [*STUDY["backbones"], "cards/backbones/grid.yaml"]
    change_study(folder, backbones=backbones, channel_strategies=["map"])


def test_a_grid_is_trained_cell_by_cell_and_compared(copied_study):
    folder = copied_study()
    name_grid(folder, width=[48, 96], fraction=[0.5])
    jobs = planned_jobs(folder)
    assert [jobs[name] for name in ("pretrain", "grid_curves", "compare")] == [2, 1, 1]
    done = run_snakemake(folder, "--until", "grid_curves")
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results/tiny"
    trained = json.loads((results / "backbones/grid_width96_fraction0.5_seed0.json").read_text())
    assert (trained["steps"], trained["images"]) == (3, 24)
    assert trained["operations"] > 0
    cells = pd.read_parquet(results / "compare/grid_cells.parquet")
    assert set(cells["backbone"]) == {f"grid_width{width}_fraction0.5_seed0" for width in (48, 96)}
    curves = pd.read_csv(results / "compare/grid_curves.csv")
    assert {"parameters", "operations"} == set(curves["axis"])
    assert "sizes of backbones and data" in (results / "summary.md").read_text()
    assert (results / "figures/grid_curves.png").stat().st_size > 1000
    # A value more: its own cell alone, and the comparison.
    name_grid(folder, width=[48, 96, 64], fraction=[0.5])
    jobs = planned_jobs(folder)
    assert (jobs["pretrain"], jobs["embed"]) == (1, 1)
    assert set(jobs) - {"pretrain", "embed", "heads", "knn", "grid_curves"} >= {"compare"}
    assert set(jobs) <= COMPARISON | {"pretrain", "embed", "heads", "knn"} | {
        "grid_curves",
        "training_curves",
    }

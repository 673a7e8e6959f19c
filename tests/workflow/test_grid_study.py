"""A study with a grid: cells are trained and compared, block by block; a value adds its cells."""

import json

import pandas as pd
import pytest
from test_what_reruns_what import COMPARISON, change_study

from factories import TRAINED, planned_jobs, run_snakemake, write_yaml

pytestmark = pytest.mark.workflow


def name_grid(folder, **grid):
    """Write a card with a grid, and name it in the study."""
    steps = {"objective": {"method": "mae", "decoder_width": 32, "decoder_depth": 1}, "steps": 3}
    steps["objective"]["decoder_heads"] = 2
    own = {**TRAINED, "name": "grid", "blocks": 2, **steps, "grid": grid}
    write_yaml(folder / "cards/backbones/grid.yaml", own)
    change_study(
        folder,
        backbones=["cards/backbones/grid.yaml@blocks"],
        channel_strategies=["map"],
        heads={"kinds": ["logreg"]},
        knn={"k": []},
    )


def test_a_grid_is_trained_cell_by_cell_and_compared(copied_study):
    folder = copied_study()
    name_grid(folder, width=[48], at_steps=[1])
    jobs = planned_jobs(folder)
    assert [jobs[name] for name in ("pretrain", "snapshot", "embed")] == [1, 1, 2]
    assert [jobs[name] for name in ("figure_grid_curves", "figure_layers", "compare")] == [1, 1, 1]
    done = run_snakemake(folder, "--until", "figure_grid_curves", "figure_layers")
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results/tiny"
    for at, images in ((1, 8), (3, 24)):
        text = (results / f"backbones/grid_width48_at{at}_seed0.json").read_text()
        trained = json.loads(text)
        assert (trained["steps"], trained["images"]) == (at, images)
        assert trained["operations"] > 0
    cells = pd.read_parquet(results / "compare/grid_cells.parquet")
    assert set(cells["backbone"]) == {f"grid_width48_at{at}_seed0" for at in (1, 3)}
    curves = pd.read_csv(results / "compare/grid_curves.csv")
    assert set(curves["axis"]) == {"images_seen"}
    # A curve of each block.
    assert set(curves["store"]) == {"grid@block1 / map", "grid@block2 / map"}
    layers = pd.read_csv(results / "compare/layers.csv")
    assert (layers.groupby(["backbone", "scheme"])["is_chosen"].sum() == 1).all()
    assert set(layers["backbone"]) == set(cells["backbone"])
    summary = (results / "summary.md").read_text()
    assert "sizes of backbones and data" in summary
    assert "by validation tiles, block" in summary
    for figure in ("grid_curves", "layers"):
        assert (results / f"figures/{figure}.png").stat().st_size > 1000
    # A value more: its own training alone, and the comparison.
    name_grid(folder, width=[48, 96], at_steps=[1])
    jobs = planned_jobs(folder)
    assert [jobs[name] for name in ("pretrain", "snapshot", "embed")] == [1, 1, 2]
    of_cells = {"pretrain", "snapshot", "embed", "heads", "training_curves"}
    assert set(jobs) <= COMPARISON | of_cells | {"figure_grid_curves", "figure_layers"}

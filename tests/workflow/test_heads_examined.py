"""A finished study is asked what its heads look at: without channels, covered, weighted, joined."""

import pandas as pd
import pytest
from test_what_reruns_what import change_study

from factories import planned_jobs, run_snakemake
from transferscope.stores.parquet import read_parquet

pytestmark = pytest.mark.workflow


def test_channels_places_weights_pairs_and_few_groups_are_told(copied_study):
    folder = copied_study()
    splits = {"schemes": ["group"], "folds": {"group": 2, "image": 2}, "halves": 1, "seeds": [0]}
    change_study(
        folder,
        splits={**splits, "fractions": [0.5, 1.0], "groups_per_class": [1]},
        ablation={
            "backbones": ["tiny"],
            "channels": ["protein"],
            "occlusion": {"tiles": 1, "patch": 0.5},
            "weights": True,
        },
        joining={"backbones": [["tiny", "handcrafted"]]},
    )
    done = run_snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results/tiny"
    tables = {
        name: pd.read_csv(results / f"compare/{name}.csv")
        for name in ("ablation", "channel_gains", "channel_weights", "joined", "groups_per_class")
    }
    assert set(tables["ablation"]["channels"]) == {"map", "replicate"}
    assert set(tables["channel_weights"]["channel"]) == {"nucleus", "protein"}
    assert set(tables["channel_gains"]["channels"]) == {"replicate"}
    assert set(tables["joined"]["backbone"]) == {"tiny,handcrafted"}
    assert set(tables["groups_per_class"]["groups_per_class"]) == {1}
    for channels in ("map", "replicate"):
        losses = read_parquet(results / f"occlusion/cells/tiny/{channels}.parquet")
        assert set(losses["channel"]) == {"", "protein"}
        assert losses["loss"].notna().all()
        assert (results / f"figures/occlusion/cells/tiny/{channels}.png").stat().st_size > 1000
    summary = (results / "summary.md").read_text()
    for about in ("without single channels", "channels weighted", "backbones joined"):
        assert f"## `cells`, {about}" in summary
    assert (results / "figures/groups_per_class.png").exists()
    assert planned_jobs(folder) == {}

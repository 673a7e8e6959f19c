"""Several tiles a field: scored one by one, by field and by group, and shown with neighbours."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from factories import DATASET_CARD, run_snakemake, write_study, write_yaml

pytestmark = pytest.mark.workflow
# The floor, logistic regression, and two k of two kinds of k-NN.
HEADS = {"floor", "logreg", "knn", "knn-euclidean-distance", "knn-euclidean", "knn-distance"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Run quarters of fields, and the whole fields beside them; return the study's folder."""
    quarters = {
        **DATASET_CARD,
        "name": "quarters",
        "sheet": "../../raw/samples.tsv",
        "tiles": {"size": 32, "mode": "cut"},
    }
    folder = write_study(
        tmp_path_factory.mktemp("levels"),
        datasets=["cards/datasets/quarters.yaml", "cards/datasets/cells.yaml"],
        backbones=["cards/backbones/tiny.yaml"],
        channel_strategies=["map"],
        knn={
            "k": [1, 3],
            "metrics": ["cosine", "euclidean"],
            "votes": ["majority", "distance"],
            "exclude": "group",
        },
        aggregate={"levels": ["fov", "group"], "fields": {"quarters": "cells"}},
        figures={"dpi": 60, "map_points": 100, "gallery": 6},
    )
    write_yaml(folder / "cards/datasets/quarters.yaml", quarters)
    run_snakemake(folder)
    return folder / "results/tiny"


def test_every_level_is_scored_on_the_same_groups(results):
    table = pd.read_parquet(results / "compare/aggregate.parquet")
    assert set(table["dataset"]) == {"quarters"}
    assert set(table["head"]) == HEADS
    levels = table.groupby("scheme")[["source", "level", "aggregation"]].apply(
        lambda rows: set(rows.itertuples(index=False, name=None))
    )
    by_image = {
        ("tiles", "tile", ""),
        ("tiles", "fov", "mean"),
        ("tiles", "fov", "median"),
        ("fields", "fov", "mean"),
    }
    assert levels["image"] == by_image
    of_groups = {(s, "group", m) for s in ("tiles", "fields") for m in ("mean", "median")}
    assert levels["group"] == by_image | of_groups
    assert set(table["n_groups"]) == {12}
    assert (table["ci_low"] <= table["mean"]).all()
    assert (table["mean"] <= table["ci_high"]).all()


def test_single_tiles_score_as_in_the_summary(results):
    table = pd.read_parquet(results / "compare/aggregate.parquet")
    summary = pd.read_csv(results / "summary.csv", keep_default_na=False)
    summary = summary[(summary["metric"] == "macro_f1") & (summary["fraction"] == 1)]
    summary = summary.assign(k=pd.to_numeric(summary["k"]).astype("Int64"))
    keys = ["dataset", "backbone", "channels", "head", "k", "scheme"]
    both = table[table["level"] == "tile"].merge(summary, on=keys, suffixes=("", "_summary"))
    assert len(both) == (table["level"] == "tile").sum() > 0
    np.testing.assert_allclose(both["mean"], both["mean_summary"], atol=2e-6)
    for bound in ("ci_low", "ci_high"):
        expected = pd.to_numeric(both[f"{bound}_summary"])
        np.testing.assert_allclose(both[bound], expected, atol=2e-6)


def test_differences_are_paired_and_add_up(results):
    scores = pd.read_parquet(results / "compare/aggregate.parquet")
    gaps = pd.read_csv(results / "compare/aggregate_differences.csv", keep_default_na=False)
    assert set(gaps["kind"]) == {"tile", "method", "fields"}
    known = scores[scores["head"] == "logreg"].set_index(
        ["channels", "scheme", "source", "level", "aggregation"]
    )["mean"]
    for _, gap in gaps[gaps["head"] == "logreg"].iterrows():
        first, second = (
            known[
                gap["channels"],
                gap["scheme"],
                gap[f"{side}_source"],
                gap[f"{side}_level"],
                gap[f"{side}_aggregation"],
            ]
            for side in ("first", "second")
        )
        assert gap["difference"] == pytest.approx(first - second, abs=2e-6)


def test_the_curves_and_the_galleries_are_drawn(results):
    curves = (results / "figures/neighbours.svg").read_text()
    assert "votes weighted by distance" in curves
    assert "single tiles" in (results / "figures/aggregation.svg").read_text()
    for dataset in ("quarters", "cells"):
        text = (results / f"figures/gallery/{dataset}.svg").read_text()
        assert "labelled tiles of other groups" in " ".join(text.split())
        with Image.open(results / f"figures/gallery/{dataset}.png") as image:
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 50

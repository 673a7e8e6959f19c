"""A study whose plates differ: corrected stores are stores like any other, and plates are split."""

import numpy as np
import pandas as pd
import pytest

from factories import STUDY, planned_jobs, run_command, run_snakemake, write_study
from transferscope.stores.embedding_store import EmbeddingStore

pytestmark = pytest.mark.workflow
METHODS = ["none", "center", "standardise"]


@pytest.fixture(scope="module")
def corrected_study(tmp_path_factory):
    """Return the folder of a finished study whose plates differ, with corrected stores."""
    folder = write_study(
        tmp_path_factory.mktemp("corrected"),
        backbones=["handcrafted"],
        channel_strategies=["map"],
        correction={"methods": METHODS},
        splits={**STUDY["splits"], "schemes": ["group", "batch"]},
        heads={"kinds": ["logreg"]},
        nuisance={"columns": ["batch", "control"], "k": 3, "permutations": 99},
        relations={"sources": ["pairs.csv"], "min_entities": 3, "permutations": 20, "draws": 100},
    )
    sheet = pd.read_csv(folder / "raw/samples.tsv", sep="\t", dtype=str)
    number = np.arange(len(sheet))
    sheet["batch"] = [f"plate{n % 3}" for n in number]
    sheet["control"] = np.where(number % 4 == 0, "true", "false")
    sheet.to_csv(folder / "raw/samples.tsv", sep="\t", index=False)
    groups = sorted(sheet["group"].unique())
    pairs = pd.DataFrame({"a": groups[:-1], "b": groups[1:]})
    pairs.to_csv(folder / "pairs.csv", index=False)
    done = run_snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_correction_is_scored_and_compared(corrected_study):
    summary = pd.read_csv(corrected_study / "results/tiny/summary.csv")
    expected = {"handcrafted", "handcrafted+center", "handcrafted+standardise"}
    for probe in ("logreg", "knn"):
        assert expected <= set(summary.loc[summary["head"] == probe, "backbone"])
    recall = pd.read_csv(corrected_study / "results/tiny/relations/cells/recall.csv")
    assert set(METHODS) == set(recall.query("map.str.startswith('handcrafted')")["correction"])
    details = (corrected_study / "results/tiny/details.md").read_text()
    assert "## `cells`, known pairs" in (corrected_study / "results/tiny/summary.md").read_text()
    assert "### What corrections have seen" in details
    assert "Correction for batches by `+center` minus none" in details


def test_what_another_plate_costs_is_compared_drawn_and_told(corrected_study):
    results = corrected_study / "results/tiny"
    steps = pd.read_csv(results / "compare/ladder.csv")
    assert set(zip(steps["easier"], steps["harder"], strict=True)) == {("group", "batch")}
    assert set(steps["head"]) == {"logreg", "knn"}
    assert len(steps) == 3 * len(METHODS), "logistic regression and k-NN of two k, for each store"
    assert (results / "figures/ladder.svg").exists()
    assert not (results / "figures/split_gap.svg").exists()
    assert "## `cells`, what harder splits cost" in (results / "summary.md").read_text()
    # Each group is on every plate: plates and groups are crossed.
    splits = pd.read_parquet(results / "splits/cells.parquet")
    assert splits.groupby("scheme")["fold"].nunique().to_dict() == {
        "batch": 6,
        "batch+shuffled": 6,
        "group": 2,
    }


def test_what_stores_know_besides_biology_is_compared_drawn_and_told(corrected_study):
    results = corrected_study / "results/tiny"
    stores = {"handcrafted", "handcrafted+center", "handcrafted+standardise"}
    predicted = pd.read_csv(results / "compare/nuisance.csv")
    assert set(predicted["backbone"]) == stores
    of_channel = {
        f"quality_{c}_{name}" for c in ("nucleus", "protein") for name in ("mean", "focus")
    }
    assert set(predicted["target"]) == {"batch", "control", "count_nuclei", *of_channel}
    brightness = predicted.query("target == 'quality_protein_mean' and backbone == 'handcrafted'")
    assert brightness["value"].item() > 0.5
    indices = pd.read_csv(results / "compare/robustness.csv").set_index("backbone")
    assert set(indices.index) == stores
    assert indices["robustness_index"].between(0, 1).all()
    assert indices["gain"].notna().to_dict() == {name: "+" in name for name in stores}
    assert (results / "figures/nuisance.svg").exists()
    summary = (results / "summary.md").read_text()
    assert "## `cells`, besides biology" in summary
    assert "the robustness index against `batch`" in summary


def test_a_corrected_store_is_a_store(corrected_study):
    embeddings = corrected_study / "results/tiny/embeddings/cells"
    (manifest,) = (embeddings / "handcrafted+center").glob("*.json")
    values = EmbeddingStore(manifest).read()
    table = pd.read_parquet(corrected_study / "results/tiny/tiles/cells.tiles.parquet")
    means = pd.DataFrame(values).groupby(table["batch"].to_numpy()).mean()
    np.testing.assert_allclose(means, 0, atol=1e-4)
    told = run_command(["transferscope", "verify", "study.yaml"], corrected_study)
    assert told.stdout.startswith("Sound"), told.stdout


def test_another_correction_adds_its_own_jobs_only(corrected_study):
    study = corrected_study / "study.yaml"
    text = study.read_text()
    study.write_text(text.replace("- standardise\n", "- standardise\n  - tvn\n"))
    planned = planned_jobs(corrected_study)
    study.write_text(text)
    assert (planned["correct"], planned["heads"], planned["knn"]) == (1, 1, 1)
    assert (planned["nuisance"], planned["nuisance_compare"]) == (1, 1)
    assert not {"embed", "tiles", "splits", "measures"} & set(planned)

"""Studies of tables of features: probes, joined stores, relations, without any image."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from factories import STUDY, environment, run_snakemake, write_yaml
from given_tables import profiles, write_card, write_mixed_study, write_table_study
from transferscope.stores.embedding_store import EmbeddingStore

pytestmark = pytest.mark.workflow
RELATIONS = {"sources": ["pairs.csv"], "min_entities": 3, "permutations": 20, "draws": 100}


def transferscope(folder, *words):
    command = [str(Path(sys.executable).parent / "transferscope"), *words]
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def test_a_study_of_one_table_from_its_check_to_its_report(tmp_path):
    joining = {"backbones": [["cellprofiler", "deep"], ["deep", "deep"]]}
    folder = write_table_study(tmp_path, relations=RELATIONS, joining=joining)
    genes = [f"gene{n:02d}" for n in range(12)]
    alike = pd.DataFrame({"a": genes[:-2], "b": genes[2:]})
    alike.to_csv(folder / "pairs.csv", index=False)
    checked = transferscope(folder, "study", "check", "study.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "table of features" in checked.stdout
    done = run_snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    results = folder / "results/tiny"
    store = EmbeddingStore(results / "embeddings/wells/cellprofiler/given.json")
    assert store.attributes["feature_names"] == ["Cells_0", "Cells_1", "Cells_2", "Nuclei_Area"]
    rows = pd.read_parquet(results / "tiles/wells.tiles.parquet")
    assert store.tile_ids == rows["tile_id"].tolist()
    assert store.read().shape == (48, 4)
    summary = pd.read_csv(results / "summary.csv")
    assert set(summary["backbone"].dropna()) >= {"cellprofiler", "deep"}
    said = (results / "summary.md").read_text()
    assert "`cellprofiler`" in said
    assert "Hand-crafted" not in said
    joined = pd.read_csv(results / "compare/joined.csv").query("head in ('logreg', 'knn')")
    assert set(joined["backbone"]) == {"cellprofiler,deep", "deep,deep"}
    copy = joined.query("backbone == 'deep,deep'")
    assert (copy["difference"] == 0).all()
    assert not copy["gain"].any()
    assert "`cellprofiler` and `deep` joined, " in said
    recall = pd.read_csv(results / "relations/wells/recall.csv")
    assert {"cellprofiler, given", "deep, given", "labels only", "random"} <= set(recall["map"])
    verified = transferscope(folder, "verify", "study.yaml")
    assert verified.stdout.startswith("Sound"), verified.stdout + verified.stderr
    assert transferscope(folder, "convert", "study.yaml").returncode == 0

    # Another content counts, also where its date is that of the old one.
    before = (folder / "profiles.csv").stat()
    write_card(folder, profiles(seed=1))
    os.utime(folder / "profiles.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    verified = transferscope(folder, "verify", "study.yaml")
    assert "made from something else than the study asks for now" in verified.stdout
    again = run_snakemake(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "given_features: 2 jobs (content of profiles.csv)" in again.stderr
    changed = pd.read_csv(results / "summary.csv")
    assert not changed.equals(summary)
    verified = transferscope(folder, "verify", "study.yaml")
    assert verified.stdout.startswith("Sound"), verified.stdout + verified.stderr
    assert "Nothing to be done" in (once_more := run_snakemake(folder)).stderr, once_more.stderr


def test_faults_of_a_table_stop_the_check(tmp_path):
    table = profiles()
    table.loc[7, "deep_0"] = float("inf")
    table.loc[9, "Metadata_class"] = "medium"
    folder = write_table_study(tmp_path, table, figures={"gallery": 2})
    checked = transferscope(folder, "study", "check", "study.yaml")
    assert checked.returncode == 1
    assert "Traceback" not in checked.stderr
    assert "figures.gallery" in checked.stderr
    write_yaml(folder / "study.yaml", {**STUDY, "datasets": ["wells.yaml"], "backbones": []})
    checked = transferscope(folder, "study", "check", "study.yaml")
    for text in ("2 problems found", "the first in row 9", 'unknown label "medium"'):
        assert text in checked.stderr


def test_images_next_to_a_table(tmp_path):
    folder = write_mixed_study(tmp_path, backbones=["handcrafted"])
    done = run_snakemake(folder, "--until", "compare", "contact_sheets")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = pd.read_csv(folder / "results/tiny/summary.csv")
    found = summary.dropna(subset=["backbone"]).groupby("dataset")["backbone"].unique()
    assert set(found["cells"]) >= {"handcrafted"}
    assert {"cellprofiler", "deep"} <= set(found["wells"])
    assert "handcrafted" not in found["wells"]
    assert "deep" not in found["cells"]


def test_cpjump1_without_its_images(shared_data, tmp_path):
    """What `docs/known-biology.md` says of the profiles, from a study of their table."""
    paths = sorted((shared_data / "cpjump1").glob("BR*.csv.gz"))
    wells = pd.concat(map(pd.read_csv, paths), ignore_index=True)
    wells = wells[~wells["Metadata_control_type"].fillna("").str.startswith("poscon")]
    genes = wells.dropna(subset=["Metadata_broad_sample", "Metadata_gene"])
    gene_of = genes.groupby("Metadata_broad_sample")["Metadata_gene"].first()
    pairs = [
        pair
        for _, own in gene_of.groupby(gene_of)
        for pair in itertools.combinations(sorted(own.index), 2)
    ]
    pd.DataFrame(pairs, columns=["a", "b"]).to_csv(tmp_path / "targets.csv", index=False)
    # Four genes with the most compounds as classes; all other wells are unlabelled.
    classes = sorted(gene_of.value_counts().index[:4])
    shown = wells["Metadata_gene"].where(wells["Metadata_gene"].isin(classes))
    wells = pd.concat([wells, shown.rename("Metadata_class")], axis=1)
    roles = {
        "group": "Metadata_broad_sample",
        "perturbation": "Metadata_broad_sample",
        "batch": "Metadata_Plate",
        "control": "Metadata_control_type",
        "labels": "Metadata_class",
    }
    card = {"table": "wells.parquet", "columns": roles, "labels": classes}
    write_card(tmp_path, wells.reset_index(drop=True), **card, features=None)
    study = {
        **STUDY,
        "datasets": ["wells.yaml"],
        "backbones": [],
        "roles": {"control": "control", "control_values": ["negcon"]},
        "relations": {"sources": ["targets.csv"], "permutations": 20, "draws": 100},
        "splits": {**STUDY["splits"], "schemes": ["group"], "fractions": [1.0]},
        "heads": {"kinds": ["logreg"]},
        "knn": {"k": [1]},
    }
    write_yaml(tmp_path / "study.yaml", study)
    done = run_snakemake(tmp_path, "--until", "heads", "knn", "relate")
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results/tiny"
    recall = pd.read_csv(results / "relations/wells/recall.csv")
    own = recall[(recall["map"] == "features, given") & (recall["null"] == "all pairs")]
    [found] = own[own["measure"] == "recall, two-sided"].to_dict("records")
    assert found["value"] == pytest.approx(0.254, abs=0.001)
    assert found["n_pairs"] == 130
    activity = pd.read_csv(results / "relations/wells/activity.csv")
    assert len(activity.query("map == 'features, given'")) == 260
    assert activity["mean_average_precision"].mean() == pytest.approx(0.6014, abs=0.01)
    scores = pd.read_parquet(results / "scores/heads/wells/features/given.parquet")
    assert len(scores)

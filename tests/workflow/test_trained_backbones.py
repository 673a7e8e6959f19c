"""A backbone that the study trains: what it reruns, and what its scores say."""

import json

import pandas as pd
import pytest
from test_what_reruns_what import COMPARISON, change_study

from factories import DATASET_CARD, STUDY, TRAINED, planned_jobs, run_snakemake, write_yaml

pytestmark = pytest.mark.workflow
SCORES = "results/tiny/scores/knn/cells/{}/map.parquet"


def add_trained(folder, **cards):
    """Write cards of trained backbones, and name them in the study."""
    for name, changes in cards.items():
        write_yaml(folder / f"cards/backbones/{name}.yaml", {**TRAINED, "name": name, **changes})
    names = [f"cards/backbones/{name}.yaml" for name in cards]
    change_study(folder, backbones=[*STUDY["backbones"], *names])


def test_a_trained_backbone_reruns_its_own_jobs_alone(copied_study):
    folder = copied_study()
    add_trained(folder, own={}, honest={"exclude_test_groups": True})
    jobs = planned_jobs(folder)
    new = ("pretrain", "training_curves", "embed", "heads", "knn")
    assert [jobs.pop(name) for name in new] == [2, 2, 4, 4, 4]
    assert set(jobs) == COMPARISON
    run_snakemake(folder, SCORES.format("own"), SCORES.format("honest"))
    own, honest = (pd.read_parquet(folder / SCORES.format(name)) for name in ("own", "honest"))
    assert set(own["seen_in_training"]) == {"images"}
    assert set(honest["seen_in_training"]) == {"no"}
    assert set(own["scheme"]) == {"group", "image"}
    divisions = honest[["scheme", "seed", "fold"]].drop_duplicates()
    assert divisions.to_numpy().tolist() == [["group", 0, 0]]
    # Another training reruns what hangs on it, and not the other one.
    add_trained(folder, own={"epochs": 3}, honest={"exclude_test_groups": True})
    again = run_snakemake(folder, "--dry-run", SCORES.format("own"), SCORES.format("honest"))
    text = again.stdout + again.stderr
    assert "backbones/own.json" in text
    assert "backbones/honest.json" not in text
    # How it is trained is no reason to train again: the step finds its weights.
    add_trained(folder, own={}, honest={"exclude_test_groups": True})
    weights = folder / "results/tiny/backbones/own.safetensors"
    before = weights.stat().st_mtime_ns
    study = {"training": {"checkpoint_minutes": 1}}
    names = [f"cards/backbones/{name}.yaml" for name in ("own", "honest")]
    change_study(folder, backbones=[*STUDY["backbones"], *names], **study)
    run_snakemake(folder, SCORES.format("own"))
    assert weights.stat().st_mtime_ns == before


def test_the_same_proteins_in_another_dataset_are_known_by_name(copied_study):
    folder = copied_study()
    card = {**DATASET_CARD, "name": "more", "sheet": "../../raw/samples.tsv"}
    write_yaml(folder / "cards/datasets/more.yaml", card)
    elsewhere = {"datasets": ["more"], "epochs": 1}
    add_trained(folder, own=elsewhere, honest={**elsewhere, "exclude_test_groups": True})
    more = {"training_datasets": ["cards/datasets/more.yaml"]}
    names = [f"cards/backbones/{name}.yaml" for name in ("own", "honest")]
    change_study(folder, backbones=[*STUDY["backbones"], *names], **more)
    run_snakemake(folder, SCORES.format("own"), SCORES.format("honest"))
    own, honest = (pd.read_parquet(folder / SCORES.format(name)) for name in ("own", "honest"))
    assert set(own["seen_in_training"]) == {"in another dataset"}
    assert set(own["scheme"]) == {"group", "image"}
    assert set(honest["seen_in_training"]) == {"no"}
    divisions = honest[["scheme", "seed", "fold"]].drop_duplicates()
    assert divisions.to_numpy().tolist() == [["group", 0, 0]]
    # The dataset that is trained on has no split of its own: the groups are those tested in cells.
    splits = pd.read_parquet(folder / "results/tiny/splits/cells.parquet")
    tested = splits[(splits[["scheme", "fold", "role"]] == ["group", 0, "test"]).all(axis=1)]
    cells = pd.read_parquet(folder / "results/tiny/tiles/cells.tiles.parquet")
    n_tested = cells["group"].iloc[tested["row"]].nunique()
    seen = {
        name: json.loads((folder / f"results/tiny/backbones/{name}.json").read_text())
        for name in ("own", "honest")
    }
    n_groups = cells["group"].nunique()
    assert seen["own"]["datasets"]["more"]["n_groups"] == n_groups
    assert seen["honest"]["datasets"]["more"]["n_groups"] == n_groups - n_tested
    assert seen["honest"]["datasets"]["more"]["n_groups_left_out"] == n_tested

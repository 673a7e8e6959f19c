"""Adding, removing and changing plans just the jobs that it must, read off dry runs."""

import shutil

import pandas as pd
import pytest
import yaml

from factories import (
    STUDY,
    TINY_NETWORK,
    jobs_in,
    planned_jobs,
    run_command,
    run_snakemake,
    write_yaml,
)
from transferscope.cards.lookup import card_roots
from transferscope.steps.plan import Plan
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.tile_store import TileStore
from transferscope.study.defaults import with_defaults
from transferscope.study.loading import load_study
from transferscope.upkeep.ran import read_record
from transferscope.upkeep.reruns import changes

pytestmark = pytest.mark.workflow

COMPARISON = {
    "compare",
    "embedding_maps",
    "report",
    *(f"figure_{f}" for f in ("strategies", "scaling", "neighbours")),
    *(f"figure_{f}" for f in ("classes", "confusion", "pareto", "split_gap")),
    "all",
}


def change_study(folder, **changes):
    write_yaml(folder / "study.yaml", {**STUDY, **changes})


def test_a_finished_study_has_nothing_to_do(copied_study):
    assert planned_jobs(copied_study()) == {}


def test_a_new_backbone_plans_its_own_jobs_and_the_comparison(copied_study):
    folder = copied_study()
    write_yaml(folder / "cards/backbones/other.yaml", {"name": "other", **TINY_NETWORK, "seed": 1})
    change_study(folder, backbones=[*STUDY["backbones"], "cards/backbones/other.yaml"])
    dry = run_snakemake(folder, "--dry-run")
    jobs = jobs_in(dry)
    assert {name: jobs.pop(name) for name in ("embed", "heads", "knn")} == {
        "embed": 2,
        "heads": 2,
        "knn": 2,
    }
    assert set(jobs) == COMPARISON
    outputs = [line for line in (dry.stdout + dry.stderr).splitlines() if "output:" in line]
    assert any("/cells/other/" in line for line in outputs)
    assert not any("/cells/tiny/" in line for line in outputs)


def test_per_channel_strategies_reuse_the_embeddings_of_replicate(copied_study):
    folder = copied_study()
    views = ["mean", "only-protein", "only-nucleus"]
    change_study(folder, channel_strategies=[*STUDY["channel_strategies"], *views])
    jobs = planned_jobs(folder)
    assert {name: jobs.pop(name) for name in ("heads", "knn")} == {"heads": 3, "knn": 3}
    assert set(jobs) <= COMPARISON


def test_each_random_order_and_an_adapted_input_are_embedded_once(copied_study):
    folder = copied_study()
    strategies = [*STUDY["channel_strategies"], "map-random", "adapt"]
    # Seeds 0 and 1 draw two orders; seed 2 draws one of these again.
    change_study(folder, channel_strategies=strategies, strategy_seeds=[0, 1, 2])
    assert planned_jobs(folder)["embed"] == 2 + 1


def test_another_output_of_a_backbone_needs_no_embedding(copied_study):
    folder = copied_study()
    change_study(folder, backbones=[*STUDY["backbones"], "cards/backbones/tiny.yaml@mean"])
    jobs = planned_jobs(folder)
    assert {name: jobs.pop(name) for name in ("heads", "knn")} == {"heads": 2, "knn": 2}
    assert set(jobs) <= COMPARISON


def test_taking_a_backbone_out_only_compares_again(copied_study):
    folder = copied_study()
    change_study(folder, backbones=STUDY["backbones"][:1])
    # One backbone alone has no price to compare.
    assert set(planned_jobs(folder)) == COMPARISON - {"figure_pareto"}


def test_a_changed_figure_setting_only_redraws(copied_study):
    folder = copied_study()
    change_study(folder, figures={**STUDY["figures"], "dpi": 70})
    assert set(planned_jobs(folder)) == COMPARISON - {"compare"}


def test_a_changed_card_embeds_that_backbone_again(copied_study):
    folder = copied_study()
    write_yaml(folder / "cards/backbones/tiny.yaml", {"name": "tiny", **TINY_NETWORK, "seed": 9})
    jobs = planned_jobs(folder)
    assert jobs["embed"] == 2
    assert "tiles" not in jobs
    assert "splits" not in jobs


def test_prose_in_a_card_reruns_nothing(copied_study):
    folder = copied_study()
    card = {"name": "tiny", **TINY_NETWORK, "description": "a small one", "licence": "MIT"}
    write_yaml(folder / "cards/backbones/tiny.yaml", card)
    assert planned_jobs(folder) == {}


def test_a_changed_head_setting_trains_heads_only(copied_study):
    folder = copied_study()
    change_study(folder, heads={**STUDY["heads"], "epochs": 4})
    jobs = planned_jobs(folder)
    assert jobs.pop("heads") == 3
    assert set(jobs) == COMPARISON - {"embedding_maps"}


CHANGED = {
    "heads": {**STUDY["heads"], "epochs": 4},
    "splits": {**STUDY["splits"], "validation": 0.3},
    "compute": {**STUDY["compute"], "batch_size": 8},
    "figures": {**STUDY["figures"], "dpi": 70},
}


def test_what_is_said_to_run_again_is_what_snakemake_plans(copied_study, monkeypatch):
    folder = copied_study()
    monkeypatch.chdir(folder)
    for key, value in CHANGED.items():
        change_study(folder, **{key: value})
        config = with_defaults({**STUDY, key: value})
        plan = Plan(load_study(config, card_roots(), "study.yaml"))
        (change,) = changes(plan, read_record(plan.paths))
        jobs = planned_jobs(folder)
        drawn = {name for name in jobs if name.startswith("figure_") or name == "embedding_maps"}
        planned = set(jobs) - drawn - {"all"} | ({"figures"} if drawn else set())
        assert set(change.steps) == planned, key


def test_a_changed_class_list_decodes_and_embeds_nothing(copied_study):
    folder = copied_study()
    path = folder / "cards/datasets/cells.yaml"
    card = yaml.safe_load(path.read_text())
    write_yaml(path, {**card, "labels": [*card["labels"][::-1]]})
    jobs = planned_jobs(folder)
    assert jobs["splits"] == 1
    assert not {"tiles", "embed"} & set(jobs)


def test_a_replaced_raw_file_is_noticed(copied_study):
    folder = copied_study()
    shutil.copy(folder / "raw/P00_0.tif", folder / "raw/P01_0.tif")
    assert planned_jobs(folder)["tiles"] == 1


def test_relabelling_in_the_sheet_embeds_nothing_once_tiles_are_read(copied_study):
    folder = copied_study()
    sheet = folder / "raw/samples.tsv"
    row = "P01_0\tP01_0.tif\tP01\tmembrane"
    assert row in sheet.read_text()
    sheet.write_text(sheet.read_text().replace(row, f"{row};vesicles"))
    run_snakemake(folder, "results/tiny/splits/cells.parquet")
    jobs = planned_jobs(folder)
    assert "embed" not in jobs
    assert jobs["heads"] == 3


RELABELLED = {"relabel", "contact_sheets", "splits", "heads", "knn"}


def label_by_hand(folder, count):
    """Write a label table of the first fields and name it in the card."""
    sheet = pd.read_csv(folder / "raw/samples.tsv", sep="\t")
    sheet[["tile_id", "labels"]].head(count).to_csv(folder / "hand.csv", index=False)
    path = folder / "cards/datasets/cells.yaml"
    card = yaml.safe_load(path.read_text())
    write_yaml(path, {**card, "label_table": "../../hand.csv"})


def test_labels_given_by_hand_divide_and_probe_again_but_decode_and_embed_nothing(copied_study):
    folder = copied_study()
    label_by_hand(folder, 30)
    assert set(planned_jobs(folder)) == COMPARISON | RELABELLED
    run_snakemake(folder)
    assert planned_jobs(folder) == {}
    splits = pd.read_parquet(folder / "results/tiny/splits/cells.parquet")
    assert splits["row"].nunique() == 30
    (folder / "hand.csv").write_text((folder / "hand.csv").read_text() + "P11_0,skip\n")
    assert set(planned_jobs(folder)) == COMPARISON | RELABELLED


def test_going_back_to_the_labels_of_the_sheet_divides_and_probes_again(copied_study):
    folder = copied_study()
    card = (folder / "cards/datasets/cells.yaml").read_text()
    label_by_hand(folder, 30)
    run_snakemake(folder, "results/tiny/splits/cells.parquet")
    (folder / "cards/datasets/cells.yaml").write_text(card)
    # The figures of single datasets were not made from the labels given by hand.
    expected = {"splits", "heads", "knn", *COMPARISON} - {"embedding_maps"}
    assert set(planned_jobs(folder)) == expected


def test_another_strategy_leaves_every_finished_store_as_it_is(copied_study):
    folder = copied_study()
    stores = folder / "results"
    before = {p: p.stat().st_mtime_ns for p in stores.rglob("embeddings/**/*") if p.is_file()}
    change_study(folder, channel_strategies=[*STUDY["channel_strategies"], "adapt"])
    run_snakemake(folder, "--until", "embed")
    assert (stores / f"{STUDY['study']}/embeddings/cells/tiny/adapt.json").exists()
    changed = {p for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert {p for p in changed if not p.name.startswith(".")} == set()
    assert "embed" not in planned_jobs(folder)


def test_a_size_more_of_a_sweep_embeds_that_size_only(copied_study):
    folder, card = copied_study(), {"name": "swept", **TINY_NETWORK}
    path = folder / "cards/backbones/swept.yaml"
    write_yaml(path, {**card, "sweep": {"input_size": [32, 64]}})
    change_study(folder, backbones=["cards/backbones/swept.yaml"], channel_strategies=["map"])
    run_snakemake(folder, "figure_families")
    table = pd.read_csv(folder / "results/tiny/compare/families.csv")
    assert sorted(set(table["size"])) == [32, 64]
    assert "64 px" in (folder / "results/tiny/summary.md").read_text()
    write_yaml(path, {**card, "sweep": {"input_size": [32, 48, 64]}})
    dry = run_snakemake(folder, "--dry-run")
    jobs = jobs_in(dry)
    assert {jobs.pop(name) for name in ("embed", "heads", "knn")} == {1}
    assert "swept_size48/map.json" in dry.stdout + dry.stderr


def test_reduced_tiles_are_made_once_and_read_by_backbones_of_small_inputs(copied_study):
    folder = copied_study()
    change_study(folder, reduced_tiles={"cells": [32]})
    jobs = planned_jobs(folder)
    assert {name: jobs.pop(name) for name in ("reduce", "embed")} == {"reduce": 1, "embed": 2}
    assert {"heads": 2, "knn": 2}.items() <= jobs.items()
    assert set(jobs) <= {"heads", "knn", *COMPARISON}
    run_snakemake(folder)
    assert planned_jobs(folder) == {}
    stores = folder / "results/tiny"
    tiles, reduced = (TileStore(stores / at / "cells.json") for at in ("tiles", "reduced_tiles/32"))
    assert (tiles.tile_size, reduced.tile_size) == ((64, 64), (32, 32))
    for backbone, side in {"tiny/map": 32, "handcrafted/features": None}.items():
        said = EmbeddingStore(stores / f"embeddings/cells/{backbone}.json").attributes
        assert said.get("reduced_to") == side
        assert said["tiles_sha256"] == tiles.content_sha256
    assert run_command(["transferscope", "verify", "study.yaml"], folder).stdout.startswith("Sound")
    before = {path: path.stat().st_mtime_ns for path in stores.rglob("*.json")}
    write_yaml(folder / "cards/backbones/other.yaml", {"name": "other", **TINY_NETWORK, "seed": 1})
    both = [*STUDY["backbones"], "cards/backbones/other.yaml"]
    change_study(folder, reduced_tiles={"cells": [32]}, backbones=both)
    jobs = planned_jobs(folder)
    assert jobs["embed"] == 2
    assert not {"tiles", "reduce"} & set(jobs)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())

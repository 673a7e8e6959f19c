"""Tables of features in the plan of a study: their jobs, and what is told before any of them."""

import logging
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from factories import STUDY, TINY_NETWORK, TRAINED, write_yaml
from given_tables import profiles, write_card, write_mixed_study, write_table_study
from transferscope.costs.estimate import estimate
from transferscope.costs.rates import Rates
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.steps.preflight import preflight
from transferscope.study.defaults import with_defaults
from transferscope.study.loading import load_study


@pytest.fixture
def loaded(repository, monkeypatch):
    def load(folder):
        monkeypatch.chdir(folder)
        config = with_defaults(yaml.safe_load((folder / "study.yaml").read_text()))
        return load_study(config, [folder, repository], "study.yaml")

    return load


def problems(load, folder):
    with pytest.raises(UserError) as raised:
        preflight(load(folder))
    return [str(problem) for problem in raised.value.problems]


def test_a_study_of_one_table_needs_no_backbone_and_no_tile(loaded, tmp_path):
    study = loaded(write_table_study(tmp_path))
    preflight(study)
    plan = Plan(study)
    assert plan.steps["given_table"].planned == [{"dataset": "wells"}]
    stores = [job["backbone"] for job in plan.steps["given_features"].planned]
    assert stores == ["cellprofiler", "deep"]
    assert {(p.representation, p.channels) for p in study.probed()} == {
        ("cellprofiler", "given"),
        ("deep", "given"),
    }
    needing_tiles = {"tiles", "cells", "published", "contact_sheets", "embed", "gallery"}
    assert not needing_tiles & set(plan.steps)
    assert {"splits", "heads", "knn", "compare", "embedding_maps"} <= set(plan.steps)
    written = {path for step in plan.steps.values() for path in step.files()}
    own = {tmp_path / "wells.csv", study.sheet_of("wells")}
    for step in plan.steps.values():
        assert step.files_read() <= written | own, step.name
        assert all(step.need(SimpleNamespace(**job)).mem_mb > 0 for job in step.planned)


def test_images_and_tables_have_jobs_of_their_own(loaded, tmp_path, caplog):
    study = loaded(write_mixed_study(tmp_path, figures={"gallery": 2}))
    with caplog.at_level(logging.WARNING):
        preflight(study)
    assert "key figures.gallery: not for wells, without images" in caplog.text
    plan = Plan(study)
    of = {
        name: {job.get("dataset") for job in step.planned} - {None}
        for name, step in plan.steps.items()
    }
    for name in ("tiles", "embed", "contact_sheets", "gallery"):
        assert of[name] == {"cells"}, name
    for name in ("given_table", "given_features"):
        assert of[name] == {"wells"}, name
    for name in ("splits", "heads", "knn", "embedding_maps"):
        assert of[name] == {"cells", "wells"}, name
    by_dataset = {}
    for probed in study.probed():
        by_dataset.setdefault(probed.dataset, set()).add(probed.representation)
    assert by_dataset == {"cells": {"tiny", "handcrafted"}, "wells": {"cellprofiler", "deep"}}


def test_corrections_and_fine_tuning(loaded, tmp_path):
    folder = write_mixed_study(
        tmp_path,
        finetune={"backbones": ["cards/backbones/tiny.yaml"], "channels": ["map"]},
        correction={"methods": ["none", "center"]},
    )
    sheet = folder / "raw/samples.tsv"
    table = pd.read_csv(sheet, sep="\t").assign(batch="a")
    table.to_csv(sheet, sep="\t", index=False)
    study = loaded(folder)
    preflight(study)
    plan = Plan(study)
    assert {job["dataset"] for job in plan.steps["finetune"].planned} == {"cells"}
    corrected = {job["representation"] for job in plan.steps["correct"].planned}
    assert {"cellprofiler+center", "deep+center", "handcrafted+center"} <= corrected


def test_the_estimate_of_a_table(loaded, tmp_path):
    study = loaded(write_table_study(tmp_path))
    plan = Plan(study)
    found = estimate(study, plan.jobs(), Rates(1e9, 1e9, "cpu", "fp32", measured=False))
    assert found.fields["wells"].n_tiles == 48
    assert found.tile_bytes == found.device_hours == 0
    assert [(job.backbone, job.width) for job in found.embed] == [("cellprofiler", 4), ("deep", 2)]


def test_the_content_of_the_table_counts(loaded, tmp_path):
    folder = write_table_study(tmp_path)
    job = {"dataset": "wells", "backbone": "deep"}

    def made_from():
        return Plan(loaded(folder)).steps["given_features"].made_from()(job)

    before = made_from()
    assert made_from() == before
    write_card(folder, profiles(seed=1))
    changed = made_from()
    assert {name for name in before if before[name] != changed[name]} == {"content of profiles.csv"}
    write_card(folder, profiles(), columns={"group": "Metadata_gene", "labels": "Metadata_class"})
    changed = made_from()
    assert {name for name in before if before[name] != changed[name]} == {"depends"}


WRONG = {
    "no backbone for images": ({"backbones": []}, "key backbones: required, but missing"),
    "a set named like a backbone": (
        {"backbones": ["cards/backbones/tiny.yaml", "cards/backbones/deep.yaml"]},
        'the set of features "deep" of wells has the name of a backbone',
    ),
    "trained on a table": (
        {"backbones": ["cards/backbones/trained.yaml"]},
        "wells is a table of features, without images",
    ),
    "fields of images for a table": (
        {"aggregate": {"levels": ["fov"], "fields": {"wells": "cells"}}},
        "wells and cells have no features in common",
    ),
    "a table to train on": (
        {"datasets": ["cards/datasets/cells.yaml"], "training_datasets": ["wells.yaml"]},
        "wells is a table of features, without images",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_needs_images_is_told_before_the_run(loaded, tmp_path, what):
    changes, text = WRONG[what]
    folder = write_mixed_study(tmp_path, **changes)
    network = {key: value for key, value in TINY_NETWORK.items() if key != "name"}
    write_yaml(folder / "cards/backbones/deep.yaml", {"name": "deep", **network})
    trained = {"name": "trained", **TRAINED, "datasets": ["cells", "wells"]}
    write_yaml(folder / "cards/backbones/trained.yaml", trained)
    found = problems(loaded, folder)
    assert any(text in problem for problem in found), found


ALONE = {
    "gallery": ({"figures": {"gallery": 3}}, "key figures.gallery: none of the datasets"),
    "fine-tuning": (
        {"backbones": ["handcrafted"], "finetune": {"backbones": ["handcrafted"]}},
        "key finetune.backbones: none of the datasets has images",
    ),
    "a correction without controls": (
        {"correction": {"methods": ["tvn"]}},
        "has no negative controls, which tvn needs",
    ),
    "an unknown column of targets": (
        {"relations": {"sources": ["pairs.csv"], "targets": "Metadata_target"}},
        'the column "Metadata_target" is missing',
    ),
    "more folds than groups": (
        {"splits": {**STUDY["splits"], "folds": {"group": 20, "image": 2}}},
        "fewer than the 20 folds",
    ),
}


@pytest.mark.parametrize("what", ALONE)
def test_what_is_wrong_with_a_study_of_one_table(loaded, tmp_path, what):
    changes, text = ALONE[what]
    folder = write_table_study(tmp_path, **changes)
    (folder / "pairs.csv").write_text("a,b\ngene00,gene02\n")
    found = problems(loaded, folder)
    assert any(text in problem for problem in found), found


def test_faults_of_the_table_are_told_before_the_run(loaded, tmp_path):
    table = profiles()
    table.loc[3, "Cells_0"] = None
    table.loc[5, "Metadata_gene"] = ""
    found = problems(loaded, write_table_study(tmp_path, table))
    assert len(found) == 2, found
    study = loaded(write_table_study(tmp_path, table, bad_tiles="skip"))
    preflight(study)
    assert len(study.given("wells").skipped) == 2


def test_backbones_that_nothing_uses_are_told(loaded, tmp_path, caplog):
    study = loaded(write_table_study(tmp_path, backbones=["handcrafted"]))
    with caplog.at_level(logging.WARNING):
        preflight(study)
    assert "the backbones of the study are not used" in caplog.text
    assert "embed" not in Plan(study).steps

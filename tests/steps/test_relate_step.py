"""The step that relates a study's stores to known pairs: opt-in, planned, checked before a run."""

import json
import shlex
from types import SimpleNamespace

import pytest

from factories import STUDY, write_study
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.steps.preflight import preflight
from transferscope.study.loading import load_study

TABLES = ("recall", "differences", "new_pairs", "similarity", "activity")


@pytest.fixture
def study_of(tmp_path, repository, monkeypatch):
    folder = write_study(tmp_path)
    monkeypatch.chdir(folder)
    (folder / "pairs.csv").write_text("a,b\np0,p1\np2,p3\n")

    def make(roles=None, **relations):
        config = {**STUDY, "relations": relations, "roles": roles or {}}
        return load_study(config, [folder, repository], "study.yaml")

    return make


def test_no_source_means_no_step(study_of):
    assert "relate" not in Plan(study_of()).steps


def test_all_stores_of_a_dataset_are_related_on_the_same_draws(study_of):
    plan = Plan(study_of(sources=["pairs.csv", "humap"], corrections=["none", "center"]))
    step = plan.steps["relate"]
    assert step.planned == [{"dataset": "cells"}]
    job = SimpleNamespace(dataset="cells")
    stores = json.loads(step.stores(job))
    assert len(stores) == len(plan.study.probed())
    assert len({name for name, *_ in stores}) == len(stores)
    assert {path for _, path, *_ in stores} == set(map(str, step.manifests(job)))
    files = {path.name for path in step.files()}
    tables = {f"{name}.csv" for name in TABLES}
    figures = {f"{name}.{end}" for name in ("recall", "complexes") for end in ("svg", "png")}
    assert files == {*tables, *figures, "record.json"}
    read = {path.name for path in step.files_read()}
    assert {"pairs.csv", "humap.yaml", "cells.tiles.parquet"} <= read
    words = shlex.split(str(step.arguments(job, SimpleNamespace(table="t"), SimpleNamespace(), 1)))
    assert "relate" in words
    assert words.count("--correction") == words.count("--source") == 2
    assert step.need(job).mem_mb > 0


def test_targets_add_a_table(study_of):
    step = Plan(study_of(sources=["pairs.csv"], targets="labels")).steps["relate"]
    assert "consistency.csv" in {path.name for path in step.files()}


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({"sources": ["humab"]}, 'unknown relation "humab"'),
        ({"sources": ["none.csv"]}, "none.csv does not exist"),
        (
            {"sources": ["pairs.csv"], "roles": {"perturbation": "grup"}},
            'the column "grup" is missing',
        ),
        (
            {"sources": ["pairs.csv"], "roles": {"batch": "plat"}},
            'the column "plat" is missing',
        ),
        (
            {"sources": ["pairs.csv"], "roles": {"control": "kind"}},
            'the column "kind" is missing',
        ),
        (
            {"sources": ["pairs.csv"], "roles": {"position": "place"}},
            'the column "place" is missing',
        ),
        ({"roles": {"control_values": ["a"]}}, "`control_values` needs `control`"),
        ({"sources": ["pairs.csv"], "corrections": ["tvn"]}, "no negative controls, which tvn"),
        ({"sources": ["pairs.csv", "pairs.csv"]}, "named twice: pairs.csv"),
        ({"sources": ["pairs.csv"], "thresholds": [0.5]}, "less than 0.5"),
    ],
)
def test_mistakes_are_told_before_the_run(study_of, told, text):
    with pytest.raises(UserError) as raised:
        preflight(study_of(**told))
    assert text in str(raised.value)

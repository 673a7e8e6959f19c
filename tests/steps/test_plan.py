import json
import os
from types import SimpleNamespace

import pytest

from factories import DATASET_CARD, STUDY, write_study, write_yaml
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.study import Study


@pytest.fixture
def plan_of(tmp_path, repository):
    folder = write_study(tmp_path)

    def make(**changes):
        return Plan(Study.load({**STUDY, **changes}, [folder, repository], "study.yaml"))

    return make


def wildcards(**values):
    return SimpleNamespace(**{"dataset": "cells", "backbone": "tiny", **values})


def test_every_probe_of_every_representation_is_compared(plan_of):
    plan = plan_of()
    assert len(plan.probe_files("scores")) == 2 * 3
    assert len(set(plan.probe_files("scores") + plan.probe_files("predictions"))) == 12


def test_what_is_switched_off_is_not_asked_for(plan_of):
    plan = plan_of(
        knn={"k": []},
        splits={"schemes": ["group"], "folds": {"group": 2}, "fractions": [1.0]},
    )
    assert plan.probes() == ["heads"]
    assert plan.figures() == ["strategies", "classes", "confusion"]


def test_a_gpu_is_asked_for_only_by_networks_that_may_use_one(plan_of):
    assert plan_of().gpus(wildcards()) == 0
    on_gpu = plan_of(compute={"device": "auto"})
    assert on_gpu.gpus(wildcards()) == 1
    assert on_gpu.gpus(wildcards(backbone="handcrafted")) == 0


def test_a_mean_is_read_from_the_store_of_replicate(plan_of):
    plan = plan_of(channel_strategies=["replicate", "mean"])
    path = plan.embeddings_of(wildcards(representation="tiny@mean", channels="mean"))
    assert path.as_posix().endswith("embeddings/cells/tiny/replicate.json")
    assert len(plan.embeddings_in(wildcards())) == 2


def test_every_view_of_single_channels_is_read_from_one_store(plan_of):
    views = ["mean", "only-nucleus", "only-protein"]
    plan = plan_of(channel_strategies=views, backbones=["cards/backbones/tiny.yaml"])
    read = {str(plan.embeddings_of(wildcards(representation="tiny", channels=v))) for v in views}
    assert read == {str(path) for path in plan.embeddings_in(wildcards())}
    assert len(read) == 1


def test_a_thousand_stores_fit_into_a_shell_command(plan_of):
    nested = json.loads(plan_of().probed_in())
    assert nested == {"cells": {"tiny": ["replicate", "map"], "handcrafted": ["features"]}}


def test_fractions_do_not_divide_anew(plan_of):
    first, second = plan_of(), plan_of(splits={**STUDY["splits"], "fractions": [0.1, 1.0]})
    assert first.split_settings(None) == second.split_settings(None)
    probed = wildcards(representation="tiny")
    assert first.head_settings(probed) != second.head_settings(probed)


def test_the_closing_message_says_where_everything_is(plan_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of()
    assert "has more" in plan.closing_message()
    for target in plan.targets():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    message = plan.closing_message()
    for part in ("complete", "results/tiny/summary.md", "results/tiny/figures", "--report"):
        assert part in message


@pytest.fixture
def fetching(tmp_path, plan_of):
    """Return a function that makes the plan of a study that fetches."""
    (tmp_path / "table.csv").write_text("ensg_id\n")

    def make(**settings):
        fetch = {"kind": "opencell", "annotations": "table.csv", **settings}
        card = {**DATASET_CARD, "sheet": None, "fetch": fetch}
        write_yaml(tmp_path / "fetched.yaml", card)
        return plan_of(datasets=["fetched.yaml"], results=str(tmp_path / "results"))

    return make


def write_manifest(plan):
    path = plan.paths.fetched("cells")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"made_for": plan.fetch_dependencies(wildcards())}))
    return path


def test_tiles_wait_for_a_fetch_that_is_to_come_and_not_for_one_that_is_repeated(fetching):
    plan = fetching()
    manifest = plan.paths.fetched("cells")
    assert plan.given_sheet(wildcards()) == plan.fetched_before(wildcards()) == []
    assert plan.fetched_anew(wildcards()) == [manifest]
    write_manifest(plan)
    assert plan.fetched_anew(wildcards()) == []
    assert plan.fetched_before(wildcards()) == [manifest]
    assert fetching(downloads={"connections": 1}).fetched_before(wildcards()) == [manifest]
    assert fetching(limit=3).fetched_anew(wildcards()) == [manifest]


def test_another_annotation_table_is_another_fetch(fetching, tmp_path):
    plan = fetching()
    write_manifest(plan)
    assert plan.fetch_inputs(wildcards()) == [tmp_path / "table.csv"]
    (tmp_path / "table.csv").write_text("ensg_id,target_name\n")
    assert plan.fetched_before(wildcards()) == []


def test_what_was_fetched_counts_by_its_content(fetching):
    plan = fetching()
    before = plan.tile_dependencies(wildcards())
    manifest = write_manifest(plan)
    fetched = plan.tile_dependencies(wildcards())
    assert fetched != before
    os.utime(manifest, ns=(1, 1))
    assert plan.tile_dependencies(wildcards()) == fetched


def test_each_dataset_is_made_by_its_source(plan_of, fetching):
    assert plan_of().made_by("fetch") == plan_of().made_by("simulate") == []
    assert fetching().made_by("fetch") == ["cells"]


def test_levels_and_galleries_are_made_only_where_they_are_asked_for(plan_of):
    assert plan_of().aggregated() == plan_of().galleries() == []
    plan = plan_of(aggregate={"levels": ["fov"]}, figures={"gallery": 3})
    names = {path.name for path in plan.targets()}
    assert {"aggregation.svg", "aggregation.png", "cells.svg", "cells.png"} <= names
    assert len(plan.aggregate_files()) == len(plan.aggregated()) == 3
    values = wildcards(representation="tiny", channels="map")
    assert plan.fields_in(values) == []
    assert plan.fields_arguments(values) == []


def test_whole_fields_are_read_and_not_scored_again(plan_of, tmp_path):
    write_yaml(tmp_path / "quarters.yaml", {**DATASET_CARD, "name": "quarters"})
    plan = plan_of(
        datasets=["quarters.yaml", "cards/datasets/cells.yaml"],
        aggregate={"levels": ["fov"], "fields": {"quarters": "cells"}},
    )
    assert {p.dataset for p in plan.aggregated()} == {"quarters"}
    values = wildcards(dataset="quarters", representation="tiny@mean", channels="map")
    assert plan.fields_in(values) == []
    values.representation = "tiny"
    manifest, table = plan.fields_in(values)
    assert manifest.as_posix().endswith("embeddings/cells/tiny/map.json")
    assert table.as_posix().endswith("tiles/cells.tiles.parquet")
    assert plan.fields_arguments(values)[::2] == ["--fields", "--fields-table"]


def test_whole_fields_of_no_dataset_are_reported(plan_of):
    with pytest.raises(UserError, match='"cell" is no dataset of the study') as caught:
        plan_of(aggregate={"levels": ["fov"], "fields": {"cell": "cells"}})
    assert "cells" in str(caught.value)

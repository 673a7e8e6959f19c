import json
import os
import shlex
from types import SimpleNamespace

import pytest

from factories import DATASET_CARD, STUDY, write_study, write_yaml
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.loading import load_study


@pytest.fixture
def plan_of(tmp_path, repository):
    folder = write_study(tmp_path)

    def make(**changes):
        return Plan(load_study({**STUDY, **changes}, [folder, repository], "study.yaml"))

    return make


def wildcards(**values):
    return SimpleNamespace(**{"dataset": "cells", "backbone": "tiny", **values})


def read_by(plan, step, **values):
    """Return what one job of a step reads, by name."""
    inputs = plan.steps[step].inputs().items()
    job = wildcards(**values)
    return {name: given(job) if callable(given) else given for name, given in inputs}


def test_every_probe_of_every_representation_is_compared(plan_of):
    plan = plan_of()
    inputs = plan.steps["compare"].inputs()
    assert len(inputs["scores"]) == 2 * 3
    assert len(set(inputs["scores"] + inputs["predictions"])) == 12


def test_what_is_switched_off_is_not_asked_for(plan_of):
    plan = plan_of(
        knn={"k": []},
        splits={"schemes": ["group"], "folds": {"group": 2}, "fractions": [1.0]},
    )
    assert "heads" in plan.steps
    assert "knn" not in plan.steps
    figures = [name for name in plan.steps if name.startswith("figure_")]
    assert figures == [f"figure_{f}" for f in ("strategies", "classes", "confusion", "pareto")]


def test_a_gpu_is_asked_for_only_by_networks_that_may_use_one(plan_of):
    assert plan_of().steps["embed"].resources()["gpu"] == 0
    steps = plan_of(compute={"device": "auto"}).steps
    on_gpu = steps["embed"].resources()["gpu"]
    assert on_gpu(wildcards()) == 1
    assert on_gpu(wildcards(backbone="handcrafted")) == 0
    # A small store is faster on the processor.
    assert steps["heads"].resources()["gpu"](wildcards()) == 0


def test_a_mean_is_read_from_the_store_of_replicate(plan_of):
    plan = plan_of(channel_strategies=["replicate", "mean"])
    path = read_by(plan, "heads", representation="tiny@mean", channels="mean")["embeddings"]
    assert path.as_posix().endswith("embeddings/cells/tiny/replicate.json")
    assert len(read_by(plan, "embedding_maps")["embeddings"]) == 2


def test_every_view_of_single_channels_is_read_from_one_store(plan_of):
    views = ["mean", "only-nucleus", "only-protein"]
    plan = plan_of(channel_strategies=views, backbones=["cards/backbones/tiny.yaml"])
    read = {
        str(read_by(plan, "heads", representation="tiny", channels=v)["embeddings"]) for v in views
    }
    assert read == {str(path) for path in read_by(plan, "embedding_maps")["embeddings"]}
    assert len(read) == 1


def test_a_thousand_stores_fit_into_a_shell_command(plan_of):
    nested = json.loads(plan_of().steps["compare"].params()["stores"])
    assert nested == {"cells": {"tiny": ["replicate", "map"], "handcrafted": ["features"]}}


def test_fractions_do_not_divide_anew(plan_of):
    first, second = plan_of(), plan_of(splits={**STUDY["splits"], "fractions": [0.1, 1.0]})

    def settings(plan, step):
        return plan.steps[step].params()["settings"]

    assert settings(first, "splits") == settings(second, "splits")
    assert settings(first, "heads") != settings(second, "heads")


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
    path.write_text(json.dumps({"made_for": plan.steps["fetch"].depends(wildcards())}))
    return path


def test_tiles_wait_for_a_fetch_that_is_to_come_and_not_for_one_that_is_repeated(fetching):
    plan = fetching()
    manifest = plan.paths.fetched("cells")
    assert (
        plan.steps["tiles"].given_sheet(wildcards())
        == plan.steps["tiles"].fetched_before(wildcards())
        == []
    )
    assert plan.steps["tiles"].fetched_anew(wildcards()) == [manifest]
    write_manifest(plan)
    assert plan.steps["tiles"].fetched_anew(wildcards()) == []
    assert plan.steps["tiles"].fetched_before(wildcards()) == [manifest]
    assert fetching(downloads={"connections": 1}).steps["tiles"].fetched_before(wildcards()) == [
        manifest
    ]
    assert fetching(limit=3).steps["tiles"].fetched_anew(wildcards()) == [manifest]


def test_another_annotation_table_is_another_fetch(fetching, tmp_path):
    plan = fetching()
    write_manifest(plan)
    assert plan.steps["fetch"].sources(wildcards()) == [tmp_path / "table.csv"]
    (tmp_path / "table.csv").write_text("ensg_id,target_name\n")
    assert plan.steps["tiles"].fetched_before(wildcards()) == []


def test_what_was_fetched_counts_by_its_content(fetching):
    plan = fetching()
    before = plan.steps["tiles"].depends(wildcards())
    manifest = write_manifest(plan)
    fetched = plan.steps["tiles"].depends(wildcards())
    assert fetched != before
    os.utime(manifest, ns=(1, 1))
    assert plan.steps["tiles"].depends(wildcards()) == fetched


def test_each_dataset_is_made_by_its_source(plan_of, fetching):
    assert not {"fetch", "simulate"} & plan_of().steps.keys()
    assert fetching().steps["fetch"].values("dataset") == ["cells"]


def test_levels_and_galleries_are_made_only_where_they_are_asked_for(plan_of):
    assert not {"aggregate", "aggregation", "gallery"} & plan_of().steps.keys()
    plan = plan_of(aggregate={"levels": ["fov"]}, figures={"gallery": 3})
    names = {path.name for path in plan.targets()}
    assert {"aggregation.svg", "aggregation.png", "cells.svg", "cells.png"} <= names
    aggregate, scores = plan.steps["aggregate"], plan.steps["aggregation"].inputs()["scores"]
    assert len(scores) == len(aggregate.planned) == 3
    values = wildcards(representation="tiny", channels="map")
    assert aggregate.fields(values) == []
    assert aggregate.fields_arguments(values) == []


def test_whole_fields_are_read_and_not_scored_again(plan_of, tmp_path):
    write_yaml(tmp_path / "quarters.yaml", {**DATASET_CARD, "name": "quarters"})
    plan = plan_of(
        datasets=["quarters.yaml", "cards/datasets/cells.yaml"],
        aggregate={"levels": ["fov"], "fields": {"quarters": "cells"}},
    )
    aggregate = plan.steps["aggregate"]
    assert aggregate.values("dataset") == ["quarters"]
    values = wildcards(dataset="quarters", representation="tiny@mean", channels="map")
    assert aggregate.fields(values) == []
    values.representation = "tiny"
    manifest, table = aggregate.fields(values)
    assert manifest.as_posix().endswith("embeddings/cells/tiny/map.json")
    assert table.as_posix().endswith("tiles/cells.tiles.parquet")
    assert aggregate.fields_arguments(values)[::2] == ["--fields", "--fields-table"]


def test_whole_fields_of_no_dataset_are_reported(plan_of):
    with pytest.raises(UserError, match='"cell" is not a dataset of the study') as caught:
        plan_of(aggregate={"levels": ["fov"], "fields": {"cell": "cells"}})
    assert "cells" in str(caught.value)


def test_braces_in_the_name_of_a_users_file_are_its_own(plan_of, tmp_path):
    (tmp_path / "raw/samples.tsv").rename(tmp_path / "raw/{plate}_{1}.tsv")
    card = {**DATASET_CARD, "sheet": "../../raw/{plate}_{1}.tsv"}
    write_yaml(tmp_path / "cards/datasets/cells.yaml", card)
    plan = plan_of()
    (sheet,) = plan.steps["tiles"].files_read()
    assert sheet.name == "{plate}_{1}.tsv"
    assert sheet.is_file()
    assert plan.readers["tiles"] >= {"embed", "splits"}


@pytest.mark.parametrize("own", ["", "Snakefile", "workflow/Snakefile"])
def test_printed_commands_of_snakemake_can_be_pasted(
    plan_of, tmp_path, monkeypatch, own, repository
):
    folder = tmp_path / "my 'studies'"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if own:
        (folder / own).parent.mkdir(exist_ok=True)
        (folder / own).touch()
    plan = plan_of()
    for target in plan.targets():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    message = plan.closing_message([folder / "my study.yaml"])
    [command] = [line.partition(": ")[2] for line in message.splitlines() if "--report" in line]
    words = shlex.split(command)
    named = ["--snakefile", str(repository / "Snakefile")]
    start = ["snakemake", "--cores", "1", "--report", "results/tiny/snakemake-report.html"]
    study = ["--configfile", str(folder / "my study.yaml")]
    assert words == [*start, *([] if own else named), *study]


def test_labels_per_class_change_heads_and_neighbours_alone(plan_of):
    splits = {"schemes": ["group"], "folds": {"group": 2}, "fractions": [0.5, 1.0]}
    everything = {
        "ablation": {"channels": ["protein"], "occlusion": {}, "weights": True},
        "joining": {"backbones": [["tiny", "handcrafted"]]},
        "nuisance": {},
    }
    plans = [
        plan_of(**everything, splits={**splits, "groups_per_class": counts})
        for counts in ([], [1, 2])
    ]
    before, after = (
        {
            name: [json.dumps(step.made_from()(job), default=str) for job in step.planned]
            for name, step in plan.steps.items()
        }
        for plan in plans
    )
    assert {"ablate", "occlude", "join", "nuisance"} <= set(before)
    changed = {name for name in before if before[name] != after[name]}
    assert {"heads", "knn"} <= changed
    assert changed <= {"heads", "knn", "compare", "report"}

"""What is reduced, and what reads it, follows from config and cards alone."""

import json
import re
from types import SimpleNamespace

import pytest

from factories import STUDY, TINY_NETWORK, write_study, write_yaml
from transferscope.cards.lookup import SHIPPED
from transferscope.costs.estimate import estimate
from transferscope.costs.rates import Rates
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.steps.preflight import preflight
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study
from transferscope.study.reductions import (
    not_reduced,
    reduced_side,
    reduced_stores,
    worth_reducing,
)

LARGE = {**TINY_NETWORK, "name": "large", "input_size": 64}


def study_of(folder, reduced, **changes):
    write_study(folder)
    write_yaml(folder / "cards/backbones/large.yaml", LARGE)
    path = folder / "study.yaml"
    write_yaml(path, {**STUDY, **changes, "reduced_tiles": reduced})
    return load_study(merged_config(path), [folder, SHIPPED], str(path))


def parameters(plan):
    return {
        (name, json.dumps(job)): json.dumps(
            [step.parameters(job), step.read_by(job), step.made_from()(job)], default=str
        )
        for name, step in plan.steps.items()
        for job in step.planned
    }


def test_an_entry_adds_a_job_and_changes_those_that_read_it_alone(tmp_path):
    backbones = [*STUDY["backbones"], "cards/backbones/large.yaml"]
    ablation = {"backbones": ["tiny", "large"], "occlusion": {}}
    before, after = (
        Plan(study_of(tmp_path, reduced, backbones=backbones, ablation=ablation))
        for reduced in ({}, {"cells": [32]})
    )
    old, new = parameters(before), parameters(after)
    assert set(new) - set(old) == {("reduce", '{"dataset": "cells", "side": "32"}')}
    changed = {job for job in old if old[job] != new[job]}
    pairs = {(name, json.loads(job).get("backbone")) for name, job in changed}
    assert {pair for pair in pairs if pair[1]} == {("embed", "tiny"), ("embed_ablated", "tiny")}
    assert {name for name, _ in changed} == {"embed", "embed_ablated", "occlude", "occlusion_maps"}
    paths = after.study.paths
    for name in ("occlude", "occlusion_maps"):
        step = after.steps[name]
        for job in step.planned:
            is_small = job["representation"] == "tiny"
            assert (paths.reduced_tiles("cells", 32) in step.read_by(job)) == is_small
            assert (paths.tiles("cells") in step.read_by(job)) != is_small


def test_a_backbone_more_changes_no_job_that_was_there(tmp_path):
    names = ["cards/backbones/tiny.yaml", "handcrafted", "cards/backbones/large.yaml"]
    plans = [
        Plan(study_of(tmp_path, {"cells": [32]}, backbones=chosen)) for chosen in (names[:2], names)
    ]
    before, after = map(parameters, plans)
    changed = {name for name, job in before if before[name, job] != after[name, job]}
    assert changed <= {"compare", "report", "embedding_maps", "gallery"}


def test_needs_are_those_of_the_tiles_that_are_read(tmp_path):
    whole, reduced = (Plan(study_of(tmp_path, r)) for r in ({}, {"cells": [32]}))
    job = SimpleNamespace(dataset="cells", backbone="tiny", channels="map")
    assert whole.steps["embed"].sizes.embedded("cells", "tiny")[1] == (2, 64, 64)
    assert reduced.steps["embed"].sizes.embedded("cells", "tiny")[1] == (2, 32, 32)
    assert reduced.steps["embed"].sizes.embedded("cells", "handcrafted")[1] == (2, 64, 64)
    of_reduced = SimpleNamespace(dataset="cells", side="32")
    smallest = reduced.steps["reduce"].need(of_reduced).mem_mb
    # Of far larger tiles, buffers and batches count.
    needs = []
    for plan in (whole, reduced):
        plan.steps["embed"].sizes.tiles = lambda _: (100, (2, 8192, 8192))
        needs.append(plan.steps["embed"].need(job).mem_mb)
    assert needs[1] < needs[0]
    assert reduced.steps["reduce"].need(of_reduced).mem_mb > smallest
    rates = Rates(1e12, 1e12, "cpu", "fp32", measured=False)
    found = [estimate(plan.study, plan.jobs(), rates) for plan in (whole, reduced)]
    assert found[0].reduced_bytes == 0
    assert 0 < found[1].reduced_bytes < found[1].tile_bytes


def test_where_no_backbone_reads_them_nothing_is_made_and_it_is_said(tmp_path, caplog):
    study = study_of(tmp_path, {"cells": [16]})
    assert not reduced_stores(study)
    assert "reduce" not in Plan(study).steps
    (reason,) = not_reduced(study)
    assert "no backbone reads tiles of `cells` at 16 px" in reason
    preflight(study)
    assert reason in caplog.text


@pytest.mark.parametrize(
    ("reduced", "message"),
    [
        ({"cell": [32]}, '"cell" is not a dataset of the study'),
        ({"cells": [8]}, "16"),
        ({"cells": [32, 32]}, "32"),
        ({"cells": [64]}, "its tiles, 64 x 64 px, are not twice as large as 64 px"),
    ],
)
def test_what_cannot_be_is_said_before_the_run(reduced, message, tmp_path):
    with pytest.raises(UserError, match=re.escape(message)):
        preflight(study_of(tmp_path, reduced))


def test_a_backbone_reads_its_own_side_or_one_that_is_twice_as_large(tmp_path):
    small, large = "tiny", "large"
    both = [*STUDY["backbones"], "cards/backbones/large.yaml"]
    expected = {
        (32,): {small: 32, large: None},
        (64,): {small: 64, large: 64},
        (48, 127): {small: 127, large: None},
        (48, 63): {small: None, large: None},
        (64, 32): {small: 32, large: 64},
        (512, 128): {small: 128, large: 128},
    }
    for sides, read in expected.items():
        study = study_of(tmp_path, {"cells": list(sides)}, backbones=both)
        found = {name: reduced_side(study, "cells", name) for name in study.backbones}
        assert found == {**read, "handcrafted": None}, sides
        made = sorted({side for side in read.values() if side is not None})
        assert reduced_stores(study) == [("cells", side) for side in made]
        assert len(not_reduced(study)) == len(sides) - len(made)


def test_large_tiles_are_worth_it_where_an_input_is_at_most_half(tmp_path):
    study = study_of(tmp_path, {})
    said = worth_reducing(study, {"cells": (64, 64)})
    assert "`reduced_tiles: {cells: [32]}`" in said
    assert worth_reducing(study, {"cells": (63, 64)}) is None
    assert worth_reducing(study_of(tmp_path, {"cells": [32]}), {"cells": (64, 64)}) is None
    both = [*STUDY["backbones"], "cards/backbones/large.yaml"]
    for reduced, said in (({}, "{cells: [64]}"), ({"cells": [32]}, "{cells: [32, 64]}")):
        study = study_of(tmp_path, reduced, backbones=both)
        assert said in worth_reducing(study, {"cells": (600, 600)})

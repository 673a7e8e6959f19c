"""What an embedding job is told about the other strategies of its backbone."""

import json
from types import SimpleNamespace

import pytest

from command_tree import words_of
from factories import STUDY, write_study
from transferscope.config.channel_strategies import store_strategy
from transferscope.costs.sizes import Sizes
from transferscope.steps.plan import Plan
from transferscope.study.loading import load_study

STORE = {"dataset": "cells", "backbone": "tiny", "channels": "replicate"}


@pytest.fixture
def steps_of(tmp_path, repository):
    """Return a function that makes the steps of a study."""
    write_study(tmp_path)

    def make(**changes):
        config = {**STUDY, "results": str(tmp_path / "results"), **changes}
        return Plan(load_study(config, [tmp_path, repository], "study.yaml")).steps

    return make


def siblings_in(words):
    return [words[i + 1] for i, word in enumerate(words) if word == "--also"]


@pytest.mark.parametrize(("name", "parts"), [("embed", 1), ("embed_part", 3)])
def test_a_job_is_told_of_every_other_store_of_its_backbone(steps_of, name, parts):
    strategies = ["replicate", "mean", "map", "only-protein", "adapt"]
    compute = {**STUDY["compute"], "jobs_per_store": parts}
    step = steps_of(channel_strategies=strategies, compute=compute)[name]
    stored = {store_strategy(one) for one in strategies}
    for job in step.planned:
        told = dict(text.split("=") for text in siblings_in(words_of(step, job)))
        tiny = job["backbone"] == "tiny"
        assert set(told) == (stored - {job["channels"]} if tiny else set())
        assert all(f"/embeddings/cells/tiny/{one}.json" in path for one, path in told.items())


@pytest.mark.parametrize(("name", "parts"), [("embed", 1), ("embed_part", 2)])
def test_another_strategy_changes_nothing_on_which_a_job_depends(steps_of, name, parts):
    compute = {**STUDY["compute"], "jobs_per_store": parts}
    few = steps_of(channel_strategies=["replicate"], compute=compute)
    many = steps_of(channel_strategies=["replicate", "map", "adapt"], compute=compute)
    assert not siblings_in(words_of(few[name], few[name].planned[0]))
    job = {**STORE, "part": "0"}
    for step, other in ((few[name], many[name]), (few["embed"], many["embed"])):
        assert json.dumps(step.parameters(job), default=str) == json.dumps(
            other.parameters(job), default=str
        )
        assert step.made_from()(job) == other.made_from()(job)


def test_a_pass_may_take_as_long_as_all_of_its_stores(steps_of, monkeypatch):
    # Of a network of unknown size: what the tiny one needs is lost in the rounding.
    monkeypatch.setattr(Sizes, "cost", lambda *_: (None, 1))
    many, few = (
        steps_of(channel_strategies=names)["embed"].need(SimpleNamespace(**STORE))
        for names in (["replicate", "map", "adapt"], ["replicate"])
    )
    assert many.mem_mb > few.mem_mb
    assert many.minutes > few.minutes


def test_a_store_from_before_networks_were_compiled_is_not_out_of_date(steps_of):
    made_from = {
        choice: steps_of(compute={**STUDY["compute"], "compile": choice})["embed"].made_from()(
            STORE
        )
        for choice in ("auto", "on", "off")
    }
    written = steps_of()["embed"].parameters(STORE)["settings"]
    assert "compile" not in json.loads(written)
    assert len({json.dumps(one) for one in made_from.values()}) == 3
    assert made_from["auto"] == steps_of()["embed"].made_from()(STORE)

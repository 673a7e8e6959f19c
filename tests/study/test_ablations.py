"""What is ablated follows from config and cards, or a sentence says why something is not."""

import json
from types import SimpleNamespace

import pytest

from command_tree import words_of
from factories import DATASET_CARD, STUDY, write_study, write_yaml
from transferscope.cards.lookup import SHIPPED
from transferscope.config.ablation import OcclusionSettings
from transferscope.costs.estimate import estimate
from transferscope.costs.rates import Rates
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.ablations import ablated_stores, not_ablated
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study

CARD = {**DATASET_CARD, "sheet": "../../raw/samples.tsv"}


def study_of(folder, ablation, card=None, **changes):
    write_study(folder)
    write_yaml(folder / "cards/datasets/cells.yaml", {**CARD, **(card or {})})
    path = folder / "study.yaml"
    write_yaml(path, {**STUDY, **changes, "ablation": ablation})
    return load_study(merged_config(path), [folder, SHIPPED], str(path))


def names(study):
    return {
        (s.probed.backbone, s.probed.channels): [a.name for a in s.ablations]
        for s in ablated_stores(study)
    }


def test_every_channel_of_every_network_is_exchanged(tmp_path):
    study = study_of(tmp_path, {}, channel_strategies=["replicate", "map", "mean", "map-random"])
    both = ["permuted-nucleus", "permuted-protein"]
    assert names(study) == {("tiny", c): both for c in ("replicate", "map", "mean")}
    assert not not_ablated(study)


def test_names_choose_backbones_strategies_channels_and_kinds(tmp_path):
    chosen = {
        "backbones": ["handcrafted", "tiny"],
        "channel_strategies": ["map"],
        "channels": ["protein"],
        "kinds": ["zeroed", "permuted"],
    }
    found = names(study_of(tmp_path, chosen))
    both = ["zeroed-protein", "permuted-protein"]
    assert found == {("tiny", "map"): both, ("handcrafted", "features"): both}


def test_a_channel_that_a_network_does_not_see_is_left_out(tmp_path):
    more = [*DATASET_CARD["channels"], "actin"]
    limits = {**DATASET_CARD["intensity_range"], "actin": [0, 4000]}
    found = names(study_of(tmp_path, {}, {"channels": more, "intensity_range": limits}))
    assert "permuted-actin" in found["tiny", "replicate"]
    assert "permuted-actin" not in found["tiny", "map"]


def test_without_the_section_nothing_is_planned(tmp_path):
    study = study_of(tmp_path, None)
    assert not ablated_stores(study)
    assert not {"embed_ablated", "ablate"} & set(Plan(study).steps)


def test_an_ablation_plans_its_own_jobs_and_changes_no_other(tmp_path):
    plain = Plan(study_of(tmp_path, None)).steps
    steps = Plan(study_of(tmp_path, {})).steps
    assert len(steps["embed_ablated"].planned) == 2 * 2
    assert len(steps["ablate"].planned) == 2
    new = {"embed_ablated", "ablate", "compare", "report", "figure_ablation"}
    assert new - {"compare", "report"} == set(steps) - set(plain)
    for name in set(plain) - new:
        assert steps[name].planned == plain[name].planned
        for job in plain[name].planned:
            own, other = (steps[name].parameters(job), plain[name].parameters(job))
            assert json.dumps(own, default=str) == json.dumps(other, default=str)


def test_covering_tiles_adds_a_table_and_a_figure_per_store_and_changes_no_other(tmp_path):
    plain = Plan(study_of(tmp_path, {"channels": ["protein"]})).steps
    asked = {"channels": ["protein"], "occlusion": {"tiles": 3, "patch": 0.25}}
    steps = Plan(study_of(tmp_path, asked)).steps
    assert set(steps) - set(plain) == {"occlude", "occlusion_maps"}
    for name in set(plain) - {"report"}:
        for job in plain[name].planned:
            own, other = (steps[name].parameters(job), plain[name].parameters(job))
            assert json.dumps(own, default=str) == json.dumps(other, default=str)
    occlude, maps = steps["occlude"], steps["occlusion_maps"]
    assert len(occlude.planned) == len(maps.planned) == 2
    for job in occlude.planned:
        settings = json.loads(occlude.parameters(job)["settings"])
        assert settings["covered"] == ["protein"]
        assert settings["occlusion"]["tiles"] == 3
        (table,) = occlude.files_of(job)
        assert table in maps.read_by(job)
        assert occlude.need(SimpleNamespace(**job)).mem_mb > 0


def test_weights_are_learned_on_stores_of_replicate_alone(tmp_path):
    plain = Plan(study_of(tmp_path, {})).steps
    steps = Plan(study_of(tmp_path, {"weights": True})).steps
    assert set(steps) - set(plain) == {"weigh_channels"}
    (job,) = steps["weigh_channels"].planned
    assert (job["representation"], job["channels"]) == ("tiny", "replicate")
    words = words_of(steps["compare"], {})
    assert json.loads(words[words.index("--weighted") + 1]) == {"cells": {"tiny": ["replicate"]}}
    assert set(steps["weigh_channels"].files_of(job)) <= set(steps["compare"].read_by({}))
    assert steps["weigh_channels"].need(SimpleNamespace(**job)).mem_mb > 0


def test_covered_tiles_are_counted_before_the_run(tmp_path):
    study = study_of(tmp_path, {"channels": ["protein"], "occlusion": {"tiles": 3, "patch": 0.25}})
    found = estimate(study, {}, Rates(1e9, 1e9, "cpu", "fp32", measured=False))
    hours = {job.channels: job.hours for job in found.embed if job.channels.startswith("map")}
    size = found.fields["cells"].tile_shape[-2:]
    share = OcclusionSettings(tiles=3, patch=0.25).n_images(size, 1) / found.fields["cells"].n_tiles
    assert hours["map, covered"] == pytest.approx(hours["map"] * share)
    assert share > 1


def test_jobs_of_one_ablation_share_a_pass_over_the_tiles(tmp_path):
    step = Plan(study_of(tmp_path, {})).steps["embed_ablated"]
    for job in step.planned:
        words = words_of(step, job)
        told = [words[i + 1] for i, word in enumerate(words) if word == "--also"]
        other = {"map": "replicate", "replicate": "map"}[job["channels"]]
        (only,) = told
        assert only.startswith(f"{other}=")
        assert only.endswith(f"ablated/cells/tiny/{other}/{job['ablation']}.json")


@pytest.mark.parametrize(
    ("ablation", "changes", "text"),
    [
        ({"backbones": ["tinny"]}, {}, '"tinny" is none of the study\n.*Did you mean "tiny"'),
        ({"channels": ["actin"]}, {}, '"actin" is none of the study'),
        ({"channel_strategies": ["adapt"]}, {}, '"adapt" is none of the study'),
        ({"kinds": ["blurred"]}, {}, "kinds"),
        ({}, {"scored": False}, "needs scores or their splits"),
        ({}, {"backbones": ["handcrafted"]}, "no channel can be ablated"),
        ({}, {"splits": {"schemes": ["image"]}}, "needs group among splits.schemes"),
        ({"occlusion": {"patch": 0}}, {}, "patch"),
        ({"weights": True}, {"channel_strategies": ["map"]}, "no store of `replicate`"),
        ({"occlusion": {}}, {"heads": {"kinds": []}}, "occlusion.*needs trained heads"),
    ],
)
def test_what_cannot_be_ablated_stops_the_study_and_says_why(tmp_path, ablation, changes, text):
    with pytest.raises(UserError, match=text):
        study_of(tmp_path, ablation, **changes)


def test_a_dataset_of_one_channel_is_said_to_have_no_other(tmp_path):
    one = {"channels": ["protein"], "intensity_range": {"protein": [0, 4000]}}
    with pytest.raises(UserError, match="`cells` has one channel: nothing would be left"):
        study_of(tmp_path, {}, one)

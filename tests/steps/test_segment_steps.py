"""The steps of segmentation: opt-in, one job per backbone and strategy, checked before a run."""

import json
import shlex
from types import SimpleNamespace

import pytest
import yaml

from factories import STUDY, TINY_NETWORK, write_yaml
from transferscope.config.jobs import SegmentationProbe
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.loading import load_study

STEPS = {"targets", "segment", "segment_compare"}


@pytest.fixture
def study_of(tmp_path, repository, monkeypatch):
    monkeypatch.chdir(tmp_path)
    slots = [{"name": name} for name in ("red", "green", "blue")]
    write_yaml(tmp_path / "tiny.yaml", {"name": "tiny", **TINY_NETWORK, "slots": slots})

    def make(segmentation=None, **changes):
        config = {
            **STUDY,
            "datasets": ["glands-demo"],
            "backbones": ["tiny.yaml", "tiny.yaml@mean", "handcrafted"],
            "splits": {**STUDY["splits"], "seeds": [0, 1]},
            "segmentation": segmentation,
            **changes,
        }
        return load_study(config, [tmp_path, repository / "resources", repository], "study.yaml")

    return make


def test_without_the_key_there_is_no_step_and_nothing_else_changes(study_of):
    plan = Plan(study_of())
    assert not STEPS & set(plan.steps)
    with_it = Plan(study_of({}))
    assert set(with_it.steps) > STEPS
    for name, step in plan.steps.items():
        other = with_it.steps[name]
        assert step.planned == other.planned
        if name not in {"compare", "report"}:
            assert step.parameters(step.planned[0]) == other.parameters(step.planned[0])
    assert "--segmented" in with_it.steps["compare"].params()["more"]
    assert "--segmented" not in plan.steps["compare"].params()["more"]


def test_outputs_of_a_backbone_share_a_job_and_features_by_hand_have_none(study_of):
    step = Plan(study_of({})).steps["segment"]
    jobs = [(job["backbone"], job["channels"]) for job in step.planned]
    assert jobs == [("tiny", "replicate"), ("tiny", "map")]


def test_a_job_is_told_what_the_study_asks_for(study_of):
    asked = {"decoders": ["conv"], "fractions": [1.0], "seeds": [1], "steps": 7}
    plan = Plan(study_of(asked))
    step = plan.steps["segment"]
    job = step.planned[0]
    wildcards = SimpleNamespace(**job)
    read = {path.name for path in step.read_by(job)}
    assert read == {"glands-demo.json", "glands-demo.tiles.parquet", "glands-demo.parquet"}
    files = {"tiles": "t", "targets": "m", "table": "a", "splits": "s"}
    outputs = SimpleNamespace(scores="o", predictions="p")
    words = shlex.split(str(step.arguments(wildcards, SimpleNamespace(**files), outputs, 1)))
    settings = words[words.index("--settings") + 1]
    probe = SegmentationProbe.model_validate(json.loads(settings))
    assert probe.settings.model_dump(include=set(asked)) == asked
    assert words[words.index("--channels") + 1] == "replicate"
    assert step.need(wildcards).mem_mb > 1000


def test_more_decoders_take_more_time(study_of):
    needs = []
    for decoders in (["linear"], ["linear", "conv", "unet"], ["conv-image", "unetr"]):
        step = Plan(study_of({"decoders": decoders, "steps": 100_000})).steps["segment"]
        needs.append(step.need(SimpleNamespace(**step.planned[0])).minutes)
    assert needs[1] > 2 * needs[0]
    assert needs[2] > needs[1]


@pytest.mark.parametrize(
    ("segmentation", "changes", "text"),
    [
        ({}, {"datasets": ["opencell-demo"]}, "none of the datasets says what masks mean"),
        ({}, {"backbones": ["handcrafted"]}, "none of the backbones is a network"),
        ({"fractions": [0.3]}, {}, "segmentation.fractions: 0.3 is not among the study's"),
        ({"seeds": [7]}, {}, "segmentation.seeds: 7 is not among the study's"),
        ({"decoders": []}, {}, "at least 1 item"),
        ({"decoders": ["segformer"]}, {}, "decoders"),
        (
            {},
            {"splits": {**STUDY["splits"], "schemes": ["image"]}},
            "segmentation: needs group among splits.schemes",
        ),
    ],
)
def test_what_cannot_be_segmented_is_told_before_a_run(study_of, segmentation, changes, text):
    with pytest.raises(UserError) as caught:
        study_of(segmentation, **changes)
    assert text in str(caught.value)


@pytest.fixture
def two_labs(study_of, tmp_path, repository):
    card = yaml.safe_load((repository / "resources/datasets/glands-demo.yaml").read_text())

    def make(out_of_domain, **changes):
        write_yaml(tmp_path / "other.yaml", {**card, "name": "other", **changes})
        asked = {"out_of_domain": out_of_domain}
        return study_of(asked, datasets=["glands-demo", "other.yaml"])

    return make


def test_a_job_reads_what_it_is_tested_on_out_of_domain(two_labs):
    plan = Plan(two_labs({"glands-demo": ["other"]}))
    step = plan.steps["segment"]
    for job in step.planned:
        read = {str(path) for path in step.read_by(job)}
        is_tested = any("other" in path for path in read if job["dataset"] == "glands-demo")
        assert is_tested == (job["dataset"] == "glands-demo")
        more = step.parameters(job)["more"]
        assert ("--other-tiles" in more) == is_tested
        assert more[more.index("--elsewhere") + 1] in map(str, step.files_of(job))
    compared = plan.steps["segment_compare"]
    assert compared.params()["more"] == ["--out-of-domain"]
    assert {"mask_shifts", "mask_shift_pairs"} <= {path.stem for path in compared.files()}
    alone = Plan(two_labs({})).steps["segment"]
    job = step.planned[0]
    assert step.need(SimpleNamespace(**job)).mem_mb > alone.need(SimpleNamespace(**job)).mem_mb


@pytest.mark.parametrize(
    ("asked", "changes", "text"),
    [
        ({"glands-demo": ["othr"]}, {}, '"othr" is no dataset of the study with masks'),
        ({"glands": ["other"]}, {}, '"glands" is no dataset of the study with masks'),
        ({"other": ["other"]}, {}, "is tested on itself"),
        (
            {"glands-demo": ["other"]},
            {"masks": {"kind": "classes", "classes": {1: "gland"}}},
            'masks of "other" have other classes: object and gland',
        ),
        (
            {"glands-demo": ["other"]},
            {"channels": ["red", "green", "far-red"]},
            '"other" has other channels: red, green, far-red',
        ),
    ],
)
def test_what_cannot_be_tested_out_of_domain_is_refused(two_labs, asked, changes, text):
    with pytest.raises(UserError, match=text):
        two_labs(asked, **changes)


def test_objects_without_numbered_masks_are_refused(study_of, tmp_path, repository):
    card = yaml.safe_load((repository / "resources/datasets/glands-demo.yaml").read_text())
    write_yaml(tmp_path / "b.yaml", {**card, "name": "b", "masks": {"kind": "binary"}})
    with pytest.raises(UserError, match="no masks number their objects"):
        study_of({"objects": True}, datasets=["b.yaml"])
    study_of({"objects": True}, datasets=["b.yaml", "glands-demo"])


def test_trained_backbones_take_time_and_memory(study_of):
    needs = [
        Plan(study_of({"tuning": tuning})).steps["segment"] for tuning in (None, {"steps": 100_000})
    ]
    frozen, tuned = (step.need(SimpleNamespace(**step.planned[0])) for step in needs)
    assert tuned.minutes > 2 * frozen.minutes
    assert tuned.mem_mb > frozen.mem_mb

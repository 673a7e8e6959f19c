"""What is joined follows from config and cards, or a sentence says why something is not."""

import json

import pytest

from command_tree import words_of
from factories import STUDY, TRAINED, write_study, write_yaml
from transferscope.cards.lookup import SHIPPED
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.defaults import merged_config
from transferscope.study.joinings import joined_stores, not_joined
from transferscope.study.loading import load_study

PAIR = [["tiny", "handcrafted"]]


def study_of(folder, joining, **changes):
    write_study(folder)
    write_yaml(folder / "cards/backbones/trained.yaml", {"name": "trained", **TRAINED})
    path = folder / "study.yaml"
    write_yaml(path, {**STUDY, **changes, "joining": joining})
    return load_study(merged_config(path), [folder, SHIPPED], str(path))


def parts(study):
    return {
        each.probed.representation + "/" + each.channels: [
            f"{p.representation}/{p.channels}" for p in each.parts
        ]
        for each in joined_stores(study)
    }


def test_a_pair_is_joined_in_every_strategy_but_random_orders_and_single_channels(tmp_path):
    strategies = ["replicate", "map", "mean", "map-random", "only-protein"]
    study = study_of(tmp_path, {"backbones": PAIR}, channel_strategies=strategies)
    assert parts(study) == {
        f"tiny,handcrafted/{channels}": [f"tiny/{channels}", "handcrafted/features"]
        for channels in ("replicate", "map", "mean")
    }
    assert not not_joined(study)


def test_names_choose_copies_corrections_and_strategies(tmp_path):
    chosen = {
        "backbones": [["tiny", "tiny"], ["tiny", "tiny+standardise", "handcrafted"]],
        "channel_strategies": ["map"],
    }
    study = study_of(tmp_path, chosen, correction={"methods": ["none", "standardise"]})
    assert parts(study) == {
        "tiny,tiny/map": ["tiny/map", "tiny/map"],
        "tiny,tiny+standardise,handcrafted/map": [
            "tiny/map",
            "tiny+standardise/map",
            "handcrafted/features",
        ],
    }


def test_two_stores_without_channels_are_joined_whatever_strategies_are_named(tmp_path):
    chosen = {"backbones": [["handcrafted", "handcrafted"]], "channel_strategies": ["map"]}
    assert list(parts(study_of(tmp_path, chosen))) == ["handcrafted,handcrafted/features"]


def test_a_joining_plans_its_own_jobs_and_changes_no_other(tmp_path):
    plain = Plan(study_of(tmp_path, None)).steps
    steps = Plan(study_of(tmp_path, {"backbones": PAIR, "channel_strategies": ["map"]})).steps
    assert set(steps) - set(plain) == {"join"}
    (job,) = steps["join"].planned
    words = words_of(steps["join"], job)
    told = [words[i + 1] for i, word in enumerate(words) if word == "--part"]
    settings = json.loads(words[words.index("--settings") + 1])
    assert settings["probes"]["heads"]["kinds"] == ["logreg"], "not the mlp of the study"
    assert set(settings["probes"]) == {"heads", "knn"}
    folder = "results/tiny/embeddings/cells"
    assert told == [
        f"tiny/map={folder}/tiny/map.json",
        f"handcrafted/features={folder}/handcrafted/features.json",
    ]
    for name in set(plain) - {"compare", "report"}:
        assert steps[name].planned == plain[name].planned
        for job in plain[name].planned:
            own, other = (steps[name].parameters(job), plain[name].parameters(job))
            assert json.dumps(own, default=str) == json.dumps(other, default=str)
    tables = [path.name for path in steps["compare"].files()]
    assert "joined.parquet" in tables


def test_what_is_trained_in_the_study_is_told_not_to_be_joined(tmp_path):
    backbones = [*STUDY["backbones"], "cards/backbones/trained.yaml"]
    both = {"backbones": [*PAIR, ["tiny", "trained"]]}
    study = study_of(tmp_path, both, backbones=backbones)
    (sentence,) = not_joined(study)
    assert sentence.startswith("`tiny` and `trained` are not joined: `trained` is trained in this")
    assert {name.partition("/")[0] for name in parts(study)} == {"tiny,handcrafted"}


@pytest.mark.parametrize(
    ("joining", "changes", "texts"),
    [
        (
            {"backbones": [["tinny", "handcrafed"]], "channel_strategies": ["adapt"]},
            {},
            ['"tinny" is none', 'Did you mean "tiny"', '"handcrafed" is none', '"adapt" is none'],
        ),
        ({"backbones": [["tiny"]]}, {}, ["joining.backbones"]),
        ({"backbones": PAIR * 2}, {}, ["named twice: tiny,handcrafted"]),
        ({"backbones": PAIR}, {"scored": False}, ["needs scores or their splits"]),
        ({"backbones": PAIR}, {"splits": {"schemes": ["image"]}}, ["needs group among"]),
        (
            {"backbones": [["tiny", "tiny"]], "channel_strategies": ["map-random"]},
            {"channel_strategies": ["map", "map-random"]},
            ['"map-random" is none'],
        ),
    ],
)
def test_what_cannot_be_joined_stops_the_study_and_says_why_all_at_once(
    tmp_path, joining, changes, texts
):
    with pytest.raises(UserError) as raised:
        study_of(tmp_path, joining, **changes)
    for text in texts:
        assert text in str(raised.value)

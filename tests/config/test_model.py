from pathlib import Path

import pytest

from transferscope.cards import BackboneCard, DatasetCard, TimmCard
from transferscope.config.model import read_model, read_yaml, validate
from transferscope.config.study import StudyConfig
from transferscope.errors import UserError

MINIMAL = {"study": "s", "datasets": ["d"], "backbones": ["b"]}


def problems_of(value, kind=StudyConfig):
    with pytest.raises(UserError) as caught:
        validate(value, kind, "my.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_defaults_are_filled_in():
    config = validate(MINIMAL, StudyConfig, "my.yaml")
    assert config.splits.folds == {"group": 5, "image": 5}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"bakbones": []}, ["key bakbones: unknown key", 'Did you mean "backbones"?']),
        (
            {"compute": {"devize": "cpu"}},
            ["key compute.devize: unknown key", 'Did you mean "device"?'],
        ),
        ({"compute": {"device": "cdua"}}, ["key compute.device", 'Did you mean "cuda"?']),
        ({"splits": {"folds": {"group": 1}}}, ["key splits.folds.group", "given: 1"]),
        ({"splits": {"fractions": [0.1, 1.5]}}, ["key splits.fractions.1", "given: 1.5"]),
        ({"backbones": ["b", "b"]}, ["key backbones", "named twice: b"]),
        ({"compute": {"device": "s3://key:se/cret@x"}}, ["key compute.device", "'s3://***@x'"]),
        ({"metrics": ["accuracy"]}, ["compare.metric", "macro_f1"]),
        ({"heads": {"epochs": True}}, ["key heads.epochs", "number, not true"]),
        ({"knn": {"k": [1, True]}}, ["key knn.k.1", "number, not true"]),
    ],
)
def test_a_mistake_names_the_key_and_suggests_the_right_one(change, expected):
    (problem,) = problems_of({**MINIMAL, **change})
    for part in ["my.yaml", *expected]:
        assert part in problem


def test_numbers_that_yaml_parses_as_text_are_numbers(tmp_path):
    (tmp_path / "s.yaml").write_text("heads: {learning_rate: 1e-3, epochs: '20'}")
    heads = validate({**MINIMAL, **read_yaml(tmp_path / "s.yaml")}, StudyConfig, "my.yaml").heads
    assert (heads.learning_rate, heads.epochs) == (0.001, 20)


def test_all_mistakes_are_reported_at_once():
    assert len(problems_of({"study": "a b", "metrics": [], "seeds": [1]})) == 4


def test_a_typo_inside_a_card_of_a_union_gets_a_suggestion():
    card = {
        "source": "timm",
        "name": "x",
        "architecture": "v",
        "slots": [{"name": "a"}],
        "outputs": [{"poolin": "cls"}],
    }
    (problem,) = problems_of(card, BackboneCard)
    assert "outputs.0.poolin" in problem
    assert 'Did you mean "pooling"?' in problem


def test_prose_does_not_change_a_fingerprint():
    card = {"source": "timm", "name": "x", "architecture": "v", "slots": [{"name": "a"}]}
    plain = validate(card, TimmCard, "x.yaml")
    described = validate({**card, "description": "good", "licence": "MIT"}, TimmCard, "x.yaml")
    other = validate({**card, "seed": 1}, TimmCard, "x.yaml")
    assert plain.fingerprint() == described.fingerprint() != other.fingerprint()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "line"),
        ("- a\n- b\n", "not a mapping"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_yaml_that_is_no_plain_mapping_is_refused(tmp_path, text, expected):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=expected):
        read_yaml(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml.*does not exist"):
        read_model(tmp_path / "none.yaml", DatasetCard)


@pytest.mark.parametrize("kind", ["backbones", "datasets"])
def test_every_shipped_card_is_valid_and_named_as_its_file(repository, kind):
    model = {"backbones": BackboneCard, "datasets": DatasetCard}[kind]
    paths = sorted((repository / "resources" / kind).glob("*.yaml"))
    assert paths
    for path in paths:
        assert read_model(path, model).name == Path(path).stem

import re
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from transferscope.cards import BackboneCard, DatasetCard, TimmCard
from transferscope.cards.relations import RelationCard
from transferscope.config.model import read_model, read_yaml, validate
from transferscope.config.patterns import IN_WORDS, near_text
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


def patterns_in(schema):
    """Yield every pattern of a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        schema = list(schema.values())
    for below in schema if isinstance(schema, list) else ():
        yield from patterns_in(below)


def test_every_pattern_has_words_and_fits_what_it_proposes():
    schemas = [StudyConfig, DatasetCard, BackboneCard, RelationCard]
    found = {p for kind in schemas for p in patterns_in(TypeAdapter(kind).json_schema())}
    assert len(found) > 8
    for pattern in found:
        if pattern.startswith("^(replicate"):  # strategies have a message of their own
            continue
        assert pattern in IN_WORDS
        near = near_text("My screen; (2)", pattern)
        assert near is None or re.search(pattern, near)


@settings(max_examples=60)
@given(st.text(max_size=20), st.sampled_from(["study", "datasets", "backbones"]))
def test_a_text_of_the_wrong_form_is_never_answered_by_a_regular_expression(text, key):
    value = {**MINIMAL, key: text if key == "study" else [text]}
    try:
        validate(value, StudyConfig, "my.yaml")
    except UserError as error:
        said = str(error).replace(repr(text), "")
        assert not set("[]^$\\") & set(said)


def edited(word, place, kind, letter):
    """Return a word with one typing error: a letter lost, doubled, swapped or another."""
    i = place % len(word)
    return {
        "lost": word[:i] + word[i + 1 :],
        "doubled": word[:i] + word[i] + word[i:],
        "swapped": word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :],
        "another": word[:i] + letter + word[i + 1 :],
    }[kind]


KEYS = sorted(StudyConfig.model_fields)


@settings(max_examples=80)
@given(
    st.sampled_from([key for key in KEYS if len(key) > 4]),
    st.integers(0, 30),
    st.sampled_from(["lost", "doubled", "swapped", "another"]),
    st.sampled_from("xqz"),
)
def test_every_typing_error_in_a_key_gets_a_suggestion(key, place, kind, letter):
    typed = edited(key, place, kind, letter)
    if typed in KEYS:
        return
    said = "\n".join(problems_of({**MINIMAL, typed: {}}))
    near = re.search(r'Did you mean "(\w+)"', said)
    assert near
    # The nearest key, of which there may be two.
    ratio = SequenceMatcher(None, typed, near.group(1)).ratio()
    assert ratio >= SequenceMatcher(None, typed, key).ratio() - 0.1


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

"""YAML that would grow, or nest, without end: an error with its line, in no time."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferscope.cards import DatasetCard
from transferscope.config.model import read_model, read_yaml
from transferscope.config.yaml_limits import MOST_DEPTH, check_yaml_limits
from transferscope.errors import UserError

SECONDS = 5


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        read_model(path, DatasetCard)
    assert time.monotonic() - started < SECONDS
    (problem,) = caught.value.problems
    assert str(path) in problem.where
    assert "line" in problem.where
    assert len(str(problem)) < 1000
    return problem.what


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(2, 12),
    style=st.sampled_from(["[{}]", "{{{}}}", "merge"]),
    data=st.data(),
)
def test_aliases_that_multiply(tmp_path: Path, width: int, style: str, data: st.DataObject) -> None:
    levels = data.draw(st.integers(20 if width == 2 else 14, 200))
    lines = ["a0: &a0 {x: 1}" if style == "merge" else "a0: &a0 [x]"]
    for level in range(1, levels):
        before = [f"*a{level - 1}"] * width
        if style == "merge":
            inner = f"{{<<: [{', '.join(before)}], k{level}: 1}}"
        elif style == "[{}]":
            inner = style.format(", ".join(before))
        else:
            inner = style.format(", ".join(f"k{i}: {a}" for i, a in enumerate(before)))
        lines.append(f"a{level}: &a{level} {inner}")
    assert "values" in refused(tmp_path / "card.yaml", "\n".join(lines))


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "[" * 100 + "]" * 100, "? " * 5_000,
     "\n".join(" " * i + "a:" for i in range(200)), "a: " + "[" * 1_000_000],
)  # fmt: skip
def test_deep_nesting(tmp_path: Path, text: str) -> None:
    assert "deep" in refused(tmp_path / "card.yaml", text)


@pytest.mark.parametrize("text", ["a: &x [*x]", "&x a: {b: *x}", "a: &x [1, {c: *x}]", "&x [*x]"])
def test_what_holds_itself(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        read_model(path, DatasetCard)


def test_numbers_that_take_for_ever(tmp_path: Path) -> None:
    assert "quotes" in refused(tmp_path / "card.yaml", "a: 1" + ":1" * 300_000)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)  # of holes
    with pytest.raises(UserError, match="larger than 16 MiB"):
        read_yaml(path)


VALUES = st.recursive(
    st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=30,
)


@settings(max_examples=60)
@given(value=VALUES, shared=VALUES)
def test_usual_files_pass(value: object, shared: object) -> None:
    check_yaml_limits(yaml.safe_dump({"a": value, "b": [shared] * 3, "c": shared}))


def test_large_cards_pass() -> None:
    check_yaml_limits(yaml.safe_dump({"labels": [f"class {i}" for i in range(20_000)]}))
    check_yaml_limits("[" * (MOST_DEPTH - 1) + "]" * (MOST_DEPTH - 1))
    check_yaml_limits("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: '" + "x" * 1_000_000 + "'")

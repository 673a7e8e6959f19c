"""Whatever a user's file holds: no reader ends in anything but a message that names the place."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factories import DATASET_CARD, STUDY, TINY_NETWORK, sheet_problems
from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.lookup import SHIPPED
from transferscope.config.model import read_model
from transferscope.errors import UserError
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study

fuzzed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CARD = DatasetCard.model_validate({**DATASET_CARD, "sheet": "samples.tsv"})
COLUMNS = ["tile_id", "path", "group", "labels", "fov", "batch", "mask", "path_nucleus", "extra"]
CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["a.tif", "../../a.tif", "/etc/passwd", "~", "con", "membrane;vesicles", "\x00"]
    ),
    st.text(alphabet="\t\r\n\",;'\\ \x00é", max_size=6),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(["", "../..", "a/b.yaml", "x" * 5000, "\x00", "a@b@c", "map-random", 10**400]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), inner, max_size=3),
    ),
    max_leaves=6,
)


def assert_named(error: UserError, file: str) -> None:
    assert error.problems
    for problem in error.problems:
        assert file in problem.where, problem
        assert problem.what
        assert len(str(problem)) < 5000


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where something can be put into plain data."""
    yield path
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in parts:
            yield from places(inner, (*path, key))


def with_value(base: dict[str, Any], path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of plain data with a value put somewhere."""
    if not path:
        return value
    changed = copy.deepcopy(base)
    at: Any = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


@fuzzed
@given(content=st.binary(max_size=200))
def test_any_bytes_as_a_sample_sheet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "samples.tsv"
    path.write_bytes(content)
    assert all("samples.tsv" in problem.where for problem in sheet_problems(path, CARD))


@fuzzed
@given(
    columns=st.lists(st.one_of(st.sampled_from(COLUMNS), CELLS), max_size=6),
    rows=st.lists(st.lists(CELLS, max_size=6), max_size=4),
    delimiter=st.sampled_from("\t,;"),
)
def test_any_cells_in_a_sample_sheet(
    tmp_path: Path, columns: list[str], rows: list[list[str]], delimiter: str
) -> None:
    path = tmp_path / "samples.tsv"
    lines = [delimiter.join(line) for line in (columns, *rows)]
    path.write_bytes("\n".join(lines).encode("utf-8", errors="surrogatepass"))
    assert all("samples.tsv" in problem.where for problem in sheet_problems(path, CARD))


@fuzzed
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), min_size=1, max_size=4))
def test_any_values_under_the_right_header(tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    path = tmp_path / "samples.tsv"
    quoted = [["tile_id", "path", "group", "labels"], *rows]
    lines = ["\t".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in quoted]
    path.write_bytes("\n".join(lines).encode("utf-8", errors="surrogatepass"))
    problems = sheet_problems(path, CARD)
    assert problems, "no such file lies there"
    for problem in problems:
        assert "samples.tsv" in problem.where


@fuzzed
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_as_a_card(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "card.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_model(path, DatasetCard)
    assert_named(caught.value, "card.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "2020-99-99",
        "a: 2020-13-45",
        "a: !!timestamp nonsense",
        "a: !!int 0x",
        "a: !!float x",
        "a: &x [*x]",
        "&x a: *x",
        "[" * 20_000,
        "{a: " * 5_000,
        "- " * 20_000,
        "? [1, 2]\n: 3",
        "<<: 3",
        "a: !!python/object/apply:os.system [true]",
        "a: !!binary ü",
        f"a: {'9' * 6000}",
    ],
)
def test_odd_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_model(path, DatasetCard)
    assert_named(caught.value, "card.yaml")


@pytest.mark.parametrize(
    ("kind", "base"),
    [(DatasetCard, DATASET_CARD), (BackboneCard, {"name": "tiny", **TINY_NETWORK})],
)
@fuzzed
@given(data=st.data())
def test_any_value_anywhere_in_a_card(
    tmp_path: Path, kind: Any, base: dict[str, Any], data: st.DataObject
) -> None:
    changed = with_value(base, data.draw(st.sampled_from(list(places(base)))), data.draw(VALUES))
    path = tmp_path / "card.yaml"
    path.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
    try:
        card = read_model(path, kind)
    except UserError as error:
        assert_named(error, "card.yaml")
    else:
        assert card.fingerprint()


@fuzzed
@given(data=st.data())
def test_any_value_anywhere_in_a_config(tmp_path: Path, data: st.DataObject) -> None:
    base = {**STUDY, "datasets": ["opencell-demo"], "backbones": ["handcrafted"]}
    changed = with_value(base, data.draw(st.sampled_from(list(places(base)))), data.draw(VALUES))
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
    try:
        study = load_study(merged_config(path), [SHIPPED], str(path))
        study.probed()
    except UserError as error:
        assert_named(error, "")

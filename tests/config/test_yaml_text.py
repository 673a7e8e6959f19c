"""A key that is given twice is an error in whatever YAML is read, by whichever command."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from factories import DATASET_CARD, STUDY, TINY_NETWORK, planned_jobs, write_study
from transferscope.commands.app import app
from transferscope.config.model import read_yaml
from transferscope.config.yaml_text import check_keys, flow_yaml
from transferscope.errors import UserError

generated = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CARDS = {"card": DATASET_CARD, "backbone": {"name": "tiny", **TINY_NETWORK}, "study": STUDY}


def lines_of(value: dict[str, object]) -> list[str]:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=False).splitlines()


def repeated(lines: list[str], at: int) -> tuple[list[str], str, int]:
    """Return the lines with the key of one given again, the key, and the line where it is."""
    indent, key = re.match(r"([ -]*)([\w.]+):", lines[at]).groups()
    end = at + 1
    while end < len(lines) and re.match(
        rf" {{{len(indent) + 1}}}|{' ' * len(indent)}- ", lines[end]
    ):
        end += 1
    again = f"{' ' * len(indent)}{key}: 3"
    return [*lines[:end], again, *lines[end:]], key, end + 1


@pytest.mark.parametrize("what", CARDS)
@generated
@given(data=st.data())
def test_a_repeated_key_is_named_with_both_lines(
    tmp_path: Path, what: str, data: st.DataObject
) -> None:
    lines = lines_of(CARDS[what])
    keys = [n for n, line in enumerate(lines) if re.match(r"[ -]*[\w.]+:", line)]
    at = data.draw(st.sampled_from(keys))
    text, key, second = repeated(lines, at)
    path = tmp_path / f"{what}.yaml"
    path.write_text("\n".join(text) + "\n")
    other = tmp_path / "other"
    other.touch()
    command = {
        "card": f"splits --table {other} --splits s --card {path}".split(),
        "backbone": f"embed --tiles {other} --channels map --manifest m --backbone {path}".split(),
        "study": ["study", "check", str(path)],
    }[what]
    done = CliRunner().invoke(app, command)
    said = str(done.exception)
    assert isinstance(done.exception, UserError), done.output
    assert f"{path}, line {second}, key" in said
    assert f"{key}: the key is given twice, in line {at + 1} and in line {second}" in said


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a: 1\nb: {x: 1, x: 2}\n", 1),
        ("a: 1\nb: [{x: 1, 'x': 2}]\n", 1),
        ('a: 1\n"a": 2\n', 1),
        ("1: a\n0x1: b\n1.0: c\n", 2),
        ("yes: a\ntrue: b\n", 1),
        ("? a\n: 1\na: 2\na: 3\n", 2),
        ("a: 1\n'1': 2\n1: 3\n", 0),
        ("a: 1\nA: 2\n", 0),
        ("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  a: 3\nz: {<<: *x}\n", 0),
        ("x: &x {a: 1, a: 2}\ny: *x\nz: {<<: *x}\n", 1),
    ],
)
def test_keys_are_compared_as_they_are_read(tmp_path: Path, text: str, count: int) -> None:
    path = tmp_path / "any.yaml"
    path.write_text(text)
    if not count:
        assert read_yaml(path) == yaml.safe_load(text)
        return
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert len(caught.value.problems) == count
    with pytest.raises(UserError):
        check_keys(path)


def test_what_another_program_reads_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"
    path.write_text("a: [")
    check_keys(path)
    check_keys(tmp_path / "none.yaml")


@generated
@given(
    names=st.lists(st.text("abcdef", min_size=1, max_size=5), min_size=1, max_size=6, unique=True),
    again=st.integers(0, 5),
    indent=st.sampled_from([None, 2, "\t"]),
)
def test_a_repeated_key_of_json_is_found_whatever_its_indentation(
    tmp_path: Path, names: list[str], again: int, indent: int | str | None
) -> None:
    # Snakemake reads JSON as JSON, in which tabs are allowed, and takes the last of two keys.
    text = json.dumps(dict.fromkeys(names, 1), indent=indent)
    path = tmp_path / "study.json"
    path.write_text(text)
    check_keys(path)
    key = names[again % len(names)]
    path.write_text(text.rstrip("}\n") + f',"{key}": 2}}')
    with pytest.raises(UserError, match=f"key {key}: the key is given twice"):
        check_keys(path)


@pytest.mark.parametrize("value", ["no", "1", "1.0", "null", "2001-01-01"])
def test_a_label_that_yaml_takes_for_something_else_is_to_be_quoted(
    tmp_path: Path, value: str
) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(f"name: d\nsheet: s.tsv\nchannels: [nucleus]\nlabels: [er, {value}]\n")
    done = CliRunner().invoke(app, f"splits --table {path} --splits s --card {path}".split())
    assert "labels.1" in str(done.exception)
    assert "Write it in quotes" in str(done.exception)


@generated
@example(values=["\n"])
@example(values=["a", "b\r\n c\u2028"])
@given(values=st.lists(st.text(min_size=1, max_size=8)))
def test_a_printed_list_can_be_pasted(values: list[str]) -> None:
    text = flow_yaml("labels", values)
    assert yaml.safe_load(text) == {"labels": values}
    assert len(text.splitlines()) == 1


@pytest.mark.workflow
def test_snakemake_does_not_take_the_last_of_two_keys(tmp_path: Path) -> None:
    study = write_study(tmp_path) / "study.yaml"
    study.write_text(study.read_text() + "heads: {epochs: 5}\n")
    with pytest.raises(AssertionError, match="key heads: the key is given twice, in line"):
        planned_jobs(tmp_path)

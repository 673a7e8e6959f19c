"""Defaults are one generated file; studies hold what they change, and mean the same anywhere."""

import json
from pathlib import Path

import pytest
import yaml

from factories import REPOSITORY
from transferscope.commands.schemas import schema_text
from transferscope.config.model import validate
from transferscope.config.study import StudyConfig
from transferscope.errors import UserError
from transferscope.study.defaults import DEFAULTS, defaults_text, merged, with_defaults

REQUIRED = {"study": "s", "datasets": ["d"]}
STUDIES = [REPOSITORY / "config.yaml", *sorted((REPOSITORY / "resources/studies").glob("*.yaml"))]


def leaves(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {k: v for key, below in value.items() for k, v in leaves(below, (*path, key)).items()}


def test_the_committed_defaults_are_those_of_the_models() -> None:
    assert DEFAULTS.read_text() == defaults_text(), "run `make schemas`"
    assert DEFAULTS == REPOSITORY / "workflow/defaults.yaml"


def test_the_defaults_are_what_the_models_give_to_a_study_that_omits_all() -> None:
    read = StudyConfig.model_validate(with_defaults(REQUIRED))
    assert read == StudyConfig(**REQUIRED)
    dumped = read.model_dump(mode="json")
    # Jobs are not told of it where it is empty; those who look for keys are.
    dumped["splits"]["groups_per_class"] = []
    written = yaml.safe_load(defaults_text())
    assert written == {key: value for key, value in dumped.items() if key not in REQUIRED}


def test_every_key_of_the_schema_stands_in_the_defaults_with_a_comment() -> None:
    schema = json.loads(schema_text("config"))
    lines = defaults_text().splitlines()
    keys = list(schema["properties"])
    for section in schema["properties"].values():
        if "$ref" in section:
            keys += schema["$defs"][section["$ref"].rsplit("/", 1)[-1]]["properties"]
    for key in keys:
        found = [n for n, line in enumerate(lines) if line.strip(" #").startswith(f"{key}:")]
        assert found, key
        for number in found:
            assert lines[number - 1].lstrip().startswith("#"), f"no comment above {key}"
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_the_demo_and_the_ready_studies_hold_what_they_change_and_point_to_the_rest(
    study: Path,
) -> None:
    text = study.read_text()
    assert "workflow/defaults.yaml" in text
    assert text.startswith("# yaml-language-server: $schema=")
    defaults = leaves(yaml.safe_load(DEFAULTS.read_text()))
    for key, value in leaves(yaml.safe_load(text)).items():
        assert key not in defaults or defaults[key] != value, f"{key} is as the defaults have it"
    validate(with_defaults(yaml.safe_load(text)), StudyConfig, study.name)


def test_mappings_are_merged_and_lists_replaced_without_changing_either() -> None:
    below = {"folds": {"group": 5, "image": 5}, "k": [1, 5]}
    above = {"folds": {"group": 3}, "k": [2], "new": {"a": 1}}
    before = json.dumps([below, above])
    both = merged(below, above)
    assert both == {"folds": {"group": 3, "image": 5}, "k": [2], "new": {"a": 1}}
    assert json.dumps([below, above]) == before
    assert merged(below, {"folds": None})["folds"] is None


def test_defaults_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other\.yaml: the file does not exist"):
        with_defaults(REQUIRED, tmp_path / "other.yaml")

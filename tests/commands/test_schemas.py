import json

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from transferscope.commands.schemas import SCHEMAS, schema_text, write_schemas


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_committed_schemas_are_those_of_the_models(repository, name):
    committed = repository / "workflow" / "schemas" / f"{name}.schema.json"
    assert committed.read_text() == schema_text(name), "run `make schemas`"


def test_write_schemas_writes_each(tmp_path):
    write_schemas(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.schema.json" for n in SCHEMAS}


def test_the_demo_config_fits_its_schema_and_a_typo_does_not(repository):
    validator = Draft202012Validator(json.loads(schema_text("config")))
    config = yaml.safe_load((repository / "config.yaml").read_text())
    validator.validate(config)
    with pytest.raises(ValidationError):
        validator.validate({**config, "bakbones": []})


def test_every_key_of_the_config_stands_in_the_demo_config_with_a_comment(repository):
    text = (repository / "config.yaml").read_text()
    config = yaml.safe_load(text)
    schema = json.loads(schema_text("config"))
    assert set(config) == set(schema["properties"])
    for key, value in config.items():
        reference = schema["properties"][key].get("$ref")
        if reference:
            section = schema["$defs"][reference.rsplit("/", 1)[-1]]
            assert set(value) == set(section["properties"]), key
    lines = text.splitlines()
    for number, line in enumerate(lines):
        top_level_key = line and not line.startswith((" ", "#", "-"))
        if top_level_key:
            assert lines[number - 1].startswith("#"), f"no comment above {line!r}"

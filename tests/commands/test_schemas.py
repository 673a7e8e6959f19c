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

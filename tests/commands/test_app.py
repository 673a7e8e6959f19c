import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from command_tree import leaves
from factories import environment
from transferscope.commands.app import app

COMMAND = str(Path(sys.executable).parent / "transferscope")


def run(*arguments, folder=None):
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_step_explains_itself():
    runner = CliRunner()
    listing = runner.invoke(app, ["--help"]).output
    names = list(typer.main.get_command(app).commands)
    assert len(names) > 25
    for name in names:
        assert name in listing
        assert runner.invoke(app, [name, "--help"]).exit_code == 0


def test_whatever_loads_a_backbone_of_a_study_can_take_one_of_a_grid_or_a_sweep():
    options = {
        name: {flag for given in found.params for flag in given.opts}
        for name, found in leaves(typer.main.get_command(app))
    }
    loading = {name for name, flags in options.items() if "--weights" in flags}
    assert loading >= {"embed", "finetune", "segment", "masks predict"}
    assert [name for name in loading if "--cell" not in options[name]] == []


def test_a_users_mistake_ends_in_a_message_and_in_the_log(tmp_path):
    log = tmp_path / "logs/check.log"
    done = run("--log", log, "study", "check", tmp_path / "none.yaml")
    assert done.returncode == 1
    assert "none.yaml: the file does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    assert "none.yaml: the file does not exist" in log.read_text()


def test_settings_that_are_no_json_or_have_a_typo_are_refused(tmp_path):
    sheet = tmp_path / "samples.tsv"
    done = run("simulate", "--sheet", sheet, "--settings", "{")
    assert "--settings: not valid JSON" in done.stderr
    done = run("simulate", "--sheet", sheet, "--settings", json.dumps({"domian": "hpa"}))
    assert 'Did you mean "domain"?' in done.stderr
    done = run("simulate", "--sheet", sheet, "--settings", '{"seed": 1, "seed": 2}')
    assert '--settings: the key "seed" is given twice' in done.stderr


@pytest.mark.parametrize("name", ["config", "dataset", "backbone"])
def test_schemas_are_written(tmp_path, name):
    assert CliRunner().invoke(app, ["schemas", "--output", str(tmp_path)]).exit_code == 0
    assert json.loads((tmp_path / f"{name}.schema.json").read_text())["$schema"]

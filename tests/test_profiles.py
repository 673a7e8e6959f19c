"""Profiles explain each of their keys, and hold nothing that Snakemake does not know."""

import re

import pytest
import yaml
from snakemake.cli import get_argument_parser

PROFILES = ("default", "slurm", "cluster-generic")


@pytest.mark.parametrize("name", PROFILES)
def test_every_key_is_commented(repository, name):
    lines = (repository / "profiles" / name / "config.yaml").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if re.match(r"[a-z]", line)]
    assert len(keys) > 4
    for number in keys:
        above = [line for line in lines[:number] if not line.startswith(" ")]
        alone = next(line for line in reversed(above) if not re.match(r"[a-z]", line))
        assert alone.startswith("# "), lines[number]
        # Two keys share a comment only where the one stands right above the other.
        assert lines[number - 1], lines[number]


@pytest.mark.parametrize("name", PROFILES)
def test_every_key_is_an_option_of_snakemake(repository, name):
    profile = yaml.safe_load((repository / "profiles" / name / "config.yaml").read_text())
    known = get_argument_parser()._option_string_actions
    # That plugin is not among the locked dependencies.
    asked = [key for key in profile if not key.startswith("cluster-generic-")]
    if not any(option.startswith("--slurm-status") for option in known):
        asked = [key for key in asked if not key.startswith("slurm-")]
    assert [key for key in asked if f"--{key}" not in known] == []
    # A comment that offers an option offers one that there is.
    text = (repository / "profiles" / name / "config.yaml").read_text()
    offered = re.findall(r"(?m)^# ([a-z]+(?:-[a-z]+)+):", text)
    assert [key for key in offered if f"--{key}" not in known] == []

"""What a run used is written whole, read back, and compared with what is asked for now."""

import json
from pathlib import Path

import pytest
import yaml

from factories import STUDY
from transferscope.config.paths import StudyPaths
from transferscope.config.study import StudyConfig
from transferscope.errors import UserError
from transferscope.study.defaults import with_defaults
from transferscope.upkeep.ran import changed_keys, presumed_record, read_record, record

STEPS = {"embed": 1, "heads": 2}


def config(**changes: object) -> StudyConfig:
    return StudyConfig.model_validate(with_defaults({**STUDY, **changes}))


def test_what_a_run_used_is_read_back_as_the_same_study(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path / "tiny")
    assert read_record(paths) is None
    record(config(), paths, STEPS)
    ran = read_record(paths)
    assert StudyConfig.model_validate(ran.config) == config()
    assert ran.versions["steps"] == STEPS
    assert {"python", "transferscope"} <= set(ran.versions["packages"])
    assert set(yaml.safe_load(paths.config.read_text())) == set(StudyConfig.model_fields)
    names = sorted(path.name for path in paths.root.iterdir())
    assert names == ["checksums", "config.yaml", "versions.json"]
    first = paths.config.read_bytes()
    record(config(), paths, STEPS)
    assert paths.config.read_bytes() == first


def test_a_record_without_versions_tells_of_the_config_alone(tmp_path: Path) -> None:
    paths = StudyPaths(tmp_path)
    record(config(), paths, STEPS)
    paths.versions.write_text("{")
    with pytest.raises(UserError, match=r"versions\.json: cannot be read"):
        read_record(paths)
    paths.versions.unlink()
    assert read_record(paths).versions == {}


def test_keys_that_differ_are_named_with_both_values() -> None:
    before = config().model_dump(mode="json")
    now = config(knn={"k": [1, 3, 9]}, splits={**STUDY["splits"], "folds": {"group": 3}})
    # The demo's own folds, k and epochs are nothing to this study.
    assert changed_keys(before, now) == {
        "knn.k": ([1, 3], [1, 3, 9]),
        "splits.folds.group": (2, 3),
        "splits.folds.image": (2, 5),
    }
    del before["knn"]["exclude"]
    before["heads"]["gone"] = 1
    assert changed_keys(before, config()) == {
        "knn.exclude": ("(no such key)", "fov"),
        "heads.gone": (1, "(no such key)"),
    }


def test_a_study_of_an_older_version_had_the_demos_values_where_it_left_keys_out() -> None:
    given = {key: value for key, value in STUDY.items() if key not in ("knn", "splits")}
    now = StudyConfig.model_validate(with_defaults(given))
    assert changed_keys(presumed_record(given).config, now) == {
        "strategy_seeds": ([0], [0, 1, 2]),
        "splits.folds.group": (3, 5),
        "splits.folds.image": (3, 5),
        "heads.patience": (10, 15),
        "heads.batch_size": (64, 256),
        "knn.k": ([1, 3, 5, 10], [1, 5, 10, 20, 50]),
    }


def test_the_versions_are_plain_json(tmp_path: Path) -> None:
    record(config(), StudyPaths(tmp_path), STEPS)
    versions = json.loads((tmp_path / "versions.json").read_text())
    assert set(versions) == {"steps", "formats", "packages"}

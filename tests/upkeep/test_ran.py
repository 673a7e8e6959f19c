"""What a run used is written whole, read back, and compared with what is asked for now."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from command_tree import like_any_user, run
from factories import STUDY
from transferscope.config.paths import StudyPaths
from transferscope.config.study import StudyConfig
from transferscope.errors import UserError
from transferscope.runtime.job_records import DamagedRecordError, JobRecord
from transferscope.study.defaults import with_defaults
from transferscope.upkeep.ran import (
    changed_keys,
    hold_results,
    presumed_record,
    read_record,
    record,
)

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


def test_the_lock_of_another_user_is_named(tmp_path: Path) -> None:
    """The printed command frees it, also where the path has to be quoted."""
    paths = StudyPaths(tmp_path / "my 'results'" / "tiny")
    paths.root.mkdir(parents=True)
    lock = paths.root / ".run.lock"
    lock.touch(0o444)
    with like_any_user(), pytest.raises(UserError, match="another user's run") as caught:
        hold_results(paths)
    removal = str(caught.value).rpartition("in progress: ")[2]
    subprocess.run(["bash", "-c", removal], check=True)
    holder = paths.root / ".run"
    holder.touch(0o444)
    with like_any_user():
        hold_results(paths)
    assert "process" in holder.read_text()


RECORD_1 = "# transferscope job record 1"


@settings(max_examples=80)
@given(
    start=st.sampled_from([RECORD_1, RECORD_1[:-1] + "9" * 5000, ""]),
    lines=st.lists(
        st.sampled_from(
            [
                "# job a", "# job b", "# made from {}", "# made from [1]", "# made from [[1]]",
                "# made from " + "[" * 5000, "# made from", "# makes x\u2028y", "# begun",
                "0a  x", "0a x", "", "  ", "# made from {\"a\": \"b\"}", "0a  c\x85d",
            ]
        ),
        max_size=8,
    ),
)  # fmt: skip
def test_a_record_with_a_right_sum_may_hold_anything(
    tmp_path_factory: pytest.TempPathFactory, start: str, lines: list[str]
) -> None:
    """It is read, or said to be damaged; names are split at line feeds only."""
    path = tmp_path_factory.getbasetemp() / "any.sha256"
    body = "".join(f"{line}\n" for line in [start, *lines])
    path.write_text(f"{body}# sha256 {hashlib.sha256(body.encode()).hexdigest()}\n")
    try:
        found = JobRecord.read(path, "a")
    except DamagedRecordError:
        return
    assert isinstance(found.made_from, dict)
    if "# makes x\u2028y" in lines:
        assert "x\u2028y" in found.makes
    if found.sums is not None and "0a  c\x85d" in lines:
        assert "c\x85d" in found.sums


DESCRIPTIONS = ["[" * 100_000, "{", "[]", "3", '{"job": 1}', "null", '{"makes": 1}']


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_the_description_of_a_job_may_be_anything(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(["--results", "results/tiny", "--record", text, "costs", "x.yaml"])
    assert ended.code == 1
    assert "--record: describes no job of a study" in ended.err

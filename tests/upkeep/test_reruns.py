"""What runs again is read off the settings of the steps, for keys and for versions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from factories import REPOSITORY, STUDY, write_study
from transferscope.config.study import StudyConfig
from transferscope.steps.plan import Plan
from transferscope.study.defaults import with_defaults
from transferscope.study.loading import load_study
from transferscope.upkeep.ran import RunRecord
from transferscope.upkeep.reruns import changes

SCORED = ["heads", "knn", "compare", "figures", "report"]
EMBEDDED = ["embed", *SCORED]
DECODED = ["tiles", "contact_sheets", "splits", *EMBEDDED]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    folder = write_study(tmp_path)
    return Plan(load_study(with_defaults(STUDY), [folder, REPOSITORY], "study.yaml"))


@pytest.fixture
def ran(plan: Plan) -> Callable[..., RunRecord]:
    """Return a function that returns what a run used, with some keys changed."""

    def make(**changes: object) -> RunRecord:
        config = StudyConfig.model_validate(with_defaults({**STUDY, **changes}))
        return RunRecord(config.model_dump(mode="json"), {"steps": plan.versions})

    return make


def found(plan: Plan, before: RunRecord) -> dict[str, list[str]]:
    return {change.what: change.steps for change in changes(plan, before)}


def test_nothing_runs_again_where_nothing_has_changed(
    plan: Plan, ran: Callable[..., RunRecord]
) -> None:
    assert changes(plan, ran()) == []


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({"bad_tiles": "skip"}, {"bad_tiles": DECODED}),
        ({"heads": {**STUDY["heads"], "epochs": 9}}, {"heads.epochs": SCORED[:1] + SCORED[2:]}),
        ({"knn": {"k": [7]}}, {"knn.k": SCORED[1:]}),
        ({"metrics": ["macro_f1"]}, {"metrics": SCORED}),
        (
            {"splits": {**STUDY["splits"], "validation": 0.3}},
            {"splits.validation": ["splits", *SCORED]},
        ),
        ({"splits": {**STUDY["splits"], "fractions": [1.0]}}, {"splits.fractions": SCORED}),
        ({"compute": {**STUDY["compute"], "batch_size": 8}}, {"compute.batch_size": EMBEDDED}),
        ({"compare": {"bootstrap": 500}}, {"compare.bootstrap": SCORED[2:]}),
        ({"figures": {**STUDY["figures"], "dpi": 90}}, {"figures.dpi": SCORED[3:]}),
        ({"backbones": ["handcrafted"]}, {"backbones": SCORED[2:]}),
        (
            {"reduced_tiles": {"cells": [32]}},
            {"reduced_tiles": [], "reduced_tiles.cells": EMBEDDED},
        ),
        # No backbone is fine-tuned, and none is trained.
        ({"finetune": {"epochs": 7}}, {"finetune.epochs": []}),
        ({"training": {"knn_tiles": 7}}, {"training.knn_tiles": []}),
    ],
)
def test_a_changed_key_names_the_steps_that_read_it_and_all_that_follows(
    plan: Plan,
    ran: Callable[..., RunRecord],
    before: dict[str, object],
    expected: dict[str, list[str]],
) -> None:
    assert found(plan, ran(**before)) == expected


def test_keys_that_came_or_went_count_as_changed(plan: Plan, ran: Callable[..., RunRecord]) -> None:
    before = ran()
    del before.config["heads"]["dropout"]
    del before.config["splits"]["rare_classes"]
    before.config["knn"]["gone"] = 1
    before.config["section"] = {"gone": 1}
    assert found(plan, before) == {
        "splits.rare_classes": ["splits", *SCORED],
        "heads.dropout": ["heads", "compare", "figures", "report"],
        "knn.gone": ["knn", "compare", "figures", "report"],
        "section.gone": [],
    }


def test_sections_and_entries_that_came_count_by_what_they_change(
    plan: Plan, ran: Callable[..., RunRecord]
) -> None:
    before = ran()
    for key in ("reduced_tiles", "joining", "nuisance"):
        del before.config[key]
    assert found(plan, before) == {"reduced_tiles": [], "joining": [], "nuisance": []}
    changed = {"reduced_tiles": {"cells": [32]}}
    reduced = Plan(replace(plan.study, config=plan.config.model_copy(update=changed)))
    expected = {"reduced_tiles": EMBEDDED, "reduced_tiles.cells": EMBEDDED}
    assert found(reduced, ran()) == expected


def test_another_version_of_a_step_names_it_where_the_study_has_it(
    plan: Plan, ran: Callable[..., RunRecord]
) -> None:
    before = ran()
    before.versions["steps"] |= {"heads": 0, "finetune": 0}
    before.versions["formats"] = {"stores": 0}
    assert found(plan, before) == {
        "version of the step heads": ["heads", "compare", "figures", "report"],
        "format of new stores": [],
    }

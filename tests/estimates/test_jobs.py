"""The number of jobs against Snakemake's own dry run."""

import pytest

from factories import planned_jobs, write_study
from transferscope.commands.study import merged_config
from transferscope.estimates.jobs import jobs_of_whole_study
from transferscope.plan import Plan
from transferscope.study import Study


@pytest.mark.workflow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channel_strategies": ["replicate", "mean"], "knn": {"k": []}},
        {"aggregate": {"levels": ["fov"]}, "figures": {"gallery": 4}},
        {"datasets": ["opencell-demo", "hpa-demo"], "backbones": ["handcrafted"]},
    ],
)
def test_jobs_are_those_that_snakemake_plans(tmp_path, monkeypatch, changes):
    folder = write_study(tmp_path, **changes)
    monkeypatch.chdir(folder)
    study = Study.load(merged_config(folder / "study.yaml"), _roots(folder), "study.yaml")
    expected = planned_jobs(folder)
    expected.pop("all")
    figures = [name for name in expected if name.startswith("figure_")]
    expected["figures"] = sum(expected.pop(name) for name in figures)
    assert jobs_of_whole_study(Plan(study)) == expected


def _roots(folder):
    from transferscope.plan import SHIPPED

    return [folder, SHIPPED]

"""The number of jobs against Snakemake's own dry run."""

import pytest

from factories import DATASET_CARD, planned_jobs, write_study, write_yaml
from transferscope.steps.plan import Plan
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of all these studies: Snakemake looks a network up in the first alone."""
    return tmp_path_factory.mktemp("jobs")


@pytest.mark.workflow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channel_strategies": ["replicate", "mean"], "knn": {"k": []}},
        {"aggregate": {"levels": ["fov"]}, "figures": {"gallery": 4}},
        {"datasets": ["opencell-demo", "hpa-demo"], "backbones": ["handcrafted"]},
        {"label_table": "../../raw/samples.tsv"},
        {"finetune": {"backbones": ["cards/backbones/tiny.yaml"], "modes": ["full", "lora"]}},
    ],
)
def test_jobs_are_those_that_snakemake_plans(place, monkeypatch, changes):
    label_table = changes.pop("label_table", None)
    folder = write_study(place, **changes)
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", "label_table": label_table}
    write_yaml(folder / "cards/datasets/cells.yaml", card)
    monkeypatch.chdir(folder)
    study = load_study(merged_config(folder / "study.yaml"), _roots(folder), "study.yaml")
    expected = planned_jobs(folder)
    expected.pop("all")
    figures = [name for name in expected if name.startswith("figure_")]
    expected["figures"] = sum(expected.pop(name) for name in figures)
    assert Plan(study).jobs() == expected


def _roots(folder):
    from transferscope.cards.lookup import SHIPPED

    return [folder, SHIPPED]

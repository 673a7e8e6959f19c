"""Grids: one card for many trainings, what it expands to, and what it cannot."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import STUDY, TRAINED, write_study, write_yaml
from transferscope.cards import BackboneCard
from transferscope.cards.lookup import Located, cell_of
from transferscope.cards.train import grid_problems
from transferscope.config.jobs import Pretraining
from transferscope.config.model import validate
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.loading import load_study
from transferscope.upkeep.contents import descriptions

PATH = Path("grid.yaml")


def card(grid=None, **changes):
    given = {**TRAINED, "name": "grid", "steps": 4, **changes}
    return validate({**given, "grid": grid} if grid else given, BackboneCard, "grid.yaml")


def problems_of(grid, **changes):
    return [str(problem) for problem in grid_problems(card(grid, **changes), PATH)]


@pytest.fixture
def study_of(tmp_path, repository, monkeypatch):
    """Return a function that loads a study with a grid."""
    monkeypatch.chdir(tmp_path)
    folder = write_study(tmp_path)

    def make(grid, refs=("cards/backbones/grid.yaml",), **changes):
        own = {**TRAINED, "name": "grid", "steps": 4, "grid": grid, **changes}
        write_yaml(folder / "cards/backbones/grid.yaml", own)
        return load_study({**STUDY, "backbones": list(refs)}, [folder, repository], "study.yaml")

    return make


def test_every_combination_is_a_backbone_that_shares_everything_else():
    grid = card({"width": [48, 96], "fraction": [0.25, 1.0], "seeds": 2}, seed=3)
    cells = grid.cells()
    assert list(cells)[:2] == ["grid_width48_fraction0.25_seed3", "grid_width48_fraction0.25_seed4"]
    assert len(cells) == 8
    _, wide = cells["grid_width96_fraction1_seed4"]
    assert wide.arguments == {"depth": 2, "embed_dim": 96, "num_heads": 6}
    assert (wide.data_fraction, wide.steps, wide.seed, wide.grid) == (1.0, 4, 4, None)
    # As wide as the card's own network, at half its rate.
    assert wide.optimiser.learning_rate == grid.optimiser.learning_rate / 2
    shared = {"objective", "slots", "batch_size", "augmentation", "outputs", "datasets"}
    assert wide.model_dump(include=shared) == grid.model_dump(include=shared)
    same = card({"width": [96], "rate": "same"}).cells()["grid_width96_seed0"][1]
    assert same.optimiser == grid.optimiser


def test_one_more_value_leaves_the_other_cells_as_they_were():
    before = card({"width": [48], "fraction": [0.25, 1.0], "seeds": 1}).cells()
    after = card({"width": [96, 48], "fraction": [1.0, 0.25], "seeds": 2}).cells()
    for name, (_, cell) in before.items():
        assert cell.training_fingerprint() == after[name][1].training_fingerprint()
        assert cell.fingerprint() == after[name][1].fingerprint()
    assert len({cell.training_fingerprint() for _, cell in after.values()}) == len(after)


def test_cards_without_a_grid_have_the_digests_that_they_had():
    old = validate({**TRAINED, "name": "own"}, BackboneCard, "own.yaml")
    assert old.fingerprint()[:16] == "0e1565b6eb5441c9"
    assert old.training_fingerprint()[:16] == "0352211e0e27cd66"


@pytest.mark.parametrize(
    ("grid", "changes", "expected"),
    [
        ({"width": [48, 40, 100]}, {}, ["40 is not a multiple of 16", "100 is not a multiple"]),
        ({"width": [48]}, {"arguments": {"depth": 2}}, ["embed_dim: ..., num_heads"]),
        ({"width": [48]}, {"arguments": {"embed_dim": 48, "num_heads": 0}}, ["above 0"]),
        ({"width": [50]}, {"arguments": {"embed_dim": 50, "num_heads": 3}}, ["not divisible by 3"]),
        ({"fraction": [0.5]}, {"steps": None}, ["grid.fraction: fewer groups"]),
        ({"seeds": 2}, {"steps": None, "data_fraction": 0.5}, ["data_fraction: fewer groups"]),
        ({"fraction": [0.5]}, {"data_fraction": 0.5}, ["is also given by the key `data_fraction`"]),
        ({"steps": [2, 4]}, {}, ["is also given by the key `steps`"]),
        ({"patch": [16, 7]}, {}, ["7 px", "7 px"]),
        ({"depth": [1, 3]}, {"outputs": [{"layer": 2}]}, ["1 blocks: output cls is of layer 2"]),
        ({"architecture": ["resnet18"], "depth": [2]}, {}, ["has its own width, depth and patch"]),
        ({"steps": list(range(1, 70)), "seeds": 3}, {"steps": None}, ["207 trainings", "207"]),
    ],
)
def test_what_a_grid_cannot_be_is_said_at_once(grid, changes, expected):
    found = problems_of(grid, **changes)
    assert found
    for text in expected:
        assert any(text in problem for problem in found), found


def test_all_problems_of_a_grid_are_reported_together(study_of):
    with pytest.raises(UserError) as caught:
        study_of({"width": [40], "patch": [7], "seeds": 300})
    assert {p.where.split("key ")[1] for p in caught.value.problems} == {
        "grid",
        "grid.width",
        "grid.patch",
    }


@pytest.mark.parametrize(
    "grid", [{"widht": [48]}, {"width": [0]}, {"width": [48, 48]}, {"seeds": 0}]
)
def test_unknown_and_impossible_values_are_refused(grid):
    with pytest.raises(UserError, match="grid"):
        card(grid)


def test_a_study_names_the_card_once_and_gets_all_cells(study_of):
    study = study_of({"width": [48, 96], "seeds": 2})
    names = [f"grid_width{width}_seed{seed}" for width in (48, 96) for seed in (0, 1)]
    assert list(study.trained) == names == study.uncorrected == list(study.cells)
    plan = Plan(study)
    pretrain = plan.steps["pretrain"]
    assert pretrain.values("backbone") == names
    job = {"backbone": names[2]}
    asked = Pretraining.model_validate_json(pretrain.parameters(job)["settings"])
    assert asked.cell == names[2]
    embed = plan.steps["embed"]
    of_cell = next(job for job in embed.planned if job["backbone"] == names[2])
    assert embed.parameters(of_cell)["more"][-2:] == ["--cell", names[2]]
    twice = study_of(
        {"width": [48]}, ["cards/backbones/grid.yaml", "cards/backbones/grid.yaml@mean"]
    )
    assert twice.uncorrected == ["grid_width48_seed0", "grid_width48_seed0@mean"]


def test_an_archive_holds_the_card_of_a_grid_once(study_of):
    study = study_of({"width": [48, 96]})
    names = [item.name for item in descriptions(study) if "backbones" in item.name]
    assert names == ["cards/backbones/grid.yaml"]


def test_a_cell_is_named_wherever_a_card_is_given():
    located = Located(card({"width": [48]}), PATH)
    assert cell_of(located, "grid_width48_seed0").card.name == "grid_width48_seed0"
    with pytest.raises(UserError, match="is a grid of 1 backbones"):
        cell_of(located, None)
    with pytest.raises(UserError, match=r'has no backbone "grid_width84_seed0"\n.*_width48_'):
        cell_of(located, "grid_width84_seed0")
    with pytest.raises(UserError, match="no `grid`"):
        cell_of(Located(card(), PATH), "grid_width48_seed0")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True),
    st.lists(st.floats(1e-6, 1), max_size=3, unique=True),
    st.integers(1, 3),
)
def test_names_are_unique_and_fit_files(heads, fractions, seeds):
    grid = card({"width": [16 * n for n in heads], "fraction": fractions, "seeds": seeds})
    assert not grid_problems(grid, PATH)
    cells = grid.cells()
    assert len(cells) == grid.grid.n_cells
    for name, (_, cell) in cells.items():
        plain = cell.model_dump(mode="json", exclude={"augmentation"})
        again = validate(plain, BackboneCard, "cell.yaml")
        assert again.name == name


def test_places_along_a_training_are_cells_of_one_training(study_of):
    study = study_of({"width": [48, 96], "at_steps": [3, 1], "seeds": 2})
    assert len(study.cells) == 12
    assert list(study.trainings) == [
        f"grid_width{width}_at4_seed{seed}" for width in (48, 96) for seed in (0, 1)
    ]
    assert study.taken["grid_width96_at1_seed1"] == "grid_width96_at4_seed1"
    assert study.kept_steps("grid_width48_at4_seed0") == [1, 3]
    jobs = Plan(study).jobs()
    assert (jobs["pretrain"], jobs["snapshot"], jobs["training_curves"]) == (4, 8, 4)
    plan = Plan(study)
    step = plan.steps["pretrain"]
    [path] = [
        p for p in step.companions({"backbone": "grid_width48_at4_seed0"}) if "step1" in p.name
    ]
    assert path.name == "grid_width48_at4_seed0.step1.safetensors"
    digests = {card.training_fingerprint() for n, card in study.trained.items() if "48" in n}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("grid", "changes", "said"),
    [
        ({"at_steps": [4]}, {}, "4 is not before the end of a training of 4 steps"),
        ({"at_steps": [2, 9]}, {}, "9 is not before the end"),
        ({"at_steps": [2]}, {"steps": None}, "along a training, whose length is not given"),
        ({"at_steps": [2], "steps": [4, 8]}, {"steps": None}, "length is not given"),
    ],
)
def test_places_that_no_training_passes_are_refused(grid, changes, said):
    [problem] = problems_of(grid, **changes)
    assert said in problem
    assert "key grid.at_steps" in problem

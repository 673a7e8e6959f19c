"""Cards of backbones that a study trains itself, and the studies that name them."""

from pathlib import Path

import pytest
import yaml

from factories import DATASET_CARD, STUDY, TRAINED, write_study, write_yaml
from transferscope.cards import BackboneCard, HeldOut
from transferscope.config.jobs import HeldOutDivision, Leakage, LeakageByName, Pretraining, ProbeJob
from transferscope.config.model import validate
from transferscope.costs.estimate import estimate
from transferscope.costs.rates import Rates
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.steps.preflight import preflight
from transferscope.study.loading import load_study


def card(**changes):
    return validate({**TRAINED, "name": "own", **changes}, BackboneCard, "own.yaml")


@pytest.fixture
def study_of(tmp_path, repository, monkeypatch):
    """Return a function that loads the study with a trained backbone."""
    monkeypatch.chdir(tmp_path)
    folder = write_study(tmp_path)

    def make(changes=None, **config):
        own = {**TRAINED, "name": "own", **(changes or {})}
        write_yaml(folder / "cards/backbones/own.yaml", own)
        backbones = [*STUDY["backbones"], "cards/backbones/own.yaml"]
        given = {**STUDY, "backbones": backbones, **config}
        return load_study(given, [folder, repository], "study.yaml")

    return make


def test_what_is_not_given_is_as_published_for_the_method():
    dino, mae = card(), card(objective={"method": "mae"}, optimiser={"weight_decay": 0.1})
    assert (dino.optimiser.learning_rate, dino.optimiser.final_weight_decay) == (5e-4, 0.4)
    assert mae.optimiser.learning_rate == 1.5e-4
    assert mae.optimiser.betas == (0.9, 0.95)
    assert mae.optimiser.weight_decay == 0.1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"objective": {"method": "dyno"}}, "objective"),
        ({"objective": {"method": "dino", "crops": 3}}, "crops.*unknown key"),
        ({"datasets": []}, "datasets"),
        ({"optimiser": {"learning_rat": 1}}, r"learning_rat: unknown.*\n.*learning_rate"),
        ({"augmentation": {"crop_scale": [0.2, 1]}}, "set the area of crops in `objective`"),
        ({"exclude_test_groups": {"fold": -1}}, "fold"),
    ],
)
def test_a_wrong_card_is_refused(change, expected):
    with pytest.raises(UserError, match=expected):
        card(**change)


def test_outputs_and_prose_change_no_training():
    plain = card().training_fingerprint()
    assert card(outputs=[{"name": "mean", "pooling": "mean"}]).training_fingerprint() == plain
    assert card(description="a small one").training_fingerprint() == plain
    assert card(epochs=3).training_fingerprint() != plain
    assert card(optimiser={"clip": 1.0}).training_fingerprint() != plain


def test_the_division_that_is_held_out(study_of):
    assert card().held_out is None
    assert card(exclude_test_groups=True).held_out == HeldOut()
    study = study_of({"exclude_test_groups": {"fold": 1}})
    assert study.held_out(study.trained["own"]) == HeldOutDivision(scheme="group", seed=0, fold=1)


def test_what_a_backbone_has_seen(study_of):
    assert study_of().leakage("own", "cells") == Leakage(seen_in_training="images")
    assert study_of().leakage("tiny", "cells") == Leakage()
    weak = study_of({"objective": {"method": "weak"}})
    assert weak.leakage("own", "cells").seen_in_training == "images and groups"
    honest = study_of({"exclude_test_groups": True}).leakage("own", "cells")
    assert honest.seen_in_training == "no"
    assert honest.only == HeldOutDivision(scheme="group", seed=0, fold=0)
    elsewhere = study_of(
        {"datasets": ["hpa-demo"], "slots": [{"name": "nucleus"}]}, training_datasets=["hpa-demo"]
    )
    by_name = elsewhere.leakage("own", "cells")
    tables = [elsewhere.paths.tile_table("hpa-demo")]
    assert by_name == LeakageByName(seen_in_training="in another dataset", named_in=tables)
    job = ProbeJob.model_validate_json(ProbeJob(leakage=by_name).model_dump_json())
    assert job.leakage == by_name
    plain = ProbeJob.model_validate_json(ProbeJob(leakage=honest).model_dump_json())
    assert plain.leakage == honest


def test_what_the_study_evaluates_is_left_out_by_name_wherever_it_trains(study_of):
    config = {"training_datasets": ["hpa-demo"]}
    changes = {"datasets": ["hpa-demo"], "slots": [{"name": "nucleus"}]}
    study = study_of({**changes, "exclude_test_groups": True}, **config)
    division = HeldOutDivision(scheme="group", seed=0, fold=0)
    leakage = study.leakage("own", "cells")
    assert (leakage.seen_in_training, leakage.only) == ("no", division)
    step = Plan(study).steps["pretrain"]
    settings = Pretraining.model_validate_json(step.settings(SimpleWildcards()))
    paths = study.paths
    assert [each.splits for each in settings.also_evaluated] == [paths.splits("cells")]
    assert {paths.splits("cells"), paths.tile_table("cells")} <= set(
        step.sources(SimpleWildcards())
    )
    # Where nothing is held out, nothing is asked for, and the settings are what they were.
    step = Plan(study_of(changes, **config)).steps["pretrain"]
    assert "also_evaluated" not in step.settings(SimpleWildcards())
    assert paths.splits("cells") not in step.sources(SimpleWildcards())


def test_cells_and_their_fields_are_the_same_images(study_of):
    fields = write_yaml(
        Path("fields.yaml"), {**DATASET_CARD, "name": "fields", "sheet": "raw/samples.tsv"}
    )
    study = study_of(
        {"datasets": ["fields"]},
        datasets=[*STUDY["datasets"], str(fields)],
        aggregate={"fields": {"cells": "fields"}},
    )
    assert study.leakage("own", "cells").seen_in_training == "images"


@pytest.mark.parametrize(
    ("changes", "config", "expected"),
    [
        ({"datasets": ["cels"]}, {}, r'"cels" is not a dataset of the study\n.*"cells"'),
        ({"exclude_test_groups": {"fold": 2}}, {}, r"no fold 2\n.*Known: 0, 1"),
        ({"exclude_test_groups": {"seed": 5}}, {}, "no seed 5"),
        (
            {"exclude_test_groups": True},
            {"splits": {"schemes": ["image"], "folds": {"image": 2}}},
            "no division by group",
        ),
        ({"slots": [{"name": "er"}]}, {"channel_strategies": ["replicate"]}, "key slots: cells"),
        ({}, {"training_datasets": STUDY["datasets"]}, "is also one of `datasets`"),
    ],
)
def test_what_does_not_go_together_is_found_before_a_run(study_of, changes, config, expected):
    with pytest.raises(UserError, match=expected):
        study_of(changes, **config)


def test_preflight_checks_the_network_and_needs_no_weights(study_of):
    preflight(study_of())
    with pytest.raises(UserError, match="multiple of the patch size"):
        preflight(study_of({"input_size": 40}))


def test_the_estimate_counts_the_training(study_of):
    rates = Rates(device="cpu", precision="fp32", embedding=1e9, heads=1e9, measured=False)
    short, long = (
        estimate(study_of({"epochs": epochs}), {}, rates).training_hours for epochs in (2, 6)
    )
    assert long == pytest.approx(3 * short)
    assert short > 0


def unlabelled(path):
    card = {**DATASET_CARD, "name": "more", "sheet": "raw/samples.tsv", "labels": []}
    return str(write_yaml(Path(path), card))


def test_a_dataset_that_is_only_trained_on_needs_no_labels(study_of, tmp_path):
    sheet = tmp_path / "raw/samples.tsv"
    study = study_of()
    rows = [line.split("\t") for line in sheet.read_text().splitlines()]
    blank = [rows[0], *([*row[:3], ""] for row in rows[1:])]
    other = tmp_path / "raw/unlabelled.tsv"
    other.write_text("\n".join("\t".join(row) for row in blank) + "\n")
    path = unlabelled("more.yaml")
    text = yaml.safe_load((tmp_path / "more.yaml").read_text())
    write_yaml(tmp_path / "more.yaml", {**text, "sheet": "raw/unlabelled.tsv"})
    with pytest.raises(UserError, match="nothing to evaluate"):
        study_of({"datasets": ["more"]}, datasets=[path])
    study = study_of({"datasets": ["more", "cells"]}, training_datasets=[path])
    preflight(study)
    assert {probed.dataset for probed in study.probed()} == {"cells"}
    plan = Plan(study)
    read = {path.name for path in plan.steps["pretrain"].sources(SimpleWildcards())}
    assert read == {
        f"{name}{end}" for name in ("more", "cells") for end in (".json", ".tiles.parquet")
    }


class SimpleWildcards:
    """Wildcards of the rule `pretrain`."""

    backbone = "own"

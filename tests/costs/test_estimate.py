"""Hours and bytes follow from tiles, passes and sizes."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from factories import CLASSES, DATASET_CARD, write_study, write_yaml
from transferscope.cards.lookup import SHIPPED
from transferscope.costs.estimate import estimate
from transferscope.costs.fields import expected_fields
from transferscope.costs.networks import network_cost
from transferscope.costs.rates import Rates
from transferscope.costs.tuning import TRAINING_SHARE
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study

RATES = Rates(embedding=1e9, heads=1e8, device="cpu", precision="fp32", measured=True)


def plan_of(folder, **changes):
    write_study(folder, **changes)
    config = merged_config(folder / "study.yaml")
    return Plan(load_study(config, [folder, SHIPPED], "study.yaml"))


def estimate_of(plan):
    return estimate(plan.study, plan.jobs(), RATES)


def test_fields_of_a_sheet_are_counted_and_cut_tiles_too(tmp_path):
    plan = plan_of(tmp_path)
    found = expected_fields(plan.study, "cells")
    assert (found.n_fields, found.n_tiles, found.tile_shape) == (36, 36, (2, 64, 64))
    assert found.tile_bytes == 36 * 2 * 64 * 64 * 2
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", "tiles": {"size": 32}}
    write_yaml(tmp_path / "cards/datasets/cells.yaml", card)
    config = merged_config(tmp_path / "study.yaml")
    study = load_study(config, [tmp_path, SHIPPED], "study.yaml")
    cut = expected_fields(study, "cells")
    assert (cut.n_fields, cut.n_tiles, cut.tile_shape) == (36, 144, (2, 32, 32))


def test_fields_of_a_simulated_dataset_are_those_that_it_will_write(tmp_path):
    plan = plan_of(tmp_path, datasets=["hpa-demo"], backbones=["handcrafted"])
    found = expected_fields(plan.study, "hpa-demo")
    assert (found.n_fields, found.tile_shape) == (180, (4, 128, 128))


def test_a_dataset_of_cells_has_tiles_of_their_size(tmp_path):
    write_study(tmp_path)
    crop = {"size_um": 24.0}
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", "labels": CLASSES}
    for method, n_tiles in (("whole", 36), ("watershed", 1800)):
        cells = {"segmentation": {"method": method}, "crop": crop}
        write_yaml(tmp_path / "cards/datasets/cells.yaml", {**card, "cells": cells})
        config = merged_config(tmp_path / "study.yaml")
        study = load_study(config, [tmp_path, SHIPPED], "study.yaml")
        found = expected_fields(study, "cells")
        assert (found.n_fields, found.n_tiles, found.tile_shape) == (36, n_tiles, (2, 48, 48))
        assert ("assumed" in found.source) == (method == "watershed")


def test_a_first_file_that_is_broken_is_named(tmp_path):
    plan = plan_of(tmp_path)
    first = pd.read_csv(tmp_path / "raw/samples.tsv", sep="\t")["path"].iloc[0]
    tifffile.imwrite(
        tmp_path / "raw" / first, np.zeros((3, 8, 8), np.uint16), photometric="minisblack"
    )
    with pytest.raises(UserError, match=first):
        expected_fields(plan.study, "cells")


def test_hours_and_bytes_follow_from_passes_and_operations(tmp_path):
    plan = plan_of(tmp_path)
    found = estimate(plan.study, plan.jobs(), RATES)
    tiny = plan.study.backbones["tiny"]
    cost = network_cost(tiny.card, tiny.path)
    jobs = {(job.backbone, job.channels): job for job in found.embed}
    assert jobs["tiny", "replicate"].passes == 2
    assert jobs["tiny", "replicate"].hours == pytest.approx(36 * 2 * cost.operations / 1e9 / 3600)
    assert jobs["tiny", "map"].store_bytes == 36 * 2 * 48 * 4
    assert not jobs["handcrafted", "features"].on_device
    expected = sum(job.hours for key, job in jobs.items() if key[0] == "tiny")
    assert found.device_hours == pytest.approx(expected)


def test_more_heads_or_epochs_cost_more_and_a_shared_store_costs_nothing(tmp_path):
    base = estimate_of(plan_of(tmp_path / "base"))
    heads = {"kinds": ["logreg", "mlp"], "epochs": 6, "hidden": [16, 8]}
    longer = estimate_of(plan_of(tmp_path / "longer", heads=heads))
    assert longer.head_hours > base.head_hours
    strategies = ["replicate", "map", "mean"]
    shared = estimate_of(plan_of(tmp_path / "shared", channel_strategies=strategies))
    assert shared.device_hours == base.device_hours
    assert shared.head_hours > base.head_hours


def test_cells_of_a_field_are_assumed_and_that_is_said(tmp_path):
    plan_of(tmp_path)
    cells = {"segmentation": {"method": "watershed"}, "crop": {"size_um": 10}}
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", "cells": cells}
    write_yaml(tmp_path / "cards/datasets/cells.yaml", card)
    config = merged_config(tmp_path / "study.yaml")
    found = expected_fields(load_study(config, [tmp_path, SHIPPED], "study.yaml"), "cells")
    assert (found.n_fields, found.n_tiles, found.tile_shape) == (36, 36 * 50, (2, 20, 20))
    assert "50 cells per field assumed" in found.source


def test_hours_of_fine_tuning_follow_from_epochs_folds_and_fractions(tmp_path):
    tuned = {"backbones": ["cards/backbones/tiny.yaml"], "schemes": ["group"], "epochs": 10}
    found = estimate_of(plan_of(tmp_path, finetune=tuned))
    (job,) = (job for job in found.embed if (job.backbone, job.channels) == ("tiny", "map"))
    # Two folds of half of the tiles each, at fractions 0.5 and 1; 20 % of these are validation.
    shown = 10 * (0.8 * 3 + 0.2) / TRAINING_SHARE
    passes = sum(2 * (0.5 * fraction * (shown + 0.2) + 0.5) for fraction in (0.5, 1.0))
    assert found.tuning_hours == pytest.approx(job.hours * passes)
    assert estimate_of(plan_of(tmp_path / "off")).tuning_hours == 0


def test_masks_are_counted_where_a_study_segments(tmp_path):
    glands = {"datasets": ["glands-demo"], "backbones": ["vit-small-random"]}
    assert estimate_of(plan_of(tmp_path, **glands)).target_bytes == 0
    found = estimate_of(plan_of(tmp_path, **glands, segmentation={"decoders": ["linear"]}))
    # 24 specimens of 4 images; a number of four bytes for each pixel, compressed.
    raw = 24 * 4 * 128 * 128 * 4
    assert 0.02 * raw < found.target_bytes < 0.1 * raw

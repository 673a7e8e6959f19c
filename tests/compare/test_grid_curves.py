"""Curves over a grid: which cells they join, what they say, and what they do not."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from grid_studies import FRACTIONS, NOISE, SEEDS, WIDTHS, grid_study, score_of
from transferscope.cards.grid import GridSettings
from transferscope.compare.curve_fits import JOINED, LOG_LINEAR
from transferscope.compare.grid_curves import CURVE_COLUMNS, GridTables
from transferscope.compare.grid_sentences import grids_at_length, grids_in_short
from transferscope.compare.known_pairs import KnownPairTables


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return grid_study(tmp_path_factory.mktemp("grid"))[0]


def test_each_training_has_its_place_on_every_axis(tables):
    cells = tables.cells[tables.cells["measure"] == "logistic regression"]
    assert len(cells) == len(WIDTHS) * len(FRACTIONS) * SEEDS
    assert set(cells["store"]) == {"mae@cls / map"}
    wide = cells[cells["backbone"] == "mae_width128_fraction0.3_seed2"].iloc[0]
    assert (wide["parameters"], wide["images"], wide["images_seen"]) == (12 * 128**2, 302, 6400)
    # k-NN with the number of neighbours next to five, whatever it scores.
    assert set(tables.cells["measure"]) == {"logistic regression", "k-NN (k = 5)"}


def test_a_curve_joins_what_differs_in_its_axis_alone(tables):
    headline = tables.curves[tables.curves["is_headline"]]
    assert headline["axis"].value_counts().to_dict() == {
        "parameters": len(FRACTIONS),
        "operations": len(FRACTIONS),
        "images": len(WIDTHS),
    }
    images = headline[headline["axis"] == "images"]
    assert images["held"].tolist() == [f"width {width}" for width in WIDTHS]
    assert (images["n_sizes"] == len(FRACTIONS)).all()
    assert (images["n_trainings"] == len(FRACTIONS) * SEEDS).all()
    # Images of one fraction differ a little by seed: one size.
    assert images["smallest"].tolist() == [11.0] * len(WIDTHS)


def test_the_spread_of_repeats_is_pooled_over_the_grid(tables):
    curves = tables.curves[tables.curves["is_headline"]]
    freedom = len(WIDTHS) * len(FRACTIONS) * (SEEDS - 1)
    assert set(curves["freedom"]) == {freedom}
    assert curves["deviation"].iloc[0] == pytest.approx(NOISE, rel=0.4)
    row = curves.iloc[0]
    reach = t.ppf(0.975, freedom) * row["deviation"] * np.sqrt(2 / SEEDS)
    assert row["rise_high"] - row["rise"] == pytest.approx(reach)


def test_growth_is_shown_where_it_is_and_not_where_it_is_not(tables):
    images = tables.curves[tables.curves["is_headline"] & (tables.curves["axis"] == "images")]
    assert (images["rise_low"] > 0).all()
    assert (images["family"] == LOG_LINEAR).any()
    true = 0.05 * np.log10(2)
    told = images.dropna(subset=["gain_low"])
    assert ((told["gain_low"] <= true) & (true <= told["gain_high"])).all()
    weights = tables.curves[tables.curves["is_headline"] & (tables.curves["axis"] == "parameters")]
    flat = (weights["rise_low"] <= 0) & (weights["rise_high"] >= 0)
    assert flat.sum() >= len(FRACTIONS) - 1


def test_sentences_say_how_much_and_whether_it_is_shown(tables):
    short = list(grids_in_short(tables, "cells", 0.95))
    row = tables.curves[tables.curves["is_headline"]].iloc[0]
    assert f"the score goes from {row['first_score']:.3f} to {row['last_score']:.3f}" in short[0]
    assert "`mae@cls / map` (fraction 0.01), logistic regression: from 0.012 M weights" in short[0]
    assert short[-1] == "10 more curves: see `details.md` and `compare/grid_curves.csv`."
    text = "\n".join(grids_at_length(tables, "cells", 0.95))
    assert "more is shown to be better. It is best described as changing with the logarithm" in text
    assert "Twice the largest would change it by +0.0" in text
    assert "no difference is shown" in text
    assert "the test groups are the same for all cells" in text
    assert list(grids_in_short(tables, "others", 0.95)) == []


def test_loss_by_more_data_is_said_as_such(tmp_path):
    tables, _ = grid_study(tmp_path, lambda values: 1.3 - score_of(values))
    text = "\n".join(grids_at_length(tables, "cells", 0.95))
    assert "more is shown to be worse" in text
    assert "more is shown to be better" not in text


def test_one_seed_gives_no_interval_and_one_size_no_curve(tmp_path):
    one = GridSettings(width=WIDTHS, fraction=[0.5])
    tables, _ = grid_study(tmp_path, grid=one)
    assert set(tables.curves["axis"]) == {"parameters", "operations"}
    assert "without repeats (`seeds`) nothing is known" in next(
        grids_in_short(tables, "cells", 0.9)
    )
    alone, _ = grid_study(tmp_path, grid=GridSettings(fraction=[0.5], seeds=4))
    assert alone.curves.empty
    assert list(alone.curves) == CURVE_COLUMNS


def test_two_sizes_are_compared_and_steps_are_images_seen(tmp_path):
    grid = GridSettings(steps=[100, 400], seeds=3)
    tables, _ = grid_study(tmp_path, lambda values: 0.5 + values["steps"] / 4000, grid)
    curves = tables.curves[tables.curves["is_headline"]]
    assert curves["axis"].tolist() == ["images_seen"]
    assert curves["family"].tolist() == [JOINED]
    assert curves["largest"].tolist() == [25_600]
    text = "\n".join(grids_at_length(tables, "cells", 0.95))
    assert "6,400 images seen in training to 25,600 images seen" in text
    assert "nothing is predicted" not in text


def test_recall_of_known_pairs_is_a_measure(tmp_path):
    names = [f"mae_width{width}_seed{seed}" for width in WIDTHS for seed in range(2)]
    rows = [[f"{name}@cls, map", "tvn", "corum", 0.3 + 0.001 * len(name)] for name in names]
    rows.append(["random", "none", "corum", 0.1])
    recall = pd.DataFrame(rows, columns=["map", "correction", "source", "value"])
    recalled = {"cells": KnownPairTables(recall, recall.iloc[:0])}
    grid = GridSettings(width=WIDTHS, seeds=2)
    tables, _ = grid_study(tmp_path, lambda _: 0.5, grid, recalled=recalled)
    found = tables.cells[tables.cells["measure"] == "recall of corum"]
    assert len(found) == len(names)
    assert set(found["store"]) == {"mae@cls+tvn / map"}
    assert isinstance(tables, GridTables)


def test_places_along_a_training_are_a_curve_over_images_seen(tmp_path):
    grid = GridSettings(width=[32, 64], at_steps=[10, 25, 50], seeds=2)

    def score(values):
        return 0.5 + 0.1 * np.log10(values["at"])

    tables, _ = grid_study(tmp_path, score, grid)
    own = tables.curves[tables.curves["is_headline"].astype(bool)]
    seen = own[own["axis"] == "images_seen"]
    assert list(seen["held"]) == ["width 32", "width 64"]
    assert list(seen["n_sizes"]) == [4, 4]
    assert list(seen["smallest"]) == [640, 640]
    over_weights = own[own["axis"] == "parameters"]
    assert sorted(over_weights["held"]) == ["at 10", "at 100", "at 25", "at 50"]
    assert (seen["rise"] > 0.08).all()

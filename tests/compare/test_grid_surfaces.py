"""A joint surface over model and data: where there is one, what it holds, what is said of it."""

import numpy as np
import pytest

from grid_studies import grid_study, of_grids
from transferscope.cards.grid import Cell, GridSettings, spans_surface
from transferscope.compare.grid_sentences import grids_at_length, grids_in_short
from transferscope.compare.repeats import Repeats
from transferscope.compare.surface_fits import LOG_PLANE, NO_SURFACE, POWERS, fit_surface
from transferscope.figures.grid_surfaces import draw

MODELS, DATA = np.array([0.2, 0.8, 2.7]), np.array([100.0, 400, 1600])


def power(models, data):
    return 0.8 - 0.2 * (models / 0.2) ** -0.5 - 0.15 * (data / 100) ** -0.6


def plane(models, data):
    return 0.5 + 0.02 * np.log(models) + 0.01 * np.log(data)


def entangled(models, data):
    """Return what none of the surfaces has: more data help large models only."""
    return 0.5 + 0.003 * np.log(models / 0.2) * np.log(data / 100)


def cells(truth, rng, models=MODELS, data=DATA, seeds=3, deviation=0.01):
    grids = np.meshgrid(models, data, np.arange(seeds))
    n, d, _ = (each.ravel() for each in grids)
    scores = truth(n, d) + deviation * rng.standard_normal(len(n))
    return Repeats.of(np.stack([n, d]), scores)


@pytest.mark.parametrize("truth", [power, plane, entangled])
def test_gains_hold_the_truth(truth):
    rng, held, told = np.random.default_rng(0), 0, 0
    added = truth(2 * MODELS[-1], DATA[-1]), truth(MODELS[-1], 2 * DATA[-1])
    true = [value - truth(MODELS[-1], DATA[-1]) for value in added]
    for _ in range(40):
        found = fit_surface(cells(truth, rng), rng, draws=100)
        if found.gain_of_model is not None:
            told += 1
            pairs = zip((found.gain_of_model, found.gain_of_data), true, strict=True)
            held += sum(low <= value <= high for (_, low, high), value in pairs)
    assert told > 5
    assert held >= 0.9 * 2 * told


@pytest.mark.parametrize(("truth", "family"), [(power, POWERS), (plane, LOG_PLANE)])
def test_the_true_surface_is_found_with_more_sizes(truth, family):
    rng = np.random.default_rng(0)
    models, data = np.geomspace(0.1, 20, 5), np.geomspace(50, 20_000, 5)
    all_found = [
        fit_surface(cells(truth, rng, models, data, deviation=0.003), rng, draws=10)
        for _ in range(10)
    ]
    # One in ten is refuted by chance.
    named = [found for found in all_found if found.family == family]
    assert len(named) >= 6
    if family == POWERS:
        typical = np.median([found.exponents for found in named], axis=0)
        np.testing.assert_allclose(typical, [0.5, 0.6], rtol=0.25)


def test_a_falling_score_has_no_surface_of_power_laws():
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(8):
        falls = cells(lambda n, d: 0.9 - 0.05 * np.log(n) + 0 * d, rng)
        found.add(fit_surface(falls, rng, draws=10).family)
    assert LOG_PLANE in found
    assert found <= {LOG_PLANE, NO_SURFACE}


@pytest.mark.parametrize(
    ("grid", "spans"),
    [
        ({"width": [1, 2, 3], "fraction": [0.1, 0.5, 1.0]}, True),
        ({"architecture": ["a", "b", "c"], "at_steps": [1, 2]}, True),
        ({"width": [1, 2], "depth": [1, 2], "steps": [1, 2, 3]}, True),
        ({"width": [1, 2, 3], "fraction": [0.5, 1.0]}, False),
        ({"width": [1, 2], "fraction": [0.1, 0.5, 1.0]}, False),
        ({"patch": [1, 2, 3], "fraction": [0.1, 0.5, 1.0]}, False),
    ],
)
def test_nine_cells_of_model_and_data_are_a_surface(grid, spans):
    n_steps = None if "steps" in grid else 5
    values = GridSettings(**grid).combinations(0, n_steps)
    assert spans_surface([Cell("g", value) for value in values]) == spans
    assert not spans_surface([])


def test_a_grid_of_nine_cells_is_fitted_told_and_drawn(tmp_path):
    tables, settings = grid_study(tmp_path)
    own = tables.surfaces
    assert set(own["data_axis"]) == {"images"}
    assert set(own["measure"]) == {"logistic regression", "k-NN (k = 5)"}
    [headline] = own[own["is_headline"].astype(bool)].to_dict("records")
    assert (headline["n_models"], headline["n_data"]) == (3, 5)
    assert headline["family"] == LOG_PLANE
    # The made-up score grows by .05 for ten times the images, and not with the weights.
    assert headline["data_gain_low"] <= 0.05 * np.log10(2) <= headline["data_gain_high"]
    assert headline["model_gain_low"] <= 0 <= headline["model_gain_high"]
    short = list(grids_in_short(tables, "cells", settings.confidence))
    long = list(grids_at_length(tables, "cells", settings.confidence))
    assert sum("twice the weights would change it by" in text for text in short) == 1
    assert sum("twice the weights would change it by" in text for text in long) == 2
    figure = draw(of_grids(tables))
    assert len(figure.axes[0].texts) >= 15


def test_a_smaller_grid_has_none(tmp_path):
    tables, _ = grid_study(tmp_path, grid=GridSettings(width=[32, 64], fraction=[0.1, 0.3, 1.0]))
    assert tables.surfaces.empty
    said = draw(of_grids(tables)).texts[0].get_text().replace("\n", " ")
    assert "No grid has three sizes" in said

"""Harmony mixes batches, gives the same numbers each time, and is asked for before the run."""

import importlib.util

import numpy as np
import pytest

from transferscope.correction.harmonising import check_installed, harmonised
from transferscope.correction.methods import correct
from transferscope.correction.rows import Rows
from transferscope.errors import UserError
from transferscope.runtime.shipped import install_hint

GENES, PLATES = np.repeat(np.arange(20), 20), np.arange(400) % 4


@pytest.fixture(scope="module")
def screen():
    """Return 20 genes on each of four plates that differ, [400, 64], and the plates."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(20, 64))[GENES] + rng.normal(size=(400, 64))
    values += 2 * rng.normal(size=(4, 64))[PLATES]
    names = np.array([f"plate{plate}" for plate in PLATES], dtype=object)
    return values, Rows.of(names, np.zeros(400, dtype=bool))


def found_elsewhere(values):
    """Return how often the most similar row of another plate is of the same gene."""
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = units @ units.T
    cosines[PLATES[:, None] == PLATES] = -2
    return (GENES[cosines.argmax(axis=1)] == GENES).mean()


def test_genes_are_found_on_other_plates_more_often(screen):
    values, rows = screen
    mixed = harmonised(values, rows)
    assert mixed.shape == (400, 50)
    assert found_elsewhere(mixed) > found_elsewhere(values) + 0.02


def test_the_same_again_is_the_same(screen):
    np.testing.assert_array_equal(harmonised(*screen), harmonised(*screen))


@pytest.mark.parametrize(("n", "size"), [(2, 5), (40, 3), (61, 3), (70, 80)])
def test_small_data_is_taken(n, size):
    values = np.random.default_rng(n).normal(size=(n, size))
    names = np.array([f"b{row % 2}" for row in range(n)], dtype=object)
    assert np.isfinite(harmonised(values, Rows.of(names, np.zeros(n, dtype=bool)))).all()


def test_one_batch_is_not_mixed(screen):
    values = screen[0].astype(np.float32)
    done = correct(values, Rows.of(None, np.zeros(400, dtype=bool)), "harmony").embeddings
    centred = values - values.mean(axis=0)
    # The components keep what is near and what is far, but for the variance that they leave out.
    assert done.var(axis=0).sum() == pytest.approx(centred.var(axis=0).sum(), rel=0.2)
    assert np.abs(done.T @ done / 400 - np.diag(done.var(axis=0))).max() < 1e-4


def test_what_is_missing_is_said_before_the_run(screen, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (problem,) = check_installed("study s, key correction.methods")
    assert install_hint("harmony") in problem.fix
    with pytest.raises(UserError, match="Harmony is not installed"):
        harmonised(*screen)

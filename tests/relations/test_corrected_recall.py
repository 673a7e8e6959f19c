"""Correction where plates differ, and where they do not: what recall gains, with its interval."""

import numpy as np
import pytest

from transferscope.config.relations import RelationSettings
from transferscope.relations.maps import RowMap
from transferscope.relations.run import relate
from transferscope.relations.sources import ListedPairs
from transferscope.relations.table_names import TWO_SIDED


def plates(seed, *, differ):
    """Return a screen of complexes of three genes, one plate per replicate, in a random layout.

    Each gene is on half of the plates, so that plates and genes are not balanced.
    """
    rng = np.random.default_rng(seed)
    n_genes, n_plates, size, n_controls = 90, 8, 32, 24
    effects = np.repeat(rng.normal(size=(n_genes // 3, size)), 3, axis=0)
    rows, genes, names = [], [], []
    for plate in range(n_plates):
        offset = 3.0 * differ * rng.normal(size=size)
        gain = np.exp(0.2 * differ * rng.normal(size=size))
        own = rng.choice(n_genes, n_genes // 2, replace=False)
        shown = np.concatenate([np.zeros((n_controls, size)), effects[own]])
        rows.append((shown + 3.0 * rng.normal(size=shown.shape)) * gain + offset)
        genes += [""] * n_controls + [f"g{gene:02d}" for gene in own]
        names += [f"plate{plate}"] * len(shown)
    genes = np.array(genes, dtype=object)
    first, second = np.triu_indices(n_genes, 1)
    same = first // 3 == second // 3
    listed = [np.array([f"g{k:02d}" for k in side[same]], dtype=object) for side in (first, second)]
    values = np.concatenate(rows).astype(np.float32)
    return (
        RowMap("screen", values, genes, np.array(names, dtype=object), genes == ""),
        ListedPairs("complexes", *listed),
    )


@pytest.fixture(scope="module")
def gains():
    """Return the paired gains of recall over no correction, with and without plate effects."""
    found = {}
    for differ in (True, False):
        one, known = plates(3, differ=differ)
        config = RelationSettings(
            corrections=["none", "standardise", "sphere", "tvn"], permutations=0, draws=300
        )
        related = relate([one], [known], config, references=False)
        gained = related.tables["differences"]
        gained = gained[gained["measure"] == TWO_SIDED].set_index("correction")
        recalled = related.tables["recall"].query("correction == 'none'")
        found[differ] = gained, recalled[recalled["measure"] == TWO_SIDED]["value"].item()
    return found


@pytest.mark.parametrize("correction", ["standardise", "sphere", "tvn"])
def test_recall_rises_by_correction_where_plates_differ(gains, correction):
    gained, before = gains[True]
    assert 0.1 < before < 0.7
    assert gained.loc[correction, "low"] > 0


@pytest.mark.parametrize("correction", ["standardise", "sphere", "tvn"])
def test_correction_shows_no_gain_where_plates_are_alike(gains, correction):
    row = gains[False][0].loc[correction]
    assert row["low"] <= 0.02
    assert row["difference"] > -0.1

"""Training sets of k groups of each class: nested, of training groups only, as they are told."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.schemes import groups_per_class, with_all_groups
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.few_groups import of_few_groups
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.labels import LabelledTiles

CLASSES = ["er", "golgi", "nucleus"]
COUNTS = [4, 1, 2]


@st.composite
def folds(draw):
    """Draw tiles with any labels, and one fold of whole groups."""
    n_groups = draw(st.integers(2, 14))
    sizes = draw(st.lists(st.integers(1, 3), min_size=n_groups, max_size=n_groups))
    groups = np.repeat([f"g{i:02}" for i in range(n_groups)], sizes).astype(object)
    labels = draw(st.lists(st.sets(st.integers(0, 2)), min_size=len(groups), max_size=len(groups)))
    matrix = np.array([[c in each for c in range(3)] for each in labels], dtype=bool)
    roles = np.repeat(
        draw(st.lists(st.integers(0, 2), min_size=n_groups, max_size=n_groups)), sizes
    )
    ids = np.array([f"t{i}" for i in range(len(groups))], dtype=object)
    tiles = LabelledTiles(matrix, CLASSES, "multi-label", ids, groups, ids, groups)
    ranks = np.repeat(draw(st.permutations(range(n_groups))), sizes) / n_groups
    rows = [np.flatnonzero((roles == role) & matrix.any(axis=1)) for role in range(3)]
    division = Division("group", 0, 0, 1.0, *rows, ranks[rows[0]])
    return tiles, [replace(division, fraction=0.5), division]


def of_class(tiles, rows, column):
    return set(tiles.groups[rows[tiles.matrix[rows, column]]])


@given(folds())
def test_sets_are_nested_whole_groups_of_the_training_set(drawn):
    tiles, divisions = drawn
    made = list(of_few_groups(tiles, divisions, COUNTS))
    whole = divisions[1]
    assert [groups_per_class(each.scheme) for each in made] == sorted(COUNTS)
    for each in made:
        assert with_all_groups(each.scheme) == "group"
        assert not len(each.validation)
        assert np.array_equal(each.test, whole.test)
        own = set(tiles.groups[each.train])
        assert not own & set(tiles.groups[np.concatenate([whole.test, whole.validation])])
        assert set(each.train) == {r for r in whole.train if tiles.groups[r] in own}
        assert len(each.train) == len(each.train_shares)
    for one, other in pairwise(made):
        assert set(one.train) <= set(other.train)


@given(folds())
def test_each_class_has_its_first_k_groups_or_all_that_it_has(drawn):
    tiles, divisions = drawn
    whole = divisions[1]
    rank = dict(zip(tiles.groups[whole.train], whole.train_shares, strict=True))
    for each in of_few_groups(tiles, divisions, COUNTS):
        k, own = groups_per_class(each.scheme), set()
        for column in range(3):
            known = sorted(of_class(tiles, whole.train, column), key=rank.get)
            own |= set(known[:k])
            assert len(of_class(tiles, each.train, column)) >= min(k, len(known))
        assert set(tiles.groups[each.train]) == own


@pytest.fixture(scope="module")
def data():
    """Return one fold of 24 groups, of which one class has two in training."""
    rng = np.random.default_rng(0)
    label = np.array([0] * 10 + [1] * 10 + [2] * 4)
    matrix = np.repeat(np.eye(3, dtype=bool)[label], 2, axis=0)
    groups = np.repeat([f"g{i:02}" for i in range(24)], 2).astype(object)
    ids = np.array([f"t{i}" for i in range(48)], dtype=object)
    tiles = LabelledTiles(matrix, CLASSES, "single-label", ids, groups, ids, groups)
    role = np.repeat(np.arange(24) % 2, 2)
    train, test = (np.flatnonzero(role == each) for each in (0, 1))
    shares = np.repeat(rng.permutation(12), 2) / 12
    division = Division("group", 0, 0, 1.0, train, train[:0], test, shares)
    names = {"dataset": "d", "backbone": "b", "channels": "map", "task": "single-label"}
    x = (matrix @ rng.normal(size=(3, 6)) + 0.3 * rng.normal(size=(48, 6))).astype(np.float32)
    few = [division, *of_few_groups(tiles, [division], [1, 4])]
    return ProbeData(x, tiles, few, ["macro_f1"], names)


@pytest.mark.parametrize(
    ("run", "settings"),
    [(run_heads, HeadSettings(epochs=5, hidden=[4])), (run_knn, KnnSettings(k=[1]))],
)
def test_probes_train_on_as_many_groups_as_the_table_says(data, run, settings):
    scores = run(data, settings).scores()
    sizes = scores.drop_duplicates("scheme").set_index("scheme")["n_train_groups"]
    # The third class has two groups in training, and all of them are taken.
    assert dict(sizes) == {"group": 12, "group+1-per-class": 3, "group+4-per-class": 10}
    assert set(scores["n_validation"]) == {0}
    assert (pd.Series(scores["n_test"]) == 24).all()


def test_heads_do_not_see_what_is_not_among_the_few_groups(data):
    """Changing every row outside of the few groups and the test changes nothing."""
    few = data.divisions[1]
    hidden = np.setdiff1d(np.arange(48), np.concatenate([few.train, few.test]))
    other = data.embeddings.copy()
    other[hidden] = 1e3
    only = replace(data, divisions=[few])
    settings = HeadSettings(epochs=5, hidden=[4])
    first = run_heads(only, settings).predictions()
    second = run_heads(replace(only, embeddings=other), settings).predictions()
    pd.testing.assert_frame_equal(first, second)


def test_results_without_few_groups_are_not_out_of_date():
    assert "groups_per_class" not in SplitSettings().model_dump_json()
    assert '"groups_per_class":[4,1]' in SplitSettings(groups_per_class=[4, 1]).model_dump_json()


@pytest.mark.parametrize("wrong", [{"groups_per_class": [0]}, {"groups_per_class": [2, 2]}])
def test_numbers_of_groups_are_positive_and_differ(wrong):
    with pytest.raises(ValidationError, match="groups_per_class"):
        SplitSettings(**wrong)


def test_no_column_is_named_as_few_groups_are():
    with pytest.raises(ValidationError, match="column of the sample sheet"):
        SplitSettings(schemes=["group", "plate+4-per-class"])

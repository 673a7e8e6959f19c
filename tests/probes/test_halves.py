"""Half-samples: the cross-validation in halves of the groups."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from transferscope.cards import DatasetCard
from transferscope.compare.halves import HalfScores, read_halves
from transferscope.compare.tables import Head, Store
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.errors import UserError
from transferscope.probes.evaluation import ProbeData, write_halves
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.splits import make_splits

CLASSES = ["a", "b", "c"]
SETTINGS = SplitSettings(folds={"group": 2, "image": 3}, seeds=[0, 5], halves=2)
FRACTIONS = [0.5, 1.0]
CARD = DatasetCard(name="cells", sheet="s.tsv", channels=["x"], labels=CLASSES)


def tile_table(n_groups=24, per_group=4, n_classes=3):
    group = np.repeat(np.arange(n_groups), per_group)
    return pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(len(group))],
            "fov": [f"f{i // 2}" for i in range(len(group))],
            "group": [f"g{g}" for g in group],
            "labels": [CLASSES[g % n_classes] for g in group],
        }
    )


@pytest.fixture(scope="module")
def data():
    table = tile_table()
    embeddings = np.random.default_rng(0).normal(size=(len(table), 6))
    embeddings[:, :3] += 2 * np.eye(3)[[CLASSES.index(x) for x in table["labels"]]]
    identity = {"dataset": "cells", "backbone": "net", "channels": "map"}
    splits = make_splits(table, CARD, SETTINGS)
    return ProbeData.of(embeddings, table, splits, FRACTIONS, ["macro_f1", "class_f1"], identity)


@pytest.fixture(scope="module")
def divisions(data):
    return half_divisions(data.tiles, SETTINGS, FRACTIONS, "cells")


def test_halves_are_disjoint_complete_and_stratified(data, divisions):
    assert {d.half for d in divisions} == {0, 1, 2, 3}
    assert len(divisions) == 4 * 2 * (2 + 3) * len(FRACTIONS)
    rows = {}
    for d in divisions:
        here = set(np.concatenate([d.train, d.validation, d.test]))
        rows.setdefault((d.half, d.scheme, d.seed, d.fold), set()).update(here)
    for pair in range(2):
        first, second = (
            {data.tiles.groups[r] for key, part in rows.items() if key[0] == half for r in part}
            for half in (2 * pair, 2 * pair + 1)
        )
        assert not first & second
        assert first | second == set(data.tiles.groups)
        assert abs(len(first) - len(second)) <= len(CLASSES)
    # Every scheme, repeat and fold divides the same rows of a half.
    for half in range(4):
        assert len({frozenset(part) for key, part in rows.items() if key[0] == half}) == 1
    assert rows[0, "group", 0, 0] != rows[2, "group", 0, 0]


def test_no_group_of_a_half_is_on_both_sides_of_its_split_by_group(data, divisions):
    for d in divisions:
        if d.scheme == "group":
            train = set(data.tiles.groups[np.concatenate([d.train, d.validation])])
            assert not train & set(data.tiles.groups[d.test])


def test_halves_do_not_depend_on_the_order_of_tiles(divisions):
    table = tile_table()
    shuffled = table.sample(frac=1, random_state=3)
    tiles = LabelledTiles.from_table(shuffled, CLASSES, "multi-label")
    names = [
        [set(t["tile_id"].iloc[d.test]) for d in found]
        for t, found in (
            (table, divisions),
            (shuffled, half_divisions(tiles, SETTINGS, FRACTIONS, "cells")),
        )
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (tile_table(n_groups=9), "a class needs 4 groups, but a has 3 groups"),
        (tile_table(n_groups=10, n_classes=2), "12 groups are needed, there are 10"),
    ],
)
def test_too_few_groups_are_not_halved(table, why, caplog):
    tiles = LabelledTiles.from_table(table, sorted(set(table["labels"])), "multi-label")
    assert half_divisions(tiles, SETTINGS, FRACTIONS, "cells") == []
    assert why in caplog.text


def test_no_halves_are_made_where_none_are_wanted(data, caplog):
    none = SETTINGS.model_copy(update={"halves": 0})
    assert half_divisions(data.tiles, none, FRACTIONS, "cells") == []
    assert not caplog.text


def probe(data, sink):
    return run_knn(data, KnnSettings(k=[3], exclude="none"), sink=sink)


def test_scores_in_halves_are_those_of_a_study_of_that_half(data, divisions, tmp_path):
    """A half is scored as if the other half did not exist."""
    path = tmp_path / "map.halves.parquet"
    write_halves(data, divisions, path, probe)
    read = read_halves([path])
    found = read.of([("cells", Store("net", "map"), Head("knn", 3), "group", 1.0, "macro_f1", "")])
    assert found.shape == (1, 2, 2)
    own = [d for d in divisions if d.half == 3 and d.scheme == "group" and d.fraction == 1.0]
    alone = ProbeData(data.embeddings, data.tiles, own, data.metrics, data.identity)
    rows = run_knn(alone, KnnSettings(k=[3], exclude="none")).predictions()
    assert rows["fold"].nunique() > 1
    # All folds of a repeat are scored together.
    of_repeats = [
        f1_score(repeat.filter(like="true_"), repeat.filter(like="predicted_"), average="macro")
        for _, repeat in rows.groupby("seed")
    ]
    assert found[0, 1, 1] == pytest.approx(np.mean(of_repeats))
    of_class = ("cells", Store("net", "map"), Head("knn", 3), "image", 0.5, "class_f1", "b")
    assert np.isfinite(read.of([of_class])).all()


def test_heads_and_floor_are_trained_in_halves(data, divisions, tmp_path):
    path = tmp_path / "map.halves.parquet"
    settings = HeadSettings(kinds=["logreg"])
    write_halves(data, divisions, path, lambda d, sink: run_heads(d, settings, sink=sink))
    table = pd.read_parquet(path)
    assert set(table["head"]) == {"logreg", "floor"}
    assert table.groupby(["head", "scheme", "fraction", "metric", "class"]).size().eq(4).all()


def test_random_orders_are_averaged(data, divisions, tmp_path):
    paths = []
    for order in (0, 4):
        identity = {**data.identity, "channels": f"map-random-{order}"}
        turned = np.roll(data.embeddings, order, axis=1)
        other = ProbeData(turned, data.tiles, data.divisions, data.metrics, identity)
        paths.append(tmp_path / f"{order}.parquet")
        write_halves(other, divisions, paths[-1], probe)
    key = ("cells", Store("net", "map-random"), Head("knn", 3), "group", 1.0, "macro_f1", "")
    single = [read_halves([path]).of([key]) for path in paths]
    np.testing.assert_allclose(read_halves(paths).of([key]), np.mean(single, axis=0))


def test_tables_without_halves_hold_nothing(data, tmp_path):
    path = tmp_path / "map.halves.parquet"
    write_halves(data, [], path, probe)
    assert read_halves([path]) == HalfScores()
    assert read_halves([]).of([]).shape == (0, 0, 2)


def test_damaged_tables_are_named(tmp_path):
    bad = tmp_path / "bad.halves.parquet"
    bad.write_bytes(b"no parquet")
    pd.DataFrame({"head": ["knn"]}).to_parquet(tmp_path / "worse.halves.parquet")
    with pytest.raises(UserError) as caught:
        read_halves([bad, tmp_path / "worse.halves.parquet"])
    assert [p.where for p in caught.value.problems] == [
        str(bad),
        str(tmp_path / "worse.halves.parquet"),
    ]

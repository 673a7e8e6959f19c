"""Trained on one dataset, tested on another one: as plain scikit-learn does, and without a leak."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from transferscope.cards import DatasetCard
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.config.transfer import SharedClass
from transferscope.errors import UserError
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.registry import HEADS, KNN
from transferscope.probes.splits import make_splits
from transferscope.probes.transfer import Pair, transfer
from transferscope.probes.written import ScoreFiles

SPLITS = SplitSettings(folds={"group": 3, "image": 3}, seeds=[0], fractions=[1.0], halves=1)
SHARED = [
    SharedClass(name="mitosis", source=["M", "late M"], target=["mitosis"]),
    SharedClass(name="G1", source=["G1"], target=["G1"]),
    SharedClass(name="S", source=["S"], target=["S"]),
]
LABELS = {"one": ["G1", "S", "M", "late M", "debris"], "other": ["S", "mitosis", "G1", "blurred"]}
WIDTH = 6


def made(name, first=0, task="single-label", n_groups=40):
    """Return the data of a dataset; groups from `first` on have names of their own."""
    rng = np.random.default_rng([n_groups, len(name)])
    labels = LABELS[name]
    group = np.repeat(np.arange(n_groups), 3)
    label = [labels[i % len(labels)] for i in group]
    table = pd.DataFrame(
        {
            "tile_id": [f"{name}-{i}" for i in range(len(group))],
            "group": [f"g{i + first:03}" for i in group],
            "labels": label,
        }
    ).assign(fov=lambda table: table["tile_id"])
    known = {n: c.name for c in SHARED for n in getattr(c, "source" if name == "one" else "target")}
    centres = {
        n: np.random.default_rng(sum(map(ord, n))).normal(size=WIDTH) for n in known.values()
    }
    centres |= {"debris": -np.ones(WIDTH), "blurred": np.ones(WIDTH)}
    values = np.stack([centres[known.get(each, each)] for each in label])
    values += rng.normal(size=values.shape) + 0.5 * (name == "other")
    card = DatasetCard(name=name, sheet="s", channels=["x"], labels=labels, task=task)
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": name, "backbone": "dino", "channels": "map"}
    return ProbeData.of(values, table, splits, [1.0], ["macro_f1", "accuracy"], identity)


@pytest.fixture(scope="module")
def both():
    return made("one"), made("other", first=20)


@pytest.fixture(scope="module")
def files(both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    paths = ScoreFiles(*(folder / f"{name}.parquet" for name in ("s", "p", "h")))
    probes = {
        HEADS: HeadSettings(kinds=["logreg"]),
        KNN: KnnSettings(k=[5], metrics=["euclidean"], exclude="none"),
    }
    transfer(*both, SHARED, [1, 3, 50], SPLITS, probes, paths)
    return paths


def codes_of(data, side):
    """Return the shared class of each tile, by its place in `SHARED`; -1: none."""
    places = {label: n for n, each in enumerate(SHARED) for label in getattr(each, side)}
    classes = data.tiles.class_index()
    return np.array([places.get(data.tiles.classes[i], -1) if i >= 0 else -1 for i in classes])


def trainings(both, division):
    """Return the rows of each training of one fold, by hand: (of the source, of the target)."""
    source, target = both
    here, there = codes_of(source, "source"), codes_of(target, "target")
    test = np.array([r for r in division.test if there[r] >= 0])
    same = next(
        d
        for d in source.divisions
        if (d.scheme, d.seed, d.fold) == ("group", division.seed, division.fold)
    )
    tested = set(target.tiles.groups[test])
    first = [r for r in same.train if here[r] >= 0 and source.tiles.groups[r] not in tested]
    own = [r for r in division.train if there[r] >= 0]
    yield test, "zero-shot", first, []
    yield test, "own", [], own
    share = dict(zip(division.train, division.train_shares, strict=True))
    for k in (1, 3):
        chosen = set()
        for code in range(len(SHARED)):
            of_class = {target.tiles.groups[r]: share[r] for r in own if there[r] == code}
            chosen |= set(sorted(of_class, key=of_class.get)[:k])
        few = [r for r in own if target.tiles.groups[r] in chosen]
        yield test, f"few-shot-{k}", first, few
        yield test, f"alone-{k}", [], few


def test_scores_equal_a_plain_computation(both, files):
    source, target = both
    here, there = codes_of(source, "source"), codes_of(target, "target")
    scores = pd.read_parquet(files.scores).query("metric == 'macro_f1'")
    assert set(scores["scheme"]) == {
        *("zero-shot", "own", "few-shot-1", "alone-1", "few-shot-3", "alone-3")
    }
    found = scores.set_index(["head", "scheme", "seed", "fold"])
    n_checked = 0
    for division in target.divisions:
        if division.scheme != "group":
            continue
        for test, scheme, first, second in trainings(both, division):
            x = np.concatenate([source.embeddings[first], target.embeddings[second]])
            y = np.concatenate([here[first], there[second]])
            scaler = StandardScaler().fit(x)
            # The package's penalty is C on the sum, as scikit-learn's.
            plain = {
                "logreg": LogisticRegression(C=1.0, max_iter=5000, tol=1e-8).fit(
                    scaler.transform(x), y
                ),
                "knn-euclidean": KNeighborsClassifier(5, algorithm="brute").fit(x, y),
            }
            inputs = {"logreg": scaler.transform(target.embeddings[test])}
            for head, model in plain.items():
                if head == "knn-euclidean" and len(x) < 5:
                    continue
                predicted = model.predict(inputs.get(head, target.embeddings[test]))
                expected = f1_score(there[test], predicted, average="macro")
                row = found.loc[(head, scheme, division.seed, division.fold)]
                assert row["value"] == pytest.approx(expected, abs=1e-9), (head, scheme)
                assert row["n_train"] == len(x)
                assert row["n_test"] == len(test)
                n_checked += 1
    assert n_checked == 3 * 2 * 6


def test_no_group_of_the_test_is_trained_on_or_tunes(both):
    pair = Pair.of(*both, SHARED)
    whole = pair.divisions(pair.source.divisions, pair.target.divisions, [1, 3])
    halves = pair.half_divisions(SPLITS, [1, 3])
    assert {each.half for each in halves} == {0, 1}
    data, n_source = pair.data(whole), len(pair.source.tiles)
    bare = np.array([name.removeprefix("one: ") for name in data.tiles.groups])
    for division in [*whole, *halves]:
        tested = set(bare[division.test])
        assert division.test.min() >= n_source
        assert len(division.train)
        for rows in (division.train, division.validation):
            assert not tested & set(bare[rows])
        if division.scheme.startswith(("zero", "few")):
            assert (division.validation < n_source).all()
        if division.scheme.startswith("alone"):
            assert not len(division.validation)
    # Groups of the same name are in one fold of each, so that some were left out.
    assert set(both[0].tiles.groups) & set(both[1].tiles.groups)


def test_labels_of_the_test_groups_change_nothing_but_the_truth(both, tmp_path):
    """Neither scalers, nor thresholds, nor heads see them: predictions stay the same."""
    source, target = both
    tables = []
    for number, flipped in enumerate((False, True)):
        division = next(d for d in target.divisions if d.scheme == "group")
        matrix = target.tiles.matrix.copy()
        if flipped:
            own = matrix[division.test][:, [1, 2, 0]]
            matrix[np.ix_(division.test, [0, 1, 2])] = own
        changed = replace(target, tiles=replace(target.tiles, matrix=matrix), divisions=[division])
        paths = ScoreFiles(*(tmp_path / f"{name}{number}" for name in ("s", "p", "h")))
        heads = {HEADS: HeadSettings(kinds=["linear"], epochs=3)}
        transfer(
            source, changed, SHARED, [1], SPLITS.model_copy(update={"halves": 0}), heads, paths
        )
        predicted = pd.read_parquet(paths.predictions).query("scheme != 'floor'")
        tables.append(predicted[[c for c in predicted if not c.startswith("true")]])
    pd.testing.assert_frame_equal(*tables)


def test_halves_are_scored_by_all_probes(files):
    halves = pd.read_parquet(files.halves)
    assert set(halves["head"]) == {"floor", "logreg", "knn-euclidean"}
    assert set(halves["half"]) == {0, 1}
    assert set(halves["dataset"]) == {"other"}


def test_what_cannot_be_joined_is_refused(both):
    source, target = both
    narrow = replace(source, embeddings=source.embeddings[:, :3])
    with pytest.raises(UserError, match="3 and 6 columns"):
        Pair.of(narrow, target, SHARED)
    gone = [SharedClass(name=n, source=[n], target=[n]) for n in ("G1", "unknown")]
    with pytest.raises(UserError, match="1 of 2 shared classes"):
        Pair.of(source, target, gone)

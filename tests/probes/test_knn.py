import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from gpu_devices import DEVICES
from transferscope.cards import DatasetCard
from transferscope.config.probes import KnnSettings, SplitSettings
from transferscope.errors import UserError
from transferscope.probes import nearest
from transferscope.probes.evaluation import Division, ProbeData, write_tables
from transferscope.probes.exclusion import exclusion_warnings
from transferscope.probes.knn import majority, run_knn
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.score_table import SCORE_COLUMNS
from transferscope.probes.splits import make_splits
from transferscope.stores.parquet import read_parquet

CLASSES = ["er", "golgi", "nucleus", "vesicles"]
METRICS = ["macro_f1", "micro_f1", "class_f1", "macro_average_precision", "accuracy"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def probe_data(
    task: str = "multi-label", fractions: tuple[float, ...] = (0.3, 1.0), seed: int = 0
) -> ProbeData:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), 4)
    matrix = np.eye(4, dtype=bool)[groups % 4]
    if task == "multi-label":
        matrix |= (rng.random((40, 4)) < 0.2)[groups]
    centres = rng.normal(size=(4, 16))
    embeddings = matrix @ centres + rng.normal(size=(len(groups), 16))
    table = pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(len(groups))],
            "group": [f"g{g}" for g in groups],
            "labels": [";".join(np.array(CLASSES)[row]) for row in matrix],
            "fov": [f"t{i}" for i in range(len(groups))],
        }
    )
    card = DatasetCard(name="d", sheet="s.tsv", channels=["nucleus"], task=task, labels=CLASSES)
    splits = make_splits(table, card, SplitSettings(folds={"group": 3, "image": 3}, seeds=[0]))
    identity = {"dataset": "d", "backbone": "b", "channels": "map"}
    return ProbeData.of(
        embeddings.astype(np.float32), table, splits, list(fractions), METRICS, identity
    )


def predictions_of(table: pd.DataFrame, k: int, division) -> np.ndarray:
    chosen = table[
        (table["k"] == k)
        & (table["scheme"] == division.scheme)
        & (table["seed"] == division.seed)
        & (table["fold"] == division.fold)
        & (table["fraction"] == division.fraction)
    ]
    assert chosen["row"].tolist() == division.test.tolist()
    return chosen[[f"predicted_{j}" for j in range(len(CLASSES))]].to_numpy()


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
@pytest.mark.parametrize(
    ("metric", "votes", "head"),
    [
        ("cosine", "majority", "knn"),
        ("euclidean", "majority", "knn-euclidean"),
        ("cosine", "distance", "knn-distance"),
        ("euclidean", "distance", "knn-euclidean-distance"),
    ],
)
def test_predictions_equal_scikit_learn_on_the_same_folds(
    task: str, metric: str, votes: str, head: str
) -> None:
    data = probe_data(task)
    every = {"metrics": ["cosine", "euclidean"], "votes": ["majority", "distance"]}
    settings = KnnSettings(k=[10, 1, 5, 4], decision="majority", **every)
    table = run_knn(data, settings).predictions()
    table = table[table["head"] == head]
    weights = {"majority": "uniform", "distance": "distance"}[votes]
    features = data.embeddings.astype(np.float64)
    for division in data.divisions:
        for k in (1, 4, 5, 10):
            reference = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute")
            if task == "multi-label":
                reference.fit(features[division.train], data.tiles.matrix[division.train])
                expected = reference.predict(features[division.test]).astype(bool)
            else:
                classes = data.tiles.class_index()
                reference.fit(features[division.train], classes[division.train])
                predicted = reference.predict(features[division.test])
                expected = predicted[:, None] == np.arange(len(CLASSES))
            np.testing.assert_array_equal(predictions_of(table, k, division), expected)


def test_scores_are_the_shares_of_the_neighbours() -> None:
    data = probe_data()
    table = run_knn(data, KnnSettings(k=[5])).predictions()
    division = data.divisions[0]
    features = data.embeddings.astype(np.float64)
    reference = KNeighborsClassifier(5, metric="cosine", algorithm="brute")
    reference.fit(features[division.train], data.tiles.matrix[division.train])
    rows = reference.kneighbors(features[division.test], return_distance=False)
    expected = data.tiles.matrix[division.train][rows].mean(axis=1)
    first = table.iloc[: len(division.test)]
    np.testing.assert_allclose(first[[f"score_{j}" for j in range(4)]], expected, rtol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = probe_data()
    whole = run_knn(data, KnnSettings(k=[1, 5])).predictions()
    monkeypatch.setattr(nearest, "BLOCK_BYTES", 1)
    pd.testing.assert_frame_equal(run_knn(data, KnnSettings(k=[1, 5])).predictions(), whole)


def test_a_tie_means_absent_or_the_first_class() -> None:
    votes = np.array([[2, 2, 0], [1, 3, 0]])
    assert majority(votes, 4, True).tolist() == [[False] * 3, [False, True, False]]
    assert majority(votes, 4, False).tolist() == [[True, False, False], [False, True, False]]


def test_a_k_beyond_the_training_tiles_is_left_out_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = probe_data(fractions=(0.05, 1.0))
    with caplog.at_level(logging.INFO):
        scores = run_knn(data, KnnSettings(k=[1, 60])).scores()
    assert set(scores.loc[scores["fraction"] == 0.05, "k"]) == {1}
    assert set(scores.loc[scores["fraction"] == 1.0, "k"]) == {1, 60}
    assert "so no k of 60" in caplog.text


def test_the_largest_k_does_not_change_the_smaller_ones() -> None:
    data = probe_data()
    few = run_knn(data, KnnSettings(k=[3])).scores()
    many = run_knn(data, KnnSettings(k=[3, 20])).scores()
    same = many[many["k"] == 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(few, same)


def test_test_rows_change_nothing_but_their_own_prediction() -> None:
    data = probe_data()
    division = data.divisions[0]
    changed = data.embeddings.copy()
    changed[division.test[1:]] = 7
    other = ProbeData(changed, data.tiles, [division], METRICS, data.identity)
    same = ProbeData(data.embeddings, data.tiles, [division], METRICS, data.identity)
    first = run_knn(same, KnnSettings(k=[5])).predictions().iloc[[0]]
    second = run_knn(other, KnnSettings(k=[5])).predictions().iloc[[0]]
    pd.testing.assert_frame_equal(first, second)


def test_tables_follow_the_contract(tmp_path: Path) -> None:
    data = probe_data()
    paths = tmp_path / "scores.parquet", tmp_path / "predictions.parquet"
    write_tables(data, *paths, lambda sink: run_knn(data, KnnSettings(k=[1, 5]), sink))
    scores, predictions = map(read_parquet, paths)
    assert list(scores.columns) == SCORE_COLUMNS
    # (4 metrics + 4 classes) x 2 k x 2 schemes x 3 folds x 2 fractions
    assert len(scores) == 8 * 2 * 2 * 3 * 2
    assert str(scores["k"].dtype) == "Int64"
    assert set(scores["task"]) == {"multi-label"}
    assert predictions.attrs == {"classes": CLASSES, "task": "multi-label"}
    # every tile is tested once a scheme, k and fraction
    assert len(predictions) == 160 * 2 * 2 * 2
    assert (predictions["tile_id"] == "t" + predictions["row"].astype(str)).all()


def test_no_k_means_no_rows() -> None:
    results = run_knn(probe_data(), KnnSettings(k=[]))
    assert results.scores().empty
    assert results.predictions().empty


def straddling(exclude: str, k: list[int], **settings: object) -> tuple[pd.DataFrame, ProbeData]:
    """Classify tiles whose fields lie on both sides: each field looks like no other field."""
    rng = np.random.default_rng(2)
    fovs = np.repeat(np.arange(30), 4)
    table = pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(120)],
            "group": [f"g{fov // 3}" for fov in fovs],
            "fov": [f"f{fov}" for fov in fovs],
            "batch": [f"b{fov % 2}" for fov in fovs],
            # A field's label says nothing about any other field.
            "labels": rng.choice(CLASSES, 30)[fovs],
        }
    )
    embeddings = rng.normal(size=(30, 16))[fovs] + 0.1 * rng.normal(size=(120, 16))
    data = ProbeData.of(
        embeddings.astype(np.float32),
        table,
        pd.DataFrame(
            {
                "scheme": "image",
                "seed": 0,
                "fold": 0,
                "row": np.arange(120),
                "role": np.where(np.arange(120) % 4 == 0, "test", "train"),
                "share": 0.0,
            }
        ).pipe(_with_attributes),
        [1.0],
        METRICS,
        {"dataset": "d", "backbone": "b", "channels": "map"},
    )
    return run_knn(data, KnnSettings(k=k, exclude=exclude, **settings)).scores(), data


def _with_attributes(splits: pd.DataFrame) -> pd.DataFrame:
    splits.attrs = {"classes": CLASSES, "task": "single-label"}
    return splits


def accuracy(scores: pd.DataFrame, k: int) -> float:
    chosen = scores[(scores["metric"] == "accuracy") & (scores["k"] == k)]
    return float(chosen["value"].iloc[0])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_tiles_of_the_same_field_would_flatter_and_are_no_neighbours(metric: str) -> None:
    leaking, _ = straddling("none", [1, 3], metrics=[metric])
    honest, _ = straddling("fov", [1, 3], metrics=[metric])
    assert accuracy(leaking, 1) == accuracy(leaking, 3) == 1.0
    # Chance is 0.25 for four classes.
    assert accuracy(honest, 1) < 0.6
    assert accuracy(honest, 3) < 0.6


@pytest.mark.parametrize("exclude", ["fov", "group", "batch"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_k_nearest_of_those_that_are_left_vote(exclude: str, metric: str) -> None:
    scores, data = straddling(exclude, [1, 7, 30], metrics=[metric])
    names = {"fov": data.tiles.fovs, "group": data.tiles.groups, "batch": data.tiles.batches}
    division, features = data.divisions[0], data.embeddings.astype(np.float64)
    truth = data.tiles.class_index()
    for k in (1, 7, 30):
        right = 0
        for query in division.test:
            other = names[exclude][division.train] != names[exclude][query]
            train = division.train[other]
            reference = KNeighborsClassifier(k, metric=metric, algorithm="brute")
            reference.fit(features[train], truth[train])
            right += int(reference.predict(features[[query]])[0] == truth[query])
        assert accuracy(scores, k) == right / len(division.test)


def test_a_k_beyond_the_tiles_that_are_left_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        scores, _ = straddling("batch", [1, 45, 46, 90])
    assert set(scores["k"]) == {1, 45}
    assert "only 45 training tiles to choose from, so no k of 46, 90" in caplog.text


def test_batches_that_are_not_known_cannot_be_excluded() -> None:
    with pytest.raises(UserError, match="160 tiles have no batch"):
        run_knn(probe_data(), KnnSettings(k=[1], exclude="batch"))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equal_tiles_outvote_all_others(metric: str) -> None:
    embeddings = np.array([[1, 0], [1, 0], [0.9, 0.1], [0.9, 0.1], [1, 0]], dtype=np.float32)
    labels = ["er", "er", "golgi", "golgi", ""]
    table = pd.DataFrame({"group": list("abcde"), "labels": labels})
    tiles = LabelledTiles.from_table(table, CLASSES[:2], "single-label")
    train = np.array([1, 2, 3])
    division = Division(
        "group", 0, 0, 1.0, train, np.empty(0, int), np.array([0]), np.zeros(len(train))
    )
    identity = {"dataset": "d", "backbone": "b", "channels": "map", "task": "single-label"}
    data = ProbeData(embeddings, tiles, [division], ["accuracy"], identity)
    found = run_knn(data, KnnSettings(k=[3], metrics=[metric], votes=["distance", "majority"]))
    table = found.predictions().set_index("head")
    name = "knn" if metric == "cosine" else "knn-euclidean"
    assert table.loc[f"{name}-distance", ["score_0", "score_1"]].tolist() == [1, 0]
    assert table.loc[name, ["predicted_0", "predicted_1"]].tolist() == [False, True]


def plain_cut(truth: list[bool], shares: list[Fraction], few: int) -> Fraction | None:
    """Return the highest threshold with the best F1, halfway between two shares; None: too few."""
    if min(sum(truth), len(truth) - sum(truth)) < few:
        return None
    distinct, best, cut = sorted(set(shares), reverse=True), Fraction(-1), Fraction(0)
    for lowest, below in zip(distinct, [*distinct[1:], distinct[-1]], strict=True):
        predicted = [share >= lowest for share in shares]
        hits = sum(t and p for t, p in zip(truth, predicted, strict=True))
        f1 = Fraction(2 * hits, sum(predicted) + sum(truth))
        if f1 > best:
            best, cut = f1, (lowest + below) / 2
    return cut


@dataclass
class Plain:
    """k-NN with thresholds by plain loops over one division, in exact fractions.

    Parameters
    ----------
    data, division, settings
        What is classified, and how; the first metric and kind of votes.
    k
        Number of neighbours.
    ties, shared
        Test shares on a threshold between two shares, and classes with a shared threshold, so far.
    """

    data: ProbeData
    division: Division
    settings: KnnSettings
    k: int
    ties: int = 0
    shared: int = 0

    def shares(self, row: int) -> list[Fraction] | None:
        """Return the share of each class among the neighbours of a row; None: too few."""
        tiles, train = self.data.tiles, self.division.train
        if self.settings.exclude != "none":
            of = {"group": tiles.groups, "batch": tiles.batches, "fov": tiles.fovs}
            names = of[self.settings.exclude]
            train = np.array([other for other in train if names[other] != names[row]])
        if len(train) < self.k:
            return None
        features = self.data.embeddings.astype(np.float64)
        (metric,), (votes,) = self.settings.metrics, self.settings.votes
        search = NearestNeighbors(n_neighbors=self.k, metric=metric, algorithm="brute")
        distances, rows = search.fit(features[train]).kneighbors(features[[row]])
        weights = [Fraction(1)] * self.k
        if votes == "distance":
            weights = [1 / Fraction(distance) for distance in distances[0]]
        labels = tiles.matrix[train[rows[0]]]
        return [
            sum((w for w, has in zip(weights, column, strict=True) if has), Fraction(0))
            / sum(weights)
            for column in labels.T
        ]

    def predict(self) -> np.ndarray:
        few, matrix = self.settings.threshold_positives, self.data.tiles.matrix
        known = [(row, self.shares(row)) for row in self.division.validation]
        usable = [(matrix[row].tolist(), shares) for row, shares in known if shares is not None]
        seen = [j for j in range(matrix.shape[1]) if matrix[self.division.train, j].any()]
        every = [(truth[j], shares[j]) for truth, shares in usable for j in seen]
        pooled = plain_cut([t for t, _ in every], [s for _, s in every], few)
        predicted = np.zeros((len(self.division.test), matrix.shape[1]), dtype=bool)
        asked = [self.shares(row) for row in self.division.test]
        for j in seen:
            own = [shares[j] for _, shares in usable]
            cut = plain_cut([truth[j] for truth, _ in usable], own, few)
            self.shared += cut is None
            cut = pooled if cut is None else cut
            cut = Fraction(1, 2) if cut is None else cut
            predicted[:, j] = [shares[j] >= cut for shares in asked if shares is not None]
            self.ties += sum(shares[j] == cut and cut not in own for shares in asked if shares)
        return predicted


@pytest.mark.parametrize("votes", ["majority", "distance"])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_thresholds_equal_those_of_a_plain_loop(metric: str, votes: str) -> None:
    data = probe_data()
    settings = KnnSettings(k=[1, 5, 10], metrics=[metric], votes=[votes], threshold_positives=4)
    table = run_knn(data, settings).predictions()
    ties = shared = alone = 0
    for division in data.divisions:
        for k in settings.k:
            plain = Plain(data, division, settings, k)
            np.testing.assert_array_equal(predictions_of(table, k, division), plain.predict())
            ties, shared = ties + plain.ties, shared + plain.shared
            alone += len(CLASSES) - plain.shared
    assert shared > 0
    assert alone > 0
    # Shares of equal votes often lie on a threshold, where rounding must not decide.
    assert (ties > 0) == (votes == "majority")


@pytest.mark.parametrize("votes", ["majority", "distance"])
def test_thresholds_obey_the_exclusion_and_need_k_candidates(votes: str) -> None:
    data = probe_data(fractions=(1.0,))
    # Test tiles are of two small batches, validation tiles of the large one as well.
    batches = np.full(len(data.tiles), "large", dtype=object)
    division = data.divisions[0]
    batches[division.test[::2]], batches[division.test[1::2]] = "a", "b"
    batches[division.train[:30]] = "a"
    batches[division.validation[::3]] = "a"
    mixed = replace(data, tiles=replace(data.tiles, batches=batches), divisions=[division])
    n_other = int((batches[division.train] != "large").sum())
    settings = KnnSettings(
        k=[5, n_other, n_other + 1], votes=[votes], exclude="batch", threshold_positives=2
    )
    table = run_knn(mixed, settings).predictions()
    for k in settings.k:
        plain = Plain(mixed, division, settings, k)
        assert any(plain.shares(row) is None for row in division.validation) == (k > n_other)
        np.testing.assert_array_equal(predictions_of(table, k, division), plain.predict())


def test_without_validation_rows_half_of_the_votes_decide() -> None:
    data = probe_data(fractions=(1.0,))
    none = np.empty(0, dtype=np.int64)
    bare = replace(data, divisions=[replace(d, validation=none) for d in data.divisions])
    table = run_knn(bare, KnnSettings(k=[4], votes=["majority", "distance"])).predictions()
    for j in range(len(CLASSES)):
        assert (table[f"predicted_{j}"] == (table[f"score_{j}"] >= 0.5)).all()


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
def test_a_class_without_training_tiles_is_never_predicted(task: str) -> None:
    data = probe_data(task, fractions=(1.0,))
    division = data.divisions[0]
    without = division.train[~data.tiles.matrix[division.train, 2]]
    lacking = replace(
        data, divisions=[replace(division, train=without, train_shares=np.zeros(len(without)))]
    )
    table = run_knn(lacking, KnnSettings(k=[1, 5])).predictions()
    assert not table["predicted_2"].any()
    assert (table["score_2"] == 0).all()
    assert table[["predicted_0", "predicted_1"]].any().all()


def test_single_labels_have_no_threshold() -> None:
    data = probe_data("single-label")
    threshold, majority = (
        run_knn(data, KnnSettings(k=[1, 5], decision=decision)).predictions()
        for decision in ("threshold", "majority")
    )
    pd.testing.assert_frame_equal(threshold, majority)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("exclude", ["none", "group"])
def test_another_device_finds_the_same_predictions_and_scores(
    device: torch.device, exclude: str
) -> None:
    chosen = {"k": [1, 5, 20, 200], "metrics": ["cosine", "euclidean"], "exclude": exclude}
    settings = KnnSettings(**chosen, votes=["majority", "distance"])
    for data in (probe_data(), probe_data(task="single-label"), null_study("group", 0)):
        wanted, found = (run_knn(data, settings, device=each) for each in (None, device))
        pd.testing.assert_frame_equal(found.predictions(), wanted.predictions(), rtol=1e-6)
        pd.testing.assert_frame_equal(found.scores(), wanted.scores(), rtol=1e-6)


def test_test_labels_and_tiles_reach_no_threshold() -> None:
    data = probe_data(fractions=(0.3,))
    division = data.divisions[0]
    inside = np.concatenate([division.train, division.validation])
    embeddings, matrix = data.embeddings.copy(), data.tiles.matrix.copy()
    outside = np.setdiff1d(np.arange(len(matrix)), inside)
    matrix[outside] ^= True
    embeddings[outside[outside != division.test[0]]] = 7
    changed = replace(data, embeddings=embeddings, tiles=replace(data.tiles, matrix=matrix))
    settings = KnnSettings(k=[1, 5], threshold_positives=1)
    found = []
    for one in (data, changed):
        table = run_knn(replace(one, divisions=[division]), settings).predictions()
        found.append(table.groupby("k").first().filter(regex="score|predicted"))
    pd.testing.assert_frame_equal(*found)


def null_study(embedded: str, seed: int, task: str = "multi-label") -> ProbeData:
    """Return 40 groups of 4 tiles whose embeddings say nothing about the classes."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), 4)
    matrix = np.eye(4, dtype=bool)[rng.permutation(40) % 4]
    if task == "multi-label":
        matrix |= rng.random((40, 4)) < 0.15
    embeddings = rng.normal(size=(160, 16))
    if embedded == "group":
        embeddings = 3 * rng.normal(size=(40, 16))[groups] + embeddings
    table = pd.DataFrame(
        {
            "tile_id": [f"t{i}" for i in range(160)],
            "group": [f"g{g}" for g in groups],
            "labels": [";".join(np.array(CLASSES)[row]) for row in matrix[groups]],
            "fov": [f"t{i}" for i in range(160)],
        }
    )
    card = DatasetCard(name="d", sheet="s.tsv", channels=["nucleus"], task=task, labels=CLASSES)
    chosen = SplitSettings(folds={"group": 3, "image": 3}, seeds=[seed])
    identity = {"dataset": "d", "backbone": "b", "channels": "map"}
    splits = make_splits(table, card, chosen)
    return ProbeData.of(embeddings.astype(np.float32), table, splits, [1.0], METRICS, identity)


def above_chance(embedded: str, scheme: str, decision: str, draws: int) -> pd.DataFrame:
    """Return macro F1 and average precision above chance, one row per k, votes and null study.

    Chance is the score of the same predictions for labels that are permuted among the groups of
    the test fold, all of which have four tiles.
    """
    settings = KnnSettings(k=[1, 5, 20], votes=["majority", "distance"], decision=decision)
    found = []
    for seed in range(draws):
        data = null_study(embedded, seed)
        rng = np.random.default_rng(seed)
        mine = replace(data, divisions=[d for d in data.divisions if d.scheme == scheme])
        for (head, k, _), rows in run_knn(mine, settings).predictions().groupby(UNIT):
            truth, predicted, score = (
                rows[[f"{kind}_{j}" for j in range(4)]].to_numpy()
                for kind in ("true", "predicted", "score")
            )
            names, code = np.unique(rows["group"], return_inverse=True)
            of_group = np.stack([truth[code == g].any(axis=0) for g in range(len(names))])
            other = of_group[rng.permutation(len(names))][code]
            values = [
                (
                    f1_score(labels, predicted, average="macro", zero_division=0),
                    average_precision_score(labels, score, average="macro"),
                )
                for labels in (truth, other)
            ]
            found.append((head, k, seed, *np.subtract(*values)))
    table = pd.DataFrame(found, columns=["head", "k", "seed", "macro_f1", "average_precision"])
    return table.groupby(["head", "k", "seed"]).mean()


UNIT = ["head", "k", "fold"]


@pytest.mark.parametrize("decision", ["threshold", "majority"])
@pytest.mark.parametrize("embedded", ["noise", "group"])
def test_embeddings_without_information_score_at_chance_by_group(
    embedded: str, decision: str
) -> None:
    draws = 30
    table = above_chance(embedded, "group", decision, draws).groupby(["head", "k"])
    errors = table.std() / np.sqrt(draws)
    # Twelve values: a bound of 3.5 standard errors is exceeded by chance in 1 of 200 runs.
    assert (table.mean().abs() < 3.5 * errors).all(axis=None)
    assert (errors < 0.02).all(axis=None)


def test_the_identity_of_the_group_is_seen_by_image() -> None:
    found = above_chance("group", "image", "threshold", 3).drop(20, level="k")
    # Three other tiles of the group are most of the 5 nearest, but few of the 20 nearest.
    assert (found > 0.2).all(axis=None)


def test_excluding_the_group_by_image_is_below_chance_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = []
    for seed in range(20):
        data = null_study("noise", seed, "single-label")
        scores = run_knn(data, KnnSettings(k=[20], exclude="group")).scores()
        chosen = scores[(scores["scheme"] == "image") & (scores["metric"] == "accuracy")]
        values.append(chosen["value"].mean())
    # Chance is 0.25 for four equally frequent classes.
    assert np.mean(values) + 3 * np.std(values) / np.sqrt(20) < 0.25
    assert "worse than chance" in caplog.text
    caplog.clear()
    by_group = [division for division in data.divisions if division.scheme == "group"]
    run_knn(replace(data, divisions=by_group), KnnSettings(k=[20], exclude="group"))
    assert not caplog.text


@pytest.mark.parametrize(
    ("exclude", "schemes", "warned"),
    [
        ("group", ["group", "image"], True),
        ("group", ["group"], False),
        ("fov", ["group", "image"], False),
    ],
)
def test_neighbours_of_other_groups_only_are_warned_of_by_image(
    exclude: str, schemes: list[str], warned: bool
) -> None:
    settings = KnnSettings(exclude=exclude)
    assert bool(exclusion_warnings(settings, schemes)) is warned
    assert not exclusion_warnings(KnnSettings(k=[], exclude=exclude), schemes)

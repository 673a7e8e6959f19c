"""What is predicted besides biology: as plain scikit-learn does, on the study's own folds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transferscope.cards import DatasetCard
from transferscope.config.jobs import HeldOutDivision, Leakage, NuisanceProbe
from transferscope.config.nuisance import TABLES, NuisanceSettings
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.config.roles import RoleSettings
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.nuisance import NUMBER, Target, column_targets, predict
from transferscope.probes.nuisance_columns import nuisance_problems, usual_columns
from transferscope.probes.nuisance_job import measure_nuisances
from transferscope.probes.nuisance_scores import group_sums, score, score_of_sums
from transferscope.probes.ridge import fit_ridge
from transferscope.probes.splits import make_splits
from transferscope.stores.parquet import read_parquet

SPLITS = SplitSettings(
    schemes=["group"], folds={"group": 3}, seeds=[0, 1], fractions=[1.0], halves=2
)
CLASSES, WIDTH, N_GROUPS = ["a", "b", "c"], 8, 48


@pytest.fixture(scope="module")
def table():
    """Return 48 groups of three tiles on four plates, of one site each, and some controls."""
    group = np.repeat(np.arange(N_GROUPS), 3)
    tile = np.arange(len(group))
    plates = group // 3 % 4
    found = pd.DataFrame(
        {
            "tile_id": [f"t{n:03}" for n in tile],
            "group": [f"g{n:02}" for n in group],
            "labels": [CLASSES[n % 3] for n in group],
            "batch": [f"plate {n}" for n in plates],
            "site": "Basel",
            "well": [f"{'ABCDEFGH'[n % 8]}{n // 8 + 1:02}" for n in group],
            "donor": [f"d{n}" for n in group],
            "days": [str(n % 5) for n in tile],
        }
    )
    found.loc[found.index % 12 == 11, "labels"] = ""
    return found.assign(fov=found["tile_id"])


@pytest.fixture(scope="module")
def data(table):
    rng = np.random.default_rng(0)
    plate = pd.factorize(table["batch"])[0]
    values = rng.normal(size=(len(table), WIDTH)) + rng.normal(size=(4, WIDTH))[plate]
    values[:, 0] += 0.8 * table["days"].astype(float)
    card = DatasetCard(name="d", sheet="s", channels=["x"], labels=CLASSES, task="single-label")
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": "d", "backbone": "x", "channels": "map"}
    return ProbeData.of(values, table, splits, [1.0], ["macro_f1"], identity)


def predicted(data, targets):
    return list(predict(data, targets, HeadSettings(), SPLITS))


def test_a_column_is_predicted_as_by_scikit_learn(table, data):
    (found,) = predicted(data, column_targets("batch", table["batch"].to_numpy(object)))
    truth = pd.factorize(table["batch"], sort=True)[0]
    scores = {}
    for division in data.divisions:
        rows = np.concatenate([division.train, division.validation])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=5000, tol=1e-8))
        model.fit(data.embeddings[rows], truth[rows])
        pair = truth[division.test], model.predict(data.embeddings[division.test])
        scores.setdefault(division.seed, []).append(pair)
    pooled = [map(np.concatenate, zip(*own, strict=True)) for own in scores.values()]
    expected = np.mean([balanced_accuracy_score(*own) for own in pooled])
    value = score(found.predictions, "column", 4)
    assert value == pytest.approx(expected, abs=1e-9)
    assert value > 0.5
    assert found.halves["half"].tolist() == [0, 1, 2, 3]
    assert found.halves["value"].between(0.2, 1).all()
    # No unlabelled tile is tested, and no group is on both sides.
    assert len(found.predictions) == 2 * (table["labels"] != "").sum()


def test_numbers_are_predicted_with_a_penalty_of_the_validation_rows(table, data):
    days = table["days"].astype(float).to_numpy()
    noise = np.random.default_rng(1).normal(size=len(days))
    found = predicted(data, [Target("days", NUMBER, days), Target("noise", NUMBER, noise)])
    assert [each.target.name for each in found] == ["days", "noise"]
    of_days, of_noise = (score(each.predictions, NUMBER, 0) for each in found)
    assert of_days > 0.3
    assert of_noise < 0.1
    division = data.divisions[0]
    train, validation = division.train, division.validation
    fitted = fit_ridge(
        data.embeddings, train, days[train, None], validation, days[validation, None]
    )
    (penalty,) = fitted.penalties
    model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * len(train)))
    model.fit(data.embeddings[train], days[train])
    own = np.clip(model.predict(data.embeddings), days[train].min(), days[train].max())
    # Features are kept as float32, which scikit-learn computes with.
    np.testing.assert_allclose(fitted.predict(data.embeddings)[:, 0], own, atol=1e-3)

    def error(alpha):
        tried = make_pipeline(StandardScaler(), Ridge(alpha=alpha * len(train)))
        tried.fit(data.embeddings[train], days[train])
        return np.square(tried.predict(data.embeddings[validation]) - days[validation]).mean()

    assert error(penalty) <= min(error(1e-4), error(1e4)) + 1e-9


def test_nothing_of_the_test_rows_is_used(table, data):
    division = data.divisions[0]
    days = table["days"].astype(float).to_numpy()
    changed = days.copy()
    changed[division.test] += 100
    alone = [
        fit_ridge(data.embeddings, division.train, each[division.train, None], *inner)
        for each in (days, changed)
        for inner in [(division.validation, each[division.validation, None])]
    ]
    np.testing.assert_array_equal(alone[0].weights, alone[1].weights)


def test_there_are_no_halves_of_a_backbone_that_has_seen_the_other_groups(table, data):
    only = HeldOutDivision(scheme="group", seed=0, fold=0)
    seen = replace(data, leakage=Leakage(seen_in_training="images", only=only))
    days = Target("days", NUMBER, table["days"].to_numpy(float), [])
    for targets in ([days], column_targets("batch", table["batch"].to_numpy(object))):
        assert [len(each.halves) > 0 for each in predicted(data, targets)] == [True]
        assert [len(each.halves) for each in predicted(seen, targets)] == [0]


def test_what_no_other_group_has_is_said_instead_of_a_number(table, data):
    texts = {name: table[name].to_numpy(object) for name in ("donor", "site", "well")}
    (donor,) = predicted(data, column_targets("donor", texts["donor"]))
    assert "in one fold of the groups only" in donor.reason
    (site,) = predicted(data, column_targets("site", texts["site"]))
    assert "same value" in site.reason
    assert donor.predictions.empty
    assert site.halves.empty
    row, column = predicted(data, column_targets("well", texts["well"], is_position=True))
    assert [each.target.name for each in (row, column)] == ["well (row)", "well (column)"]
    assert not row.reason
    # A value of one group is left out, and told.
    rare = table["batch"].to_numpy(object).copy()
    rare[:3] = "another plate"
    (found,) = predicted(data, column_targets("batch", rare))
    assert (found.n_values, found.n_left_out) == (4, 1)


def test_scores_of_weighted_groups_are_those_of_the_groups_repeated():
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {"truth": rng.integers(0, 3, 60), "predicted": rng.integers(0, 3, 60), "seed": 0}
    ).astype({"truth": float, "predicted": float})
    found["baseline"] = found["truth"].mean()
    group = rng.integers(0, 6, 60)
    weights = np.array([0, 2, 1, 1, 3, 1])
    repeated = found.loc[np.repeat(found.index, weights[group])]
    for kind, n_values in (("column", 3), (NUMBER, 0)):
        weighted = weights @ group_sums(found, kind, n_values, group)
        assert score_of_sums(weighted, kind) == pytest.approx(score(repeated, kind, n_values))


def test_columns_that_are_missing_or_no_numbers_are_told(table):
    named = {"columns": ["bach"], "numbers": ["days", "well"], "robustness": ["batch"]}
    problems = nuisance_problems(table, named, "sheet.tsv")
    assert [problem.where for problem in problems] == ["sheet.tsv", "sheet.tsv, column well"]
    assert "nuisance.columns" in problems[0].what
    assert "batch" in problems[0].fix
    assert '"A01" in row 1' in problems[1].what
    assert usual_columns(table, RoleSettings()) == (["batch", "site", "well"], ["batch"])
    other = RoleSettings(batch="donor")
    assert usual_columns(table, other) == (["donor", "batch", "site", "well"], ["donor"])


def test_a_job_writes_all_tables(table, data, tmp_path):
    measures = table[["tile_id"]].assign(count=np.arange(len(table)) % 7)
    measures.sample(frac=1, random_state=0).to_parquet(tmp_path / "measures.parquet")
    job = NuisanceProbe(
        nuisance=NuisanceSettings(numbers=["days"], k=5, permutations=99), splits=SPLITS
    )
    files = [tmp_path / f"{name}.parquet" for name in TABLES]
    where = tmp_path / "tiles.parquet"
    measure_nuisances(data, table, tmp_path / "measures.parquet", job, where, files)
    targets, predictions, halves, index, replicates = map(read_parquet, files)
    assert set(targets["target"]) == {
        *("batch", "site", "well (row)", "well (column)", "days", "count")
    }
    counts = predictions[predictions["target"] == "count"]
    # Measures are joined by the tile, not by the row.
    rows = np.concatenate([d.test for d in data.divisions])
    np.testing.assert_array_equal(np.sort(counts["truth"]), np.sort(rows % 7))
    assert set(halves["target"]) <= set(targets["target"])
    (row,) = index.to_dict("records")
    assert row["robustness_index"] < row["shuffled"]
    assert row["p"] == 0.01
    assert len(replicates) == N_GROUPS
    assert row["n_tiles"] == (table["labels"] != "").sum()

import itertools
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from gpu_devices import DEVICES
from transferscope.cards import DatasetCard
from transferscope.config.probes import HeadSettings, KnnSettings, SplitSettings
from transferscope.probes import head_training
from transferscope.probes.decisions import decide
from transferscope.probes.evaluation import ProbeData, write_tables
from transferscope.probes.head_batch import CERTAIN, HeadBatch, HeadProblem, HeadRows, Scalers
from transferscope.probes.head_training import steps_per_epoch
from transferscope.probes.heads import GPU_TOLERANCE, _posed, fit, floor, run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.metrics import best_thresholds
from transferscope.probes.score_table import SCORE_COLUMNS
from transferscope.probes.splits import make_splits
from transferscope.stores.parquet import read_parquet

CLASSES = ["er", "golgi", "nucleus", "vesicles"]
METRICS = ["macro_f1", "micro_f1", "class_f1", "macro_average_precision", "accuracy"]
QUICK = HeadSettings(epochs=20, hidden=[32, 16], batch_size=32, patience=10)
KINDS = ["linear", "logreg", "mlp"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def probe_data(
    task: str = "multi-label",
    fractions: tuple[float, ...] = (0.3, 1.0),
    classes: list[str] = CLASSES,
    schemes: tuple[str, ...] = ("group",),
) -> ProbeData:
    """Return 60 groups of 4 tiles whose features tell the classes apart, with noise."""
    rng = np.random.default_rng(0)
    count = len(classes)
    groups = np.repeat(np.arange(60), 4)
    matrix = np.eye(count, dtype=bool)[groups % count]
    if task == "multi-label":
        matrix |= (rng.random((60, count)) < 0.15)[groups]
    centres = rng.normal(size=(count, 12))
    embeddings = 5 + 3 * (matrix @ centres + 0.8 * rng.normal(size=(len(groups), 12)))
    tile_ids = [f"t{i}" for i in range(len(groups))]
    table = pd.DataFrame(
        {
            "tile_id": tile_ids,
            "group": [f"g{g}" for g in groups],
            "labels": [";".join(np.array(classes)[row]) for row in matrix],
            "fov": tile_ids,
        }
    )
    card = DatasetCard(name="d", sheet="s.tsv", channels=["nucleus"], task=task, labels=classes)
    chosen = SplitSettings(folds={"group": 3, "image": 3}, seeds=[0], schemes=list(schemes))
    return ProbeData.of(
        embeddings.astype(np.float32),
        table,
        make_splits(table, card, chosen),
        list(fractions),
        METRICS,
        {"dataset": "d", "backbone": "b", "channels": "map"},
    )


def problem_of(data: ProbeData) -> tuple[HeadProblem, list[HeadRows]]:
    targets = torch.from_numpy(data.tiles.matrix.astype(np.float32))
    problem = HeadProblem(torch.from_numpy(data.embeddings), targets, data.is_multi_label)
    return problem, [HeadRows.of(division, "d") for division in data.divisions]


def fit_one(data: ProbeData, index: int, kind: str, settings: HeadSettings = QUICK) -> HeadBatch:
    problem, heads = problem_of(data)
    one = [heads[index]]
    return fit(kind, problem, one, Scalers.fit(problem.embeddings, one), settings)


def assert_same(first: HeadBatch, second: HeadBatch) -> None:
    pairs = zip(parameters_of(first), parameters_of(second), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def parameters_of(batch: HeadBatch) -> list[torch.Tensor]:
    return [batch.scalers.mean, batch.scalers.deviation, *batch.weights, *batch.biases]


def test_scalers_are_those_of_scikit_learn_on_the_training_rows() -> None:
    data = probe_data()
    data.embeddings[:, 3] = 1234.5
    problem, heads = problem_of(data)
    scalers = Scalers.fit(problem.embeddings, heads)
    for index, head in enumerate(heads):
        expected = StandardScaler().fit(data.embeddings[head.train].astype(np.float64))
        np.testing.assert_allclose(scalers.mean[index], expected.mean_, rtol=1e-6)
        np.testing.assert_allclose(scalers.deviation[index], expected.scale_, rtol=1e-5)


@pytest.mark.parametrize("task", ["multi-label", "single-label", "two classes"])
@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_logistic_regression_equals_scikit_learn(task: str, strength: float) -> None:
    two = task == "two classes"
    data = probe_data("single-label" if two else task, classes=CLASSES[: 2 if two else 4])
    problem, heads = problem_of(data)
    scalers = Scalers.fit(problem.embeddings, heads)
    settings = QUICK.model_copy(update={"logreg_c": strength})
    batch = fit("logreg", problem, heads, scalers, settings)
    for index, division in enumerate(data.divisions):
        scaler = StandardScaler().fit(data.embeddings[division.train].astype(np.float64))
        features = scaler.transform(data.embeddings[division.train])
        reference = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000)
        weights = batch.weights[0][index].T.numpy()
        biases = batch.biases[0][index, 0].numpy()
        if task == "multi-label":
            for column in range(len(CLASSES)):
                reference.fit(features, data.tiles.matrix[division.train, column])
                np.testing.assert_allclose(weights[column], reference.coef_[0], atol=1e-3)
                np.testing.assert_allclose(biases[column], reference.intercept_[0], atol=1e-3)
        else:
            reference.fit(features, data.tiles.class_index()[division.train])
            test = scaler.transform(data.embeddings[division.test])
            scores = batch.scores(index, heads[index].test, problem)
            np.testing.assert_allclose(scores, reference.predict_proba(test), atol=1e-3)


def minimum(features: np.ndarray, wanted: np.ndarray, strength: float) -> np.ndarray:
    """Return weights and intercepts [D + 1, K] of the least softmax loss, by plain numpy.

    The first of two classes has logit 0; of more, each has weights.
    """
    inputs = np.hstack([features, np.ones((len(features), 1))])
    width = 1 if wanted.shape[1] == 2 else wanted.shape[1]

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        layer = flat.reshape(-1, width)
        logits = inputs @ layer
        logits = np.hstack([np.zeros_like(logits), logits]) if width == 1 else logits
        normal = logsumexp(logits, axis=1, keepdims=True)
        weights = np.vstack([layer[:-1], np.zeros((1, width))])
        loss = strength * (normal - logits).sum(where=wanted) + (weights**2).sum() / 2
        slope = strength * inputs.T @ (np.exp(logits - normal) - wanted)
        return loss, (slope[:, -width:] + weights).ravel()

    start = np.zeros(inputs.shape[1] * width)
    found = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    return found.x.reshape(-1, width)


@pytest.mark.parametrize("task", ["multi-label", "single-label", "two classes"])
def test_logistic_regression_is_the_minimum_of_its_objective(task: str) -> None:
    two = task == "two classes"
    data = probe_data("single-label" if two else task, classes=CLASSES[: 2 if two else 4])
    problem, heads = problem_of(data)
    batch = fit("logreg", problem, heads, Scalers.fit(problem.embeddings, heads), QUICK)
    for index, division in enumerate(data.divisions):
        features = data.embeddings[division.train].astype(np.float64)
        features = (features - features.mean(axis=0)) / features.std(axis=0)
        labels = data.tiles.matrix[division.train]
        layer = np.vstack([batch.weights[0][index], batch.biases[0][index]])
        if task == "multi-label":
            binary = [np.stack([~column, column], axis=1) for column in labels.T]
            expected = np.hstack([minimum(features, wanted, 1.0) for wanted in binary])
        else:
            expected = minimum(features, labels, 1.0)
            # Only differences of intercepts count.
            layer[-1] -= layer[-1].mean() if not two else 0
            expected[-1] -= expected[-1].mean() if not two else 0
        np.testing.assert_allclose(layer[:, -expected.shape[1] :], expected, atol=1e-3)


def test_logistic_regression_does_not_know_classes_without_training_tiles() -> None:
    data = probe_data("single-label", fractions=(1.0,))
    division = data.divisions[0]
    for kept in ([0, 3], [2]):
        rows = division.train[data.tiles.matrix[division.train][:, kept].any(axis=1)]
        lacking = replace(data, divisions=[replace(division, train=rows)])
        problem, heads = problem_of(lacking)
        scores = fit_one(lacking, 0, "logreg").scores(0, heads[0].test, problem)
        np.testing.assert_allclose(scores[:, kept].sum(axis=1), 1, atol=1e-6)


def plain_loop(data: ProbeData, index: int, hidden: list[int], settings: HeadSettings) -> float:
    """Train one head as a textbook has it and return its macro F1."""
    torch.manual_seed(index)
    division = data.divisions[index]
    scaler = StandardScaler().fit(data.embeddings[division.train])
    features = torch.from_numpy(scaler.transform(data.embeddings).astype(np.float32))
    targets = torch.from_numpy(data.tiles.matrix.astype(np.float32))
    widths = [features.shape[1], *hidden]
    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU(), torch.nn.Dropout(0.5)]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], targets.shape[1]))
    parameters, moments = list(network.parameters()), []
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    best, kept, step = np.inf, network.state_dict(), 0
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    for epoch in range(settings.epochs):
        rate = settings.learning_rate * (1 + np.cos(np.pi * epoch / settings.epochs)) / 2
        network.train()
        order = torch.from_numpy(division.train)[torch.randperm(len(division.train))]
        for rows in order.tensor_split(steps_per_epoch(len(order), settings.batch_size)):
            step += 1
            loss_of(network(features[rows]), targets[rows]).backward()
            for parameter, (first, second) in zip(parameters, moments, strict=True):
                gradient = parameter.grad
                first.mul_(0.9).add_(gradient, alpha=0.1)
                second.mul_(0.999).add_(gradient.square(), alpha=0.001)
                update = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
                parameter.data.mul_(1 - rate * settings.weight_decay).sub_(rate * update)
                parameter.grad = None
        network.eval()
        with torch.no_grad():
            validation = network(features[division.validation])
            loss = float(loss_of(validation, targets[division.validation]))
        if loss < best:
            best, kept = loss, {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(kept)
    with torch.no_grad():
        scores = network(features).sigmoid().numpy()
    truth = data.tiles.matrix
    known, given = truth[division.validation], scores[division.validation]
    shared = best_thresholds(known.reshape(-1, 1), given.reshape(-1, 1), 5)
    thresholds = best_thresholds(known, given, 5, float(shared[0]))
    predicted = scores[division.test] >= thresholds
    return float(f1_score(truth[division.test], predicted, average="macro", zero_division=np.nan))


@pytest.mark.parametrize(("kind", "hidden"), [("linear", []), ("mlp", [32, 16])])
def test_batched_training_is_as_good_as_a_plain_loop(kind: str, hidden: list[int]) -> None:
    data = probe_data(fractions=(1.0,), schemes=("group", "image"))
    longer = {"kinds": [kind], "patience": 40, "epochs": 40, "learning_rate": 0.01}
    settings = QUICK.model_copy(update=longer)
    scores = run_heads(data, settings).scores()
    ours = scores.query("head == @kind and metric == 'macro_f1'")["value"].mean()
    plain = [plain_loop(data, index, hidden, settings) for index in range(len(data.divisions))]
    assert ours == pytest.approx(np.mean(plain), abs=0.04)
    assert ours > 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_test_rows_cannot_reach_the_trained_head(kind: str) -> None:
    data = probe_data()
    division = data.divisions[1]
    embeddings, matrix = data.embeddings.copy(), data.tiles.matrix.copy()
    embeddings[division.test] *= -100
    matrix[division.test] ^= True
    changed = replace(data, embeddings=embeddings, tiles=replace(data.tiles, matrix=matrix))
    assert_same(fit_one(data, 1, kind), fit_one(changed, 1, kind))
    scores = np.random.default_rng(0).random((len(division.validation), 4), dtype=np.float32)
    test = np.full((len(division.test), 4), 0.5, dtype=np.float32)
    first, second = (decide(d, division, scores, test, QUICK)[0] for d in (data, changed))
    np.testing.assert_array_equal(first, second)


def test_validation_rows_reach_early_stopping_and_thresholds_only() -> None:
    data = probe_data()
    division = data.divisions[1]
    embeddings, matrix = data.embeddings.copy(), data.tiles.matrix.copy()
    embeddings[division.validation] += 9
    matrix[division.validation] ^= True
    changed = replace(data, embeddings=embeddings, tiles=replace(data.tiles, matrix=matrix))
    assert_same(fit_one(data, 1, "logreg"), fit_one(changed, 1, "logreg"))
    first, second = fit_one(data, 1, "mlp"), fit_one(changed, 1, "mlp")
    assert torch.equal(first.scalers.mean, second.scalers.mean)
    assert not torch.equal(first.weights[0], second.weights[0])  # stopped at another epoch


def test_tiles_outside_the_fraction_cannot_reach_the_head() -> None:
    data = probe_data(fractions=(0.3,))
    division = data.divisions[0]
    inside = np.concatenate([division.train, division.validation])
    changed = data.embeddings.copy()
    changed[np.setdiff1d(np.arange(len(changed)), inside)] = 1e3
    for kind in KINDS:
        assert_same(fit_one(data, 0, kind), fit_one(replace(data, embeddings=changed), 0, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_heads_do_not_depend_on_those_beside_them(kind: str) -> None:
    many = probe_data(fractions=(0.3, 0.9, 1.0))
    settings = QUICK.model_copy(update={"kinds": [kind]})
    few = replace(many, divisions=[many.divisions[-1]])
    expected = run_heads(few, settings).predictions()
    found = run_heads(many, settings).predictions().query("fraction == 1 and fold == 2")
    columns = [f"score_{j}" for j in range(4)]
    np.testing.assert_allclose(found[columns], expected[columns], atol=2e-3)


def test_the_same_run_gives_the_same_numbers() -> None:
    data = probe_data()
    first, second = (run_heads(data, QUICK).predictions() for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_the_weights_of_the_best_epoch_are_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[torch.Tensor] = []
    original = head_training._Training._validation_loss

    def spy(self: head_training._Training, epoch: int) -> torch.Tensor:
        losses.append(original(self, epoch))
        return losses[-1]

    monkeypatch.setattr(head_training._Training, "_validation_loss", spy)
    settings = HeadSettings(epochs=60, learning_rate=0.05, patience=5, hidden=[32], batch_size=32)
    data = probe_data(fractions=(1.0,))
    batch = fit_one(data, 0, kind, settings)
    lowest = min(float(loss) for loss in losses)
    assert len(losses) < 60  # stopped early
    assert float(losses[-6]) == lowest  # by its patience
    problem, heads = problem_of(data)
    scores = batch.scores(0, heads[0].validation, problem)
    truth = data.tiles.matrix[data.divisions[0].validation]
    entropy = -np.log(np.where(truth, scores, 1 - scores)).mean()
    assert entropy == pytest.approx(lowest, rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_without_validation_rows_training_goes_on_to_the_end(kind: str) -> None:
    data = probe_data(fractions=(1.0,))
    none = np.empty(0, dtype=np.int64)
    bare = replace(data, divisions=[replace(d, validation=none) for d in data.divisions])
    scores = run_heads(bare, QUICK.model_copy(update={"kinds": [kind]})).scores()
    chosen = scores.query("head == @kind and metric == 'macro_f1'")
    assert (chosen["value"] > 0.3).all()
    assert (chosen["n_validation"] == 0).all()


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
def test_a_class_without_training_tiles_is_never_predicted(task: str) -> None:
    data = probe_data(task, fractions=(1.0,))
    division = data.divisions[0]
    without = division.train[~data.tiles.matrix[division.train, 2]]
    lacking = replace(data, divisions=[replace(division, train=without)])
    table = run_heads(lacking, QUICK).predictions()
    assert set(table["head"]) == {"floor", *KINDS}
    assert not table["predicted_2"].any()
    assert (table["score_2"] == 0).all()
    assert table.groupby("head")[["predicted_0", "predicted_1"]].any().to_numpy().any(axis=1).all()


def test_a_class_that_every_training_tile_has_is_always_predicted_by_logreg() -> None:
    data = probe_data(fractions=(1.0,))
    data.tiles.matrix[:, 1] = True
    batch = fit_one(data, 0, "logreg")
    assert batch.biases[0][0, 0, 1] == CERTAIN
    assert not batch.weights[0][0, :, 1].any()


def test_floor_of_several_labels_is_the_best_constant_answer_for_macro_f1() -> None:
    data = probe_data(fractions=(1.0,))
    division = data.divisions[0]
    predicted, scores = floor(data, division)
    truth = data.tiles.matrix[division.train]
    np.testing.assert_allclose(scores, np.broadcast_to(truth.mean(axis=0), scores.shape), rtol=1e-6)
    answers = list(itertools.product([False, True], repeat=truth.shape[1]))
    values = [
        f1_score(truth, np.broadcast_to(answer, truth.shape), average="macro", zero_division=0)
        for answer in answers
    ]
    assert (predicted == answers[int(np.argmax(values))]).all()


def test_classes_with_few_validation_positives_share_a_threshold() -> None:
    data = probe_data(fractions=(1.0,))
    division = data.divisions[0]
    truth = data.tiles.matrix
    scores = truth * 0.2 + 0.1 * np.random.default_rng(0).random(truth.shape)
    scores = scores.astype(np.float32)
    few = QUICK.model_copy(update={"threshold_positives": len(division.validation)})
    predicted, *_ = decide(data, division, scores[division.validation], scores[division.test], few)
    np.testing.assert_array_equal(predicted, truth[division.test])
    assert not (scores >= 0.5).any()


def test_floor_of_exclusive_classes_is_a_guess_that_beats_constant_answers() -> None:
    data = probe_data("single-label", fractions=(1.0,))
    division = data.divisions[0]
    predicted, _ = floor(data, division)
    np.testing.assert_array_equal(predicted, floor(data, division)[0])
    assert (predicted.sum(axis=1) == 1).all()
    # Many draws: classes come in proportion to the training labels, and the mean score is 1 / C.
    truth, scores, shares = data.tiles.matrix[division.test], [], []
    for seed in range(400):
        guess, _ = floor(data, replace(division, seed=seed))
        shares.append(guess.mean(axis=0))
        scores.append(f1_score(truth, guess, average="macro", zero_division=0))
    prior = data.tiles.matrix[division.train].mean(axis=0)
    np.testing.assert_allclose(np.mean(shares, axis=0), prior, atol=0.02)
    n_classes = truth.shape[1]
    constant = [
        f1_score(truth, np.eye(n_classes, dtype=bool)[[j] * len(truth)], average="macro")
        for j in range(n_classes)
    ]
    assert np.mean(scores) == pytest.approx(1 / n_classes, abs=0.03)
    assert np.mean(scores) > max(constant)


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
def test_all_that_training_computes_lies_on_its_device(task: str) -> None:
    """Tensors of `meta` mix with no others: what is left on the processor is an error there."""
    data, meta = probe_data(task), torch.device("meta")
    problem, heads, scalers = _posed(data, meta)
    heads, scalers = heads[:2], scalers.select([0, 1])
    widths = [problem.embeddings.shape[1], 32, problem.n_classes]
    training = head_training._Training(problem, heads, scalers, widths, "mlp", QUICK)
    rows, counts = (
        torch.stack(part, dim=1).to(meta)
        for part in zip(*(head.epoch(16) for head in training.heads), strict=True)
    )
    losses = training._row_losses(rows[0], dropout=True) * counts[0]
    losses.sum().backward()
    assert losses.device == meta
    assert losses.shape == (2, 16)
    assert losses.dtype == torch.float32
    assert all(p.grad is not None and p.grad.device == meta for p in training.weights)


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
@pytest.mark.parametrize("device", DEVICES)
def test_another_device_moves_scores_by_rounding_and_no_prediction(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, task: str
) -> None:
    """It sums in another order, as the processor does here by input that is rounded otherwise."""
    monkeypatch.setattr(head_training, "_head_precision", lambda _device: nullcontext())
    data = probe_data(task)
    rng = np.random.default_rng(0)
    rounded = data.embeddings * (1 + rng.choice([-1, 1], data.embeddings.shape) * 2.0**-22)
    moved = replace(data, embeddings=rounded.astype(np.float32)) if device.type == "cpu" else data
    wanted, found = run_heads(data, QUICK), run_heads(moved, QUICK, device=device)
    one, other = wanted.predictions(), found.predictions()
    scores = [name for name in one if name.startswith("score_")]
    assert np.abs(one[scores] - other[scores]).to_numpy().max() < GPU_TOLERANCE
    pd.testing.assert_frame_equal(one.drop(columns=scores), other.drop(columns=scores))
    pd.testing.assert_frame_equal(wanted.scores(), found.scores(), atol=0.01, rtol=0)


@pytest.mark.parametrize("n_train", [1, 5, 31, 33, 1000])
def test_an_epoch_visits_each_training_row_once(n_train: int) -> None:
    rows = HeadRows(torch.arange(n_train) + 7, torch.arange(3), torch.arange(3), ("x",))
    steps = steps_per_epoch(n_train, 32)
    head = head_training._Head(rows, "mlp", steps)
    visited, counts = head.epoch(head.batch + 2)
    assert visited.shape == (steps, head.batch + 2)
    assert head.batch <= 32
    assert sorted(visited[counts > 0].tolist()) == list(range(7, 7 + n_train))
    again, _ = head.epoch(head.batch + 2)
    assert n_train == 1 or not torch.equal(visited, again)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    data = probe_data(fractions=(1.0,))
    problem, heads = problem_of(data)
    settings = QUICK.model_copy(update={"dropout": 0.25})
    training = head_training._Training(
        problem, heads[:2], Scalers.fit(problem.embeddings, heads[:2]), [12, 4], "mlp", settings
    )
    dropped = training._drop(torch.ones(2, training.heads[0].batch, 1000))
    assert (dropped == 0).float().mean() == pytest.approx(0.25, abs=0.02)
    assert dropped.mean() == pytest.approx(1.0, abs=0.02)
    assert not torch.equal(dropped[0], dropped[1])


def test_memory_bounds_the_heads_trained_together(monkeypatch: pytest.MonkeyPatch) -> None:
    data = probe_data(fractions=(0.3, 1.0))
    whole = run_heads(data, QUICK).predictions()
    monkeypatch.setattr(head_training, "HEADS_BYTES", 1)
    columns = [f"score_{j}" for j in range(4)]
    keys = ["head", "fold", "fraction", "row"]
    single = run_heads(data, QUICK).predictions()
    first, second = (t.sort_values(keys)[columns] for t in (whole, single))
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_tables_follow_the_contract(tmp_path: Path) -> None:
    data = probe_data(schemes=("group", "image"))
    paths = tmp_path / "scores.parquet", tmp_path / "predictions.parquet"
    write_tables(data, *paths, lambda sink: run_heads(data, QUICK, sink=sink))
    scores, predictions = map(read_parquet, paths)
    assert list(scores.columns) == SCORE_COLUMNS
    assert scores["k"].isna().all()
    # (4 metrics + 4 classes) x 4 heads x 2 schemes x 3 folds x 2 fractions
    assert len(scores) == 8 * 4 * 2 * 3 * 2
    assert len(predictions) == 240 * 4 * 2 * 2
    part = predictions.query("head == 'mlp' and scheme == 'group' and fold == 1 and fraction == 1")
    truth = part[[f"true_{j}" for j in range(4)]].to_numpy()
    predicted = part[[f"predicted_{j}" for j in range(4)]].to_numpy()
    value = scores.query(
        "head == 'mlp' and scheme == 'group' and fold == 1 and fraction == 1"
        " and metric == 'macro_f1'"
    )["value"].item()
    expected = f1_score(truth, predicted, average="macro", zero_division=np.nan)
    assert value == pytest.approx(expected)
    np.testing.assert_array_equal(truth, data.tiles.matrix[part["row"]])


def test_what_is_tested_does_not_reach_the_validation_score() -> None:
    """Heads are chosen by it, so that test labels must not take part."""
    data = probe_data()
    division = data.divisions[0]
    changed = data.tiles.matrix.copy()
    changed[division.test] = ~changed[division.test]
    other = replace(data, tiles=replace(data.tiles, matrix=changed), divisions=[division])
    data = replace(data, divisions=[division])
    for run in (
        lambda d: run_heads(d, QUICK),
        lambda d: run_knn(d, KnnSettings(k=[3], exclude="none")),
    ):
        first, second = (run(d).scores().query("head != 'floor'") for d in (data, other))
        np.testing.assert_array_equal(first["validation"], second["validation"])
        assert np.isfinite(first.query("metric == 'macro_f1'")["validation"]).all()
        assert (first["value"] != second["value"]).any()

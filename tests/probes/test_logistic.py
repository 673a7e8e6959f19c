import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from transferscope.probes.head_batch import HeadProblem, HeadRows, Scalers
from transferscope.probes.logistic import fit_logistic

N_TEST = 100


def correlated(n_rows: int, n_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings whose singular values fall by three orders of magnitude, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.random((n_rows + N_TEST, 3)) < 0.3
    values = labels @ rng.normal(size=(3, n_features)) + rng.normal(size=(len(labels), n_features))
    rotation = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
    return (values * np.logspace(0, -3, n_features) @ rotation).astype(np.float32), labels


@pytest.mark.parametrize(("n_rows", "n_features"), [(60, 150), (800, 60), (400, 400)])
def test_correlated_features_get_the_probabilities_of_the_minimum(
    n_rows: int, n_features: int
) -> None:
    embeddings, labels = correlated(n_rows, n_features)
    targets = torch.from_numpy(labels.astype(np.float32))
    problem = HeadProblem(torch.from_numpy(embeddings), targets, is_multi_label=True)
    train, test = torch.arange(n_rows), torch.arange(n_rows, n_rows + N_TEST)
    heads = [HeadRows(train, test, test, ("d",))]
    scalers = Scalers.fit(problem.embeddings, heads)
    scores = fit_logistic(problem, heads, scalers, 1.0).scores(0, test, problem)
    scaled = (embeddings.astype(np.float64) - scalers.mean.numpy()) / scalers.deviation.numpy()
    for column in range(3):
        reference = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000)
        reference.fit(scaled[:n_rows], labels[:n_rows, column])
        expected = reference.predict_proba(scaled[n_rows:])[:, 1]
        np.testing.assert_allclose(scores[:, column], expected, atol=1e-3)

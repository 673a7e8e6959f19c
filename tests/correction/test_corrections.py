"""Corrections: the safe forms never do harm, the published ones follow the published steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from screens import screen
from transferscope.correction.methods import correct
from transferscope.correction.rows import Rows
from transferscope.correction.variances import inverse_trigamma, moderated_features
from transferscope.errors import UserError

METHODS = ("center", "standardise", "sphere", "tvn")


def mean_retrieval(n_controls, method, draws=6, **options):
    found = []
    for seed in range(draws):
        one = screen(seed, n_controls, **options)
        done = correct(one.values.astype(np.float32), one.rows, method)
        found.append(one.retrieval(done.embeddings))
    return np.mean(found)


@pytest.mark.parametrize("n_controls", [40, 64, 120, 400])
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("noise_rank", [0, 2, 8])
def test_the_safe_forms_never_lower_retrieval(n_controls, offset, noise_rank):
    told = {"offset": offset, "noise_rank": noise_rank}
    before = mean_retrieval(n_controls, "none", **told)
    for method in METHODS:
        assert mean_retrieval(n_controls, method, **told) >= before - 0.02, method


def test_corrections_raise_retrieval_where_batches_differ():
    for method in METHODS:
        before = mean_retrieval(120, "none", noise_rank=0)
        assert mean_retrieval(120, method, noise_rank=0) > before + 0.5


def test_whitening_removes_correlated_noise():
    before = mean_retrieval(400, "standardise", offset=0.3)
    assert mean_retrieval(400, "tvn", offset=0.3) > before + 0.3


def transcribed_tvn(values, rows):
    """Return the published steps, with the libraries that they were published with."""
    controls, values = rows.controls, values.astype(np.float64)
    values = StandardScaler().fit(values[controls]).transform(values)
    values = PCA().fit(values[controls]).transform(values)
    values = StandardScaler().fit(values[controls]).transform(values)
    for batch in range(len(rows.names)):
        own = rows.codes == batch
        source = np.cov(values[own & controls], rowvar=False, ddof=1) + 0.5 * np.eye(
            values.shape[1]
        )
        values[own] = values[own] @ fractional_matrix_power(source, -0.5)
    return values


def test_the_published_forms_equal_a_transcription():
    one = screen(3, 400)
    values = one.values.astype(np.float32)
    found = correct(values, one.rows, "tvn", published=True).embeddings
    wanted = transcribed_tvn(values, one.rows)
    # The sign of a component is arbitrary, cosines are not.
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, rtol=1e-4, atol=1e-3)
    units = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (found, wanted)]
    np.testing.assert_allclose(*(u @ u.T for u in units), atol=1e-5)
    found = correct(values, one.rows, "standardise", published=True).embeddings
    for batch in range(4):
        own = one.rows.codes == batch
        scaler = StandardScaler().fit(values[own & one.rows.controls].astype(np.float64))
        np.testing.assert_allclose(found[own], scaler.transform(values[own]), atol=1e-5)


def test_the_published_whitening_needs_more_controls_than_dimensions():
    one = screen(0, 64)
    with pytest.raises(UserError, match=r"more controls \(64\) than dimensions \(64\)"):
        correct(one.values, one.rows, "tvn", published=True)


def test_the_published_form_needs_controls_in_each_batch():
    one = screen(0, 120)
    controls = one.rows.controls & (one.rows.codes != 2)
    rows = Rows(one.rows.codes, one.rows.names, controls)
    with pytest.raises(UserError, match="2 controls per batch, but plate2 has 0"):
        correct(one.values, rows, "tvn", published=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_without_controls_is_corrected_and_said(method):
    one = screen(0, 120, offset=0)
    rows = Rows(one.rows.codes, one.rows.names, one.rows.controls & (one.rows.codes != 2))
    done = correct(one.values, rows, method)
    assert np.isfinite(done.embeddings).all()
    told = " ".join(done.notes)
    assert ("plate2" in told) == (method != "center")
    assert one.retrieval(done.embeddings) > one.retrieval(one.values) - 0.05


def test_no_controls_are_refused_where_needed():
    rows = Rows.of(None, np.zeros(10, dtype=bool))
    values = np.random.default_rng(0).normal(size=(10, 4))
    assert correct(values, rows, "center").embeddings.mean() == pytest.approx(0, abs=1e-6)
    for method in ("standardise", "sphere", "tvn"):
        with pytest.raises(UserError, match="needs negative controls, but none of 10 rows"):
            correct(values, rows, method)


def test_no_correction_changes_nothing():
    one = screen(0, 40)
    values = one.values.astype(np.float32)
    assert (correct(values, one.rows, "none").embeddings == values).all()


@given(
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.integers(2, 30),
    st.integers(1, 40),
    st.sampled_from(METHODS),
    st.sampled_from(["plain", "constant", "constant in controls", "far", "tiny", "collinear"]),
)
@settings(max_examples=100, deadline=None)
def test_any_screen_stays_finite(seed, n_batches, n_controls, size, method, kind):
    rng = np.random.default_rng(seed)
    n = n_controls + 12
    values = rng.normal(size=(n, size))
    controls = np.arange(n) < n_controls
    if kind == "constant":
        values[:, 0] = 3
    elif kind == "constant in controls":
        values[controls, 0] = 3
    elif kind == "far":
        values += 1e6
    elif kind == "tiny":
        values *= 1e-12
    elif kind == "collinear":
        values[:, -1] = values[:, 0]
    batches = rng.integers(0, n_batches, n).astype(str).astype(object)
    done = correct(values.astype(np.float32), Rows.of(batches, controls), method)
    assert np.isfinite(done.embeddings).all()
    assert done.embeddings.shape == values.shape
    # Nothing is blown up: what is like the controls stays in their range.
    typical = np.median(np.linalg.norm(done.embeddings[~controls], axis=1))
    reference = np.median(np.linalg.norm(done.embeddings[controls], axis=1))
    if kind != "constant in controls" and n_controls >= 8 and method != "center":
        assert typical < 20 * max(reference, 1e-6)


@pytest.mark.parametrize("method", ["standardise", "sphere", "tvn"])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
def test_features_that_few_controls_show_do_not_outweigh_the_others(method, share):
    one = screen(0, 120, offset=0.3, noise_rank=0)
    rng = np.random.default_rng(0)
    rare = rng.normal(size=(len(one.values), 8))
    rare[one.rows.controls[:, None] & (rng.random(rare.shape) > share)] = 0
    both = np.hstack([one.values, rare]).astype(np.float32)
    done = correct(both, one.rows, method)
    assert "8 of 72 features have one value in most controls" in " ".join(done.notes)
    assert one.retrieval(done.embeddings) > one.retrieval(both) + 0.05


def test_scaling_corrects_no_batch():
    one = screen(0, 120, offset=0.3)
    scaled = correct(one.values.astype(np.float32), one.rows, "scale").embeddings
    controls = one.rows.controls
    assert np.allclose(scaled[controls].mean(axis=0), 0, atol=1e-5)
    again = (one.values - one.values[controls].mean(axis=0)) / one.values[controls].std(axis=0)
    cosines = (scaled * again).sum(axis=1)
    cosines /= np.linalg.norm(scaled, axis=1) * np.linalg.norm(again, axis=1)
    assert cosines.min() > 0.999


def test_equal_variances_are_pooled_and_different_ones_kept():
    rng = np.random.default_rng(0)
    equal = rng.normal(size=(11, 500)).var(axis=0, ddof=1)
    assert moderated_features(equal, 10).std() < 0.2 * equal.std()
    scales = np.exp(3 * rng.normal(size=500))
    different = equal * scales
    assert np.corrcoef(np.log(moderated_features(different, 10)), np.log(different))[0, 1] > 0.99
    assert inverse_trigamma(1e-3) == pytest.approx(1000.5, rel=1e-3)


def test_labels_and_treated_rows_do_not_change_what_controls_teach():
    """Only `center` looks at treated rows; the others see controls alone."""
    one = screen(1, 64)
    changed = one.values.copy()
    changed[one.perturbations == 5] += 100
    others = one.perturbations != 5
    for method in ("standardise", "sphere", "tvn"):
        first, second = (
            correct(v.astype(np.float32), one.rows, method).embeddings
            for v in (one.values, changed)
        )
        np.testing.assert_allclose(first[others], second[others], atol=1e-4)

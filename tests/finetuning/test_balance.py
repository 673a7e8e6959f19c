"""Weights of rare classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.finetuning.balance import LARGEST_WEIGHT, class_weights, row_weights


def labels_of(counts):
    return np.eye(len(counts), dtype=bool)[np.repeat(np.arange(len(counts)), counts)]


def test_exclusive_classes_count_alike():
    labels = labels_of([6, 3, 1])
    weights = class_weights(labels, is_multi_label=False)
    np.testing.assert_allclose(weights * labels.sum(axis=0), [10 / 3] * 3)


def test_positives_and_negatives_of_each_class_count_alike():
    labels = np.array([[1, 1], [1, 0], [0, 0], [0, 0]], dtype=bool)
    np.testing.assert_allclose(class_weights(labels, is_multi_label=True), [1, 3])


def test_an_absent_class_weighs_one_and_none_drowns_the_others():
    labels = labels_of([400, 1, 0])
    assert class_weights(labels, is_multi_label=True).tolist() == [1 / LARGEST_WEIGHT, 20, 1]


def test_tiles_of_each_class_are_drawn_as_often():
    labels = labels_of([6, 3, 1])
    weights = row_weights(labels)
    np.testing.assert_allclose(labels.T @ weights, [10 / 3] * 3)


def test_unlabelled_tiles_are_drawn_as_often_as_one_class():
    labels = np.concatenate([labels_of([2, 2]), np.zeros((4, 2), dtype=bool)])
    weights = row_weights(labels)
    assert weights[4:].sum() == pytest.approx(weights[:2].sum())


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=20))
def test_row_weights_are_positive_with_mean_one(rows):
    weights = row_weights(np.array(rows, dtype=bool))
    assert (weights > 0).all()
    assert weights.mean() == pytest.approx(1)

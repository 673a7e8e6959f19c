"""Which rows a step sees depends on seed and step alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.training.order import BatchOrder


@given(
    n_rows=st.integers(4, 60),
    batch_size=st.integers(1, 20),
    world_size=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_processes_share_each_batch_and_an_epoch_shows_no_row_twice(
    n_rows, batch_size, world_size, seed
):
    alone = BatchOrder(n_rows, batch_size, seed)
    orders = [
        BatchOrder(n_rows, batch_size, seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    steps = orders[0].steps_an_epoch
    batches = [np.concatenate([order.rows(step) for order in orders]) for step in range(steps)]
    seen = np.concatenate(batches)
    assert len(set(seen.tolist())) == len(seen)
    assert n_rows - len(seen) < orders[0].batch_size
    if orders[0].batch_size == alone.batch_size:
        assert all(np.array_equal(alone.rows(s), batch) for s, batch in enumerate(batches))


def test_a_step_needs_no_earlier_step_and_epochs_differ():
    walked, jumped = BatchOrder(20, 6, seed=2), BatchOrder(20, 6, seed=2)
    rows = [walked.rows(step) for step in range(9)]
    assert np.array_equal(jumped.rows(7), rows[7])
    assert not np.array_equal(rows[0], rows[3])
    assert not np.array_equal(BatchOrder(20, 6, seed=3).rows(0), rows[0])


def test_weights_balance_what_is_drawn():
    weights = np.where(np.arange(1000) < 100, 9.0, 1.0)
    order = BatchOrder(1000, 100, seed=0, weights=weights)
    drawn = np.concatenate([order.rows(step) for step in range(100)])
    assert (drawn < 100).mean() == pytest.approx(0.5, abs=0.02)


def test_fewer_rows_than_processes_are_refused():
    with pytest.raises(ValueError, match="too few"):
        BatchOrder(1, 8, seed=0, world_size=2)


def test_whole_batches_show_few_rows_several_times_and_each_equally_often():
    order = BatchOrder(5, 8, 0, whole_batches=True)
    assert (order.batch_size, order.steps_an_epoch) == (8, 1)
    counts = np.bincount(np.concatenate([order.rows(step) for step in range(200)]), minlength=5)
    assert counts.sum() == 1600
    assert counts.max() - counts.min() <= 60
    assert len(set(order.rows(3)[:5])) == 5
    # Where there are enough rows, it changes nothing.
    usual, whole = BatchOrder(20, 8, 0), BatchOrder(20, 8, 0, whole_batches=True)
    assert all((usual.rows(s) == whole.rows(s)).all() for s in range(6))

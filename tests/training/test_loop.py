"""A training that is stopped anywhere and started again equals one that was not."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_task import SETTINGS, TinyTask, run

from transferscope.errors import UserError
from transferscope.stores.parquet import read_parquet

CLOCK = ["images_per_second", "data_wait"]


def without_clock(history):
    frame = history if isinstance(history, pd.DataFrame) else history.frame()
    return frame.drop(columns=CLOCK)


def as_program(folder, *arguments):
    program = [sys.executable, str(Path(__file__).with_name("tiny_task.py")), str(folder)]
    return subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return an uninterrupted training: its history and its weights."""
    task = TinyTask()
    history = run(task, tmp_path_factory.mktemp("whole"))
    return without_clock(history), task.network.state_dict()


def test_the_loss_falls_and_everything_is_logged(whole):
    history, _ = whole
    assert len(history) == 30
    assert history["loss"].tail(5).mean() < 0.8 * history["loss"].head(5).mean()
    assert list(history["epoch"][:6]) == [0, 0, 0, 1, 1, 1]
    assert history["images"].iloc[-1] == 240
    # What is measured once an epoch stands in its last row.
    assert history["norm"].notna().tolist() == [False, False, True] * 10


def test_learning_rate_is_scheduled_and_scaled_by_group(tmp_path, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step

    def noted(self, *arguments, **keywords):
        rates.append([(g["lr"], g["weight_decay"]) for g in self.param_groups])
        return step(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    history = run(TinyTask(), tmp_path)
    # Linear over 6 steps, then half a cosine over 24.
    wanted = [SETTINGS.learning_rate * (s + 1) / 6 for s in range(6)]
    low, high = SETTINGS.final_learning_rate, SETTINGS.learning_rate
    wanted += [low + (high - low) * (1 + math.cos(math.pi * s / 23)) / 2 for s in range(24)]
    assert [first[0] for first, _ in rates] == pytest.approx(wanted)
    assert [second[0] for _, second in rates] == pytest.approx(np.array(wanted) / 2)
    assert rates[0][0][1] == pytest.approx(SETTINGS.weight_decay)
    assert rates[-1][0][1] == pytest.approx(SETTINGS.final_weight_decay)
    assert {second[1] for _, second in rates} == {0.0}
    assert history.frame()["learning_rate"].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("at", np.random.default_rng(5).choice(29, 4, replace=False).tolist())
def test_terminated_anywhere_and_gone_on_with_equals_the_whole(whole, tmp_path, at):
    with pytest.raises(UserError, match=rf"asked to end after step {at + 1} of 30"):
        run(TinyTask(terminate_at=at), tmp_path, checkpoint_minutes=1000)
    task = TinyTask()
    history = run(task, tmp_path, checkpoint_minutes=1000)
    assert task.steps[0] == at + 1
    check_equal(whole, history, task)
    # The clock is in a table of its own.
    stored = read_parquet(tmp_path / "tiny.history.parquet")
    pd.testing.assert_frame_equal(stored, whole[0], check_like=True)
    assert set(CLOCK) <= set(read_parquet(tmp_path / "tiny.history.timing.parquet"))


def check_equal(whole, history, task):
    pd.testing.assert_frame_equal(without_clock(history), whole[0], check_exact=True)
    for name, weight in task.network.state_dict().items():
        assert torch.equal(weight, whole[1][name]), name


@pytest.mark.parametrize("at", np.random.default_rng(6).choice(30, 2, replace=False).tolist())
def test_killed_anywhere_and_gone_on_with_equals_the_whole(whole, tmp_path, at):
    killed = as_program(tmp_path, "--kill-at", str(at))
    assert killed.returncode == -9
    task = TinyTask()
    history = run(task, tmp_path)
    # Each step was saved: only the one that was killed is done again.
    assert task.steps[0] == at
    check_equal(whole, history, task)


def test_a_finished_training_does_nothing_when_it_is_run_again(whole, tmp_path):
    run(TinyTask(), tmp_path)
    again = TinyTask()
    check_equal(whole, run(again, tmp_path), again)
    assert again.steps == []


def test_a_checkpoint_of_another_training_is_not_used(whole, tmp_path, caplog):
    with pytest.raises(UserError):
        run(TinyTask(terminate_at=10), tmp_path, fingerprint="e" * 64)
    task = TinyTask()
    check_equal(whole, run(task, tmp_path), task)
    assert task.steps[0] == 0
    assert "starting over" in caplog.text


def test_a_damaged_checkpoint_is_not_used(whole, tmp_path, caplog):
    with pytest.raises(UserError):
        run(TinyTask(terminate_at=10), tmp_path)
    path = tmp_path / "tiny.checkpoint.pt"
    path.write_bytes(path.read_bytes()[:1000])
    task = TinyTask()
    check_equal(whole, run(task, tmp_path), task)
    assert "cannot be read" in caplog.text


def test_checkpoints_are_written_by_the_clock(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "transferscope.training.checkpoint.save",
        lambda path, fingerprint, progress, *_: saved.append(progress.done),
    )
    clock = iter(np.arange(0, 10_000, 7.0))
    monkeypatch.setattr("transferscope.training.loop.time.monotonic", lambda: next(clock))
    run(TinyTask(), tmp_path, checkpoint_minutes=1.0)
    # The clock is read at least once a step, and goes on by 7 s each time.
    gaps = np.diff(saved)
    assert saved[-1] == 30
    assert gaps.min() >= 2
    assert gaps.max() <= 9


def test_an_early_end_is_an_end(tmp_path):
    task = TinyTask()
    task.enough_at = 4
    history = run(task, tmp_path).frame()
    assert len(history) == 15
    assert history["norm"].iloc[-1] == 0.5
    again = TinyTask()
    assert len(run(again, tmp_path).frame()) == 15
    assert again.steps == []


def test_a_stop_names_its_reason_and_keeps_the_last_checkpoint(tmp_path):
    task = TinyTask()
    task.collapse_at = 4
    with pytest.raises(UserError, match="all embeddings are alike") as error:
        run(task, tmp_path)
    kept = tmp_path / "tiny.checkpoint.pt"
    assert str(kept) in str(error.value)
    # Saved after each step but the last one of the epoch that failed.
    assert torch.load(kept, weights_only=True)["done"] == 14


def test_a_loss_that_is_not_finite_stops_before_it_is_saved(tmp_path):
    task = TinyTask()
    good = task.loss

    def loss(step, generator):
        value, parts = good(step, generator)
        return (value * float("nan"), parts) if step == 7 else (value, parts)

    task.loss = loss
    with pytest.raises(UserError, match="not finite at step 7"):
        run(task, tmp_path)
    assert torch.load(tmp_path / "tiny.checkpoint.pt", weights_only=True)["done"] == 7


def test_two_processes_train_as_one_does(tmp_path):
    alone = TinyTask(noisy=False)
    history = run(alone, tmp_path / "one").frame()
    done = as_program(tmp_path / "two", "--processes", "2")
    assert done.returncode == 0, done.stderr
    state = torch.load(tmp_path / "two/tiny.checkpoint.pt", weights_only=True)
    for name, weight in alone.network.state_dict().items():
        torch.testing.assert_close(state["modules"]["network"][name], weight)
    both = read_parquet(tmp_path / "two/tiny.history.parquet")
    np.testing.assert_allclose(both["loss"], history["loss"], rtol=1e-5)

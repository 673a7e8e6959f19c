"""Fine-tuning with a frozen backbone equals the head; a job that was stopped goes on."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_job import COMPUTE, FAST, HEADS, write_job

from transferscope.config.probes import FinetuneSettings
from transferscope.errors import UserError
from transferscope.finetuning import run as run_module
from transferscope.finetuning.layers import prepare
from transferscope.finetuning.network import Classifier, TunedNetwork, open_backbone
from transferscope.finetuning.task import FinetuneTask, LabelledRows
from transferscope.probes.heads import fit_on, run_heads
from transferscope.stores.tile_store import TileStore
from transferscope.training.fabric import training_fabric
from transferscope.training.loop import TrainingPlan, train
from transferscope.training.schedules import learning_rate
from transferscope.training.tiles import TrainingTiles

KEYS = ["fold", "fraction", "row"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return write_job(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="module")
def data(job):
    return job.data()


@pytest.fixture(scope="module")
def frozen(data):
    """Predictions of the linear head on the frozen backbone."""
    found = run_heads(data, HEADS).predictions()
    return found[found["head"] == "linear"]


def predictions(folder):
    return pd.read_parquet(folder / "predictions.parquet")


def assert_same_scores(found, expected):
    columns = [c for c in expected if c.startswith(("score_", "true_"))]
    found, expected = (t.sort_values(KEYS, ignore_index=True) for t in (found, expected))
    pd.testing.assert_frame_equal(found[KEYS], expected[KEYS])
    np.testing.assert_allclose(
        found[columns].astype(float), expected[columns].astype(float), atol=2e-3
    )


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("head", {}),
        ("full", {"learning_rate": 0}),
        ("lora", {"learning_rate": 0, "ema": 0}),
        ("last-1", {"learning_rate": 0, "balance": "sampling"}),
    ],
)
def test_with_nothing_trained_it_equals_the_frozen_head(job, data, frozen, mode, settings):
    out = job.run(data, mode, f"{mode}-frozen", **settings)
    found = predictions(out)
    assert set(found["head"]) == {f"finetune-{mode}"}
    assert_same_scores(found, frozen)
    # Thresholds and decisions come from the same code, so that nearly all predictions agree.
    expected = frozen.sort_values(KEYS, ignore_index=True)
    same = found.sort_values(KEYS, ignore_index=True).filter(like="predicted_")
    assert (same == expected.filter(like="predicted_")).to_numpy().mean() > 0.98


def opened(job, channels, mode="full", precision="fp32"):
    store = TileStore(job.folder / "tiles.json")
    backbone, source = open_backbone(
        store,
        job.card,
        job.card_path,
        channels,
        "mean",
        precision,
        None,
        torch.device("cpu"),
    )
    prepare(backbone.network, mode, rank=2, alpha=4.0, seed=0)
    return backbone, source


@pytest.mark.parametrize("channels", ["map", "map-random-0", "replicate", "mean", "only-protein"])
def test_tiles_are_shown_as_the_embedding_step_shows_them(job, channels):
    data = job.data(channels)
    backbone, source = opened(job, channels)
    head = fit_on("linear", data, HEADS)[0]
    network = TunedNetwork(backbone, Classifier(head), source)
    raw = TrainingTiles.open(job.folder / "tiles.json").batch(np.arange(36))
    with torch.inference_mode():
        found = network.embeddings(source.evaluated(raw)).numpy()
    # The store holds float16, and images are computed in other batches there.
    np.testing.assert_allclose(found, data.embeddings, rtol=1e-3, atol=1e-3)


def transcribed(task, embeddings, head, settings, n_steps):
    """Train the linear head on embeddings by AdamW (Loshchilov and Hutter, ICLR 2019)."""
    mean, deviation = head.scalers.mean[0].double(), head.scalers.deviation[0].double()
    x = (torch.from_numpy(embeddings).double() - mean) / deviation
    y = torch.from_numpy(task.data.labels).double()
    values = [head.weights[0][0].double(), head.biases[0][0, 0].double()]
    moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v in values]
    for step in range(n_steps):
        rows = task.division.train[task.order.rows(step)]
        w, b = values
        chance = torch.softmax(x[rows] @ w + b, dim=1)
        error = (chance - y[rows]) / len(rows)
        rate = learning_rate(task.optimiser, step, n_steps)
        new = []
        for value, gradient, (first, second), decay in zip(
            values, [x[rows].T @ error, error.sum(dim=0)], moments, [0.05, 0.0], strict=True
        ):
            first.mul_(0.9).add_(0.1 * gradient)
            second.mul_(0.999).add_(0.001 * gradient**2)
            unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            value = value * (1 - rate * decay)
            new.append(value - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8))
        values = new
    return values


def test_with_a_frozen_backbone_the_head_is_trained_as_on_embeddings(job, data, tmp_path):
    settings = FinetuneSettings(
        **{**FAST, "backbone_rate": 0, "learning_rate": 0.01, "clip": None, "ema": 0}
    )
    division = data.divisions[-1]
    backbone, source = opened(job, "map")
    head = fit_on("linear", data, HEADS)[-1]
    used = np.arange(36)
    rows = LabelledRows(
        TrainingTiles.open(job.folder / "tiles.json", used), data.tiles.matrix, False
    )
    before = {n: w.clone() for n, w in backbone.named_parameters()}
    task = FinetuneTask(
        TunedNetwork(backbone, Classifier(head), source), rows, division, settings, 3
    )
    with torch.inference_mode():
        embeddings = task.network.embeddings(source.evaluated(rows.batch(used))).numpy()
    steps = task.order.steps_an_epoch
    plan = TrainingPlan("test", 3 * steps, steps, 8, 3, "f" * 64, tmp_path / "c.pt")
    train(task, task.optimiser, plan, training_fabric(COMPUTE))
    task.close()
    weight, bias = transcribed(task, embeddings, head, settings, 3 * steps)
    assert (weight - head.weights[0][0]).abs().max() > 0.01
    found = task.network.classifier
    np.testing.assert_allclose(found.weight.detach(), weight, atol=1e-4)
    np.testing.assert_allclose(found.bias.detach(), bias, atol=1e-4)
    for name, value in backbone.named_parameters():
        assert torch.equal(value, before[name]), name


def test_training_changes_the_scores_and_repeats_exactly(job, data, frozen):
    settings = {"augment": True, "learning_rate": 0.01, "patience": 9}
    once = predictions(job.run(data, "full", "once", **settings))
    again = predictions(job.run(data, "full", "again", **settings))
    pd.testing.assert_frame_equal(once, again)
    scores = [c for c in once if c.startswith("score_")]
    expected = frozen.sort_values(KEYS, ignore_index=True)[scores]
    assert (once.sort_values(KEYS, ignore_index=True)[scores] - expected).abs().max().max() > 0.01
    losses = pd.read_parquet(job.folder / "once" / "losses.parquet")
    ends = losses.dropna(subset=["validation_loss"])
    assert ends.groupby(["fold", "fraction"]).size().eq(FAST["epochs"]).all()


class Killed(Exception):  # noqa: N818  not an error of the program
    """Stands in for a signal that ends the process."""


def test_what_is_finished_and_what_is_running_survive_a_kill(job, data, monkeypatch):
    settings = {"learning_rate": 0.01, "epochs": 4, "checkpoint_minutes": 1e-9}
    whole = predictions(job.run(data, "full", "whole", **settings))
    steps, after_step = [], FinetuneTask.after_step

    def die(task, step):
        steps.append(step)
        if len(steps) == 40:
            raise Killed
        after_step(task, step)

    monkeypatch.setattr(FinetuneTask, "after_step", die)
    with pytest.raises(Killed):
        job.run(data, "full", "killed", **settings)
    out = job.folder / "killed"
    finished = list((out / "scores.parts").glob("*.npz"))
    assert 0 < len(finished) < len(data.divisions)
    assert list((out / "scores.parts").glob("*.pt"))
    assert not (out / "scores.parquet").exists()
    before = {path: path.stat().st_mtime_ns for path in finished}
    kept = shutil.copytree(out, out.with_name("kept"))
    job.run(data, "full", "killed", **settings)
    # The step that was cut off is repeated, none that was saved is.
    total = sum(pd.read_parquet(job.folder / "whole" / "losses.parquet").groupby("fold").size())
    assert len(steps) == total + 1
    assert not (out / "scores.parts").exists()
    pd.testing.assert_frame_equal(predictions(out), whole)
    assert all(path.stat().st_mtime_ns >= at for path, at in before.items() if path.exists())
    other = job.run(data, "full", kept.name, **{**settings, "learning_rate": 0.02})
    assert not predictions(other).equals(whole), "parts of other settings were used"


def test_a_job_that_was_killed_while_writing_trains_nothing_again(job, data, monkeypatch):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "write_parquet", die)
        with pytest.raises(Killed):
            job.run(data, "full", "unwritten", epochs=1)
    monkeypatch.setattr(run_module, "train", die)
    out = job.run(data, "full", "unwritten", epochs=1)
    assert len(predictions(out)) == sum(len(d.test) for d in data.divisions)


def test_a_division_without_validation_rows_keeps_the_last_weights(job, data):
    whole = [d.__class__(**{**vars(d), "validation": d.validation[:0]}) for d in data.divisions]
    without = data.__class__(**{**vars(data), "divisions": whole[-1:]})
    out = job.run(without, "full", "without", learning_rate=0.01, epochs=2)
    losses = pd.read_parquet(out / "losses.parquet")
    assert losses["epoch"].max() == 1


def test_tiles_that_are_not_those_of_the_embeddings_are_refused(job, data):
    tiles = data.tiles.__class__(**{**vars(data.tiles), "tile_ids": data.tiles.tile_ids[::-1]})
    other = data.__class__(**{**vars(data), "tiles": tiles})
    with pytest.raises(UserError, match="other tiles than the embeddings"):
        job.run(other, "full", "other")


def test_only_the_schemes_asked_for_are_run(job, data):
    with pytest.raises(UserError, match="no division"):
        job.run(data, "full", "none", schemes=["image"])


def test_settings_that_change_no_score_are_known(job):
    assert set(FinetuneSettings.model_fields) > run_module.RERUNS_NOTHING

"""Weights that a training keeps on its way: the same however it was stopped, each a backbone."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_pretrain_run import SLOTS, settings_of

from factories import TRAINED, run_command
from transferscope.backbones.trained import (
    TrainedManifest,
    kept_weights_of,
    trained_card,
    weights_of,
)
from transferscope.cards import BackboneCard
from transferscope.cards.lookup import Located, cell_of
from transferscope.config.model import validate
from transferscope.errors import UserError
from transferscope.pretraining.run import pretrain
from transferscope.pretraining.snapshots import take_snapshot
from transferscope.pretraining.task import PretrainingTask

KEPT, STEPS = [2, 5], 7
OBJECTIVE = {"method": "mae", "decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2}


def cell(folder, name="grid_at7_seed0"):
    grid = {"at_steps": KEPT}
    value = {**TRAINED, "objective": OBJECTIVE, "slots": SLOTS, "steps": STEPS, "grid": grid}
    whole = validate({**value, "name": "grid"}, BackboneCard, "grid.yaml")
    return cell_of(Located(whole, folder / "grid.yaml"), name).card


def train(folder, settings):
    manifest = folder / "grid_at7_seed0.json"
    pretrain(cell(folder), folder / "grid.yaml", settings, manifest)
    return manifest


def same(one, other):
    return all(torch.equal(other[name], weight) for name, weight in one.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the manifest of a training that was not stopped, its settings, and what it passed."""
    folder, passed = tmp_path_factory.mktemp("whole"), {}
    settings = settings_of(folder, cell="grid_at7_seed0", kept_steps=KEPT)
    original = PretrainingTask.after_step

    def after_step(self, step):
        original(self, step)
        state = self.method.encoder.state_dict()
        passed[step + 1] = {name: value.detach().clone() for name, value in state.items()}

    patch = pytest.MonkeyPatch()
    patch.setattr(PretrainingTask, "after_step", after_step)
    manifest = train(folder, settings)
    patch.undo()
    return manifest, settings, passed


def test_what_is_kept_is_what_the_training_passed(whole):
    manifest, _, passed = whole
    for step in KEPT:
        assert same(passed[step], load_file(kept_weights_of(manifest, step)))
    assert same(passed[STEPS], load_file(weights_of(manifest)))
    assert not same(passed[KEPT[0]], passed[KEPT[1]])


@pytest.mark.parametrize("stops", [[0], [1], [2], [4], [5], [1, 3, 4, 6]])
def test_stopped_anywhere_and_gone_on_with_keeps_the_same(whole, tmp_path, monkeypatch, stops):
    manifest, settings, _ = whole
    original = PretrainingTask.loss
    for stop in stops:

        def loss(self, step, generator, stop=stop):
            if step == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(self, step, generator)

        monkeypatch.setattr(PretrainingTask, "loss", loss)
        if stop + 1 == STEPS:
            train(tmp_path, settings)
        else:
            with pytest.raises(UserError, match="asked to end"):
                train(tmp_path, settings)
        monkeypatch.undo()
    again = train(tmp_path, settings)
    for step in KEPT:
        one, other = (kept_weights_of(path, step).read_bytes() for path in (manifest, again))
        assert one == other
    assert weights_of(manifest).read_bytes() == weights_of(again).read_bytes()


def test_a_step_that_is_wanted_later_is_not_missed(whole, tmp_path, monkeypatch):
    """A checkpoint that is past it, or a finished training, cannot give its weights."""
    manifest, settings, _ = whole
    fewer = settings.model_copy(update={"kept_steps": [5]})
    first = train(tmp_path, fewer)
    assert not kept_weights_of(first, 2).exists()
    train(tmp_path, settings)
    assert kept_weights_of(first, 2).read_bytes() == kept_weights_of(manifest, 2).read_bytes()
    # Fewer are wanted again: nothing is left to do.
    monkeypatch.setattr("transferscope.pretraining.run.train", None)
    train(tmp_path, fewer)


def test_each_is_a_backbone_with_a_manifest_of_its_own(whole, tmp_path):
    training, _, passed = whole
    end = TrainedManifest.read(training)
    name = "grid_at2_seed0"
    manifest = tmp_path / f"{name}.json"
    words = ["transferscope", "snapshot", "--training", str(training), "--cell", name]
    run_command([*words, "--steps", "2", "--manifest", str(manifest)], tmp_path)
    found = TrainedManifest.read(manifest)
    assert (found.backbone, found.steps, found.images) == (name, 2, 2 * 8)
    assert found.operations == pytest.approx(end.operations * 2 / STEPS)
    assert (found.parameters, found.datasets) == (end.parameters, end.datasets)
    loaded, path = trained_card(cell(tmp_path, name), manifest)
    assert same(passed[2], load_file(path.parent / loaded.weights))


def test_weights_of_another_training_are_refused(whole, tmp_path):
    training, _, _ = whole
    other = tmp_path / "grid_at7_seed0.json"
    replace(TrainedManifest.read(training), fingerprint="another").write(other)
    kept = kept_weights_of(other, 2)
    for missing in (True, False):
        if not missing:
            kept.write_bytes(kept_weights_of(training, 2).read_bytes())
        with pytest.raises(UserError, match="not of the training") as caught:
            take_snapshot(other, "grid_at2_seed0", 2, tmp_path / "grid_at2_seed0.json")
        assert "Train it again" in str(caught.value)
        assert not (tmp_path / "grid_at2_seed0.json").exists()

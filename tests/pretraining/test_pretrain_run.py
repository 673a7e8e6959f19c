"""From card and tiles to weights that embed, resumed and repeated."""

import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_pretraining_data import write_source

from factories import TRAINED, run_command, write_yaml
from transferscope.backbones.embed import embed
from transferscope.backbones.trained import TrainedManifest, history_of, trained_card, weights_of
from transferscope.cards import BackboneCard
from transferscope.cards.lookup import Located, cell_of
from transferscope.config.compute import ComputeSettings, TrainingSettings
from transferscope.config.jobs import Pretraining
from transferscope.config.model import validate
from transferscope.errors import UserError
from transferscope.pretraining.operations import operations_per_image
from transferscope.pretraining.run import pretrain
from transferscope.pretraining.task import PretrainingTask
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.parquet import read_parquet

COMPUTE = ComputeSettings(device="cpu", precision="fp32", threads=1)
SLOTS = [{"name": "nucleus"}, {"name": "protein"}]


def card(tmp_path, **changes):
    value = {**TRAINED, "name": "own", "slots": SLOTS, **changes}
    return validate(value, BackboneCard, "own.yaml"), tmp_path / "own.yaml"


def settings_of(folder, n_tiles=24, **changes):
    source = write_source(folder, "cells", n_tiles)
    training = TrainingSettings(knn_tiles=12)
    return Pretraining(sources=[source], compute=COMPUTE, training=training, **changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the manifest of a finished training, its card and its settings."""
    folder = tmp_path_factory.mktemp("trained")
    own, path = card(folder)
    settings = settings_of(folder)
    pretrain(own, path, settings, folder / "own.json")
    return folder / "own.json", own, path, settings


def test_the_product_is_described_and_embeds_as_any_weights(trained, tmp_path):
    manifest, own, _, settings = trained
    found = TrainedManifest.read(manifest)
    assert (found.method, found.epochs, found.steps, found.images) == ("dino", 2, 6, 48)
    assert found.datasets["cells"]["n_tiles"] == 24
    assert not list(manifest.parent.glob("*checkpoint*"))
    loaded, loaded_path = trained_card(own, manifest)
    store = tmp_path / "map.json"
    embed(settings.sources[0].tiles, loaded, "map", store, COMPUTE, card_path=loaded_path)
    values = EmbeddingStore(store).read()
    assert values.shape == (24, 48)
    assert np.ptp(values, axis=0).max() > 0
    history = read_parquet(history_of(manifest))
    assert len(history) == 6
    measured = history[["knn_accuracy", "embedding_spread", "teacher_entropy"]]
    assert measured.iloc[-1].notna().all()


def test_a_training_that_is_done_is_not_done_again(trained, monkeypatch, caplog):
    manifest, own, path, settings = trained
    before = manifest.read_bytes()
    manifest.unlink()
    monkeypatch.setattr("transferscope.pretraining.run.train", None)
    pretrain(own, path, settings, manifest)
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("objective", [{"method": "mae", "decoder_width": 32}, {"method": "weak"}])
def test_other_methods_train_too_and_differ_from_random(tmp_path, objective):
    if "decoder_width" in objective:
        objective |= {"decoder_depth": 1, "decoder_heads": 2}
    own, path = card(tmp_path, objective=objective, epochs=1)
    pretrain(own, path, settings_of(tmp_path, 12), tmp_path / "own.json")
    history = read_parquet(history_of(tmp_path / "own.json"))
    assert np.isfinite(history["loss"]).all()


def test_stopped_and_gone_on_with_gives_the_same_weights(trained, tmp_path, monkeypatch):
    manifest, own, path, settings = trained
    original = PretrainingTask.loss

    def loss(self, step, generator):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, generator)

    monkeypatch.setattr(PretrainingTask, "loss", loss)
    with pytest.raises(UserError, match="after step 3 of 6"):
        pretrain(own, path, settings, tmp_path / "own.json")
    monkeypatch.undo()
    pretrain(own, path, settings, tmp_path / "own.json")
    whole, resumed = (load_file(weights_of(p)) for p in (manifest, tmp_path / "own.json"))
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())
    one, other = (read_parquet(history_of(p)) for p in (manifest, tmp_path / "own.json"))
    assert one.equals(other[one.columns])
    assert not {"images_per_second", "data_wait"} & set(one)


def test_weights_that_were_changed_are_refused(trained, tmp_path):
    manifest, own, _, _ = trained
    copy = tmp_path / "own.json"
    copy.write_bytes(manifest.read_bytes())
    with pytest.raises(UserError, match="missing, or is not what"):
        trained_card(own, copy)
    weights_of(copy).write_bytes(weights_of(manifest).read_bytes()[:-4] + b"abcd")
    with pytest.raises(UserError, match="is not what its manifest"):
        trained_card(own, copy)


def test_a_card_that_is_not_trained_is_refused(tmp_path):
    plain = {k: v for k, v in TRAINED.items() if k in ("architecture", "slots", "arguments")}
    timm_card = validate(
        {**plain, "source": "timm", "pretrained": False, "name": "t"}, BackboneCard, "t.yaml"
    )
    with pytest.raises(UserError, match="is not trained here"):
        pretrain(timm_card, tmp_path / "t.yaml", settings_of(tmp_path), tmp_path / "t.json")


def test_a_collapse_stops_the_job_with_its_reason_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    # No embeddings differ by so much: every measurement looks like a collapse.
    monkeypatch.setattr("transferscope.pretraining.monitor.LEAST_SPREAD", 2.0)
    own, path = card(tmp_path, epochs=6)
    training = TrainingSettings(knn_tiles=12, checkpoint_minutes=0)
    settings = settings_of(tmp_path).model_copy(update={"training": training})
    with pytest.raises(UserError, match="embeddings of different tiles are alike"):
        pretrain(own, path, settings, tmp_path / "own.json")
    # The first fifth is not watched, and three measurements have to agree.
    state = torch.load(tmp_path / "own.checkpoint.pt", weights_only=True)
    assert state["done"] == 4 * 3 - 1
    assert not (tmp_path / "own.json").exists()


def test_a_fraction_is_trained_for_as_many_steps_on_whole_groups(tmp_path):
    """Eight groups of three tiles: a fraction of them fills batches of the same size."""
    settings, found = settings_of(tmp_path), {}
    for fraction in (0.25, 1.0):
        own, path = card(tmp_path, steps=5, data_fraction=fraction)
        manifest = tmp_path / f"{fraction}.json"
        pretrain(own, path, settings, manifest)
        found[fraction] = TrainedManifest.read(manifest)
        assert len(read_parquet(history_of(manifest))) == 5
    assert [each.images for each in found.values()] == [40, 40]
    seen = [each.datasets["cells"] for each in found.values()]
    assert [(each["n_tiles"], each["n_groups"]) for each in seen] == [(6, 2), (24, 8)]
    assert [each.epochs for each in found.values()] == [7, 2]


def test_a_cell_of_a_grid_is_trained_by_its_name(tmp_path):
    grid = {"width": [48, 96]}
    path = tmp_path / "grid.yaml"
    own = {**TRAINED, "name": "grid", "slots": SLOTS, "steps": 2, "grid": grid}
    write_yaml(path, own)
    settings = settings_of(tmp_path, cell="grid_width96_seed0")
    manifest = tmp_path / "cell.json"
    words = ["transferscope", "pretrain", "--backbone", str(path), "--manifest", str(manifest)]
    run_command([*words, "--settings", settings.model_dump_json()], tmp_path)
    found = TrainedManifest.read(manifest)
    assert found.backbone == "grid_width96_seed0"
    assert found.parameters == sum(w.numel() for w in load_file(weights_of(manifest)).values())
    cell = cell_of(Located(validate(own, BackboneCard, "grid.yaml"), path), found.backbone).card
    assert found.operations == found.images * operations_per_image(cell)
    assert load_file(weights_of(manifest))["cls_token"].shape[-1] == 96

"""Batches of several datasets, and what is never read."""

import numpy as np
import pandas as pd
import pytest
import torch

from training_store import write_tile_store
from transferscope.config.compute import TrainingSettings
from transferscope.config.jobs import (
    EvaluatedDataset,
    HeldOutDivision,
    Pretraining,
    TrainingSource,
)
from transferscope.errors import UserError
from transferscope.pretraining.data import Batches, TrainingDataset, training_datasets
from transferscope.stores.parquet import write_parquet
from transferscope.stores.tile_store import TileStore


def write_source(folder, name, n_tiles, channels=("nucleus", "protein"), tested=()):
    """Write tiles, their table and, if some are tested, a split table."""
    manifest = write_tile_store(folder / f"{name}.json", n_tiles, channels=channels)
    groups = [f"g{row // 3}" for row in range(n_tiles)]
    ids = [f"t{row:02d}" for row in range(n_tiles)]
    table = pd.DataFrame({"tile_id": ids, "group": groups, "labels": "golgi", "fov": ids})
    write_parquet(table, folder / f"{name}.tiles.parquet", {})
    splits = None
    if tested:
        splits = folder / f"{name}.splits.parquet"
        roles = ["test" if row in tested else "train" for row in range(n_tiles)]
        divided = pd.DataFrame({"scheme": "group", "seed": 0, "fold": 0, "row": range(n_tiles)})
        divided = divided.assign(role=roles, share=0.0)
        write_parquet(divided, splits, {"classes": ["golgi"], "task": "multi-label"})
    table_path = folder / f"{name}.tiles.parquet"
    return TrainingSource(dataset=name, tiles=manifest, table=table_path, splits=splits)


def settings_of(sources, **changes):
    held_out = HeldOutDivision(scheme="group", seed=0, fold=0)
    return Pretraining(sources=sources, held_out=held_out, **changes)


def datasets_of(settings):
    return training_datasets(settings)


def batches_of(datasets, rank=0, world_size=1):
    return Batches(datasets, 4, 0, rank=rank, world_size=world_size, device=torch.device("cpu"))


def test_held_out_tiles_are_never_read(tmp_path, monkeypatch):
    read = set()
    original = TileStore.read

    def noted(self, start, stop):
        read.update(range(start, stop))
        return original(self, start, stop)

    monkeypatch.setattr(TileStore, "read", noted)
    # Tile 4 is tested: all of its group, 3 to 5, stays out.
    [dataset] = datasets_of(settings_of([write_source(tmp_path, "cells", 12, tested={4})]))
    batches = batches_of([dataset])
    for step in range(20):
        batches(step)
    batches.reader.close()
    assert read == set(range(12)) - {3, 4, 5}
    assert "g1" not in dataset.groups
    assert dataset.seen()["n_groups"] == 3
    assert dataset.seen()["n_groups_left_out"] == 1


def test_what_one_dataset_tests_is_left_out_of_all(tmp_path):
    evaluated = write_source(tmp_path, "evaluated", 9, tested={0})
    sources = [
        write_source(tmp_path, "cells", 12, tested={4}),
        write_source(tmp_path, "unlabelled", 15),
        write_source(tmp_path, "other", 12, tested={11}),
    ]
    also = [EvaluatedDataset(table=evaluated.table, splits=evaluated.splits)]
    settings = settings_of(sources, also_evaluated=also)
    cells, unlabelled, other = datasets_of(settings)
    # Tested: g0 of one that is not trained on, g1 of cells, g3 of other.
    assert set(cells.groups) == set(other.groups) == {"g2"}
    assert set(unlabelled.groups) == {"g2", "g4"}
    assert [each.seen()["n_groups_left_out"] for each in (cells, unlabelled, other)] == [3, 3, 3]
    [everything, *_] = datasets_of(settings.model_copy(update={"held_out": None}))
    assert "n_groups_left_out" not in everything.seen()


def test_an_epoch_shows_each_tile_of_each_dataset_once_in_batches_of_one(tmp_path):
    sources = [
        write_source(tmp_path, "two", 12),
        write_source(tmp_path, "three", 8, channels=("er", "nucleus", "protein")),
    ]
    datasets = datasets_of(settings_of(sources))
    batches = batches_of(datasets)
    assert batches.steps_an_epoch == 5
    for epoch in range(3):
        places = [batches.place(step) for step in range(5 * epoch, 5 * epoch + 5)]
        seen = {0: [], 1: []}
        for chosen, rows in places:
            seen[chosen] += rows.tolist()
        assert sorted(seen[0]) == list(range(12))
        assert sorted(seen[1]) == list(range(8))
    for step in range(5):
        batch = batches(step)
        chosen, rows = batches.place(step)
        assert batch.images.shape[1] == len(batch.channels)
        assert batch.channels == tuple(datasets[chosen].tiles.channels)
        whole = TileStore(sources[chosen].tiles).array[:][rows] / 4000
        np.testing.assert_allclose(batch.images.numpy(), whole, rtol=1e-5)
        # Both datasets have g0, g1, ...: the same groups.
        assert batch.groups.tolist() == [row // 3 for row in rows]
    batches.reader.close()


def test_processes_share_each_batch(tmp_path):
    datasets = datasets_of(settings_of([write_source(tmp_path, "cells", 12)]))
    whole = batches_of(datasets).place(1)[1]
    parts = [batches_of(datasets, rank, 2).place(1)[1] for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_table_of_other_tiles_is_refused(tmp_path):
    source = write_source(tmp_path, "cells", 12)
    other = write_source(tmp_path / "other", "cells", 9)
    with pytest.raises(UserError, match="holds other tiles"):
        TrainingDataset.read(source.model_copy(update={"table": other.table}), ())


def test_nothing_to_train_on_is_an_error(tmp_path):
    source = write_source(tmp_path, "cells", 3, tested={0})
    settings = settings_of([source], training=TrainingSettings())
    with pytest.raises(UserError, match="0 tiles are left"):
        datasets_of(settings)

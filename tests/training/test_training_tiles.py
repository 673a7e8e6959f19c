"""Training reads the tiles that it may see, and no other."""

import numpy as np
import pytest
import torch

from training_store import write_tile_store
from transferscope.stores.tile_store import TileStore
from transferscope.training.reading import BatchReader
from transferscope.training.tiles import TrainingTiles, scaled

ROWS = np.array([9, 3, 4, 5, 0, 7])


@pytest.fixture
def manifest(tmp_path):
    return write_tile_store(tmp_path / "cells.json", n_tiles=12)


@pytest.fixture
def read_rows(monkeypatch):
    """Return the rows that were read from a store."""
    rows = []
    original = TileStore.read

    def read(self, start, stop):
        rows.extend(range(start, stop))
        return original(self, start, stop)

    monkeypatch.setattr(TileStore, "read", read)
    return rows


@pytest.mark.parametrize("budget", [None, 0])
def test_batches_are_the_chosen_rows_and_no_other_row_is_read(manifest, read_rows, budget):
    tiles = TrainingTiles.open(manifest, ROWS, memory_budget=budget)
    assert len(tiles) == 6
    assert tiles.tile_id[0] == "t09"
    batch = tiles.batch(np.array([5, 0, 2]))
    assert batch.dtype == torch.uint16
    assert set(read_rows) <= set(ROWS.tolist())
    whole = TileStore(manifest).array[:]
    np.testing.assert_array_equal(batch.numpy(), whole[[7, 9, 4]])
    if budget is None:
        assert sorted(read_rows) == sorted(ROWS)


def test_all_rows_are_the_default(manifest):
    tiles = TrainingTiles.open(manifest)
    assert tiles.shape == (12, 2, 16, 16)
    assert tiles.channels == ["nucleus", "protein"]


def test_scaled_maps_the_intensity_range_to_0_and_1():
    raw = np.array([[[[100, 600]], [[0, 4000]]]], dtype=np.uint16)
    limits = np.array([[100, 1100], [1000, 3000]], dtype=np.float32)
    found = scaled(torch.from_numpy(raw), limits)
    np.testing.assert_allclose(found.numpy(), [[[[0, 0.5]], [[0, 1]]]])


def test_the_next_batch_is_read_ahead():
    read = []

    def batch(step):
        read.append(step)
        return torch.tensor(step)

    reader = BatchReader(batch)
    found = [int(reader(step)) for step in (4, 5, 6)]
    reader.close()
    assert found == [4, 5, 6]
    # Each was read once, and the next one maybe, too.
    assert read[:3] == [4, 5, 6]
    assert read[3:] in ([], [7])
    assert reader.waited > 0

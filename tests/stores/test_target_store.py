import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from target_stores import write_targets
from transferscope.errors import UserError
from transferscope.stores.manifest import store_of
from transferscope.stores.reader import DamagedBlockError
from transferscope.stores.target_store import IGNORE, TargetStore
from transferscope.stores.tile_store import TileStore

MASKS = np.random.default_rng(0).integers(0, 100_000, (37, 12, 9)).astype(np.uint32)
MASKS[5:8] = IGNORE


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    return write_targets(folder / "d.json", MASKS, without_mask=[(5, 8)])


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.integers(0, len(MASKS) - 1), max_size=60))
def test_any_rows_are_read_in_any_order(manifest, rows):
    found = TargetStore.open(manifest).read(np.array(rows, np.int64))
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, MASKS[rows])


def test_it_says_what_its_values_mean(manifest):
    store = TargetStore(manifest)
    assert (store.kind, store.classes, store.tile_size) == ("instances", ("object",), (12, 9))
    assert np.flatnonzero(~store.has_mask).tolist() == [5, 6, 7]
    with pytest.raises(IndexError):
        store.read(np.array([37]))


def test_plain_zarr_opens_it(manifest):
    group = zarr.open(store_of(manifest), mode="r")
    np.testing.assert_array_equal(group["targets"][:], MASKS)


def test_the_formats_of_stores_are_told_apart(manifest):
    with pytest.raises(UserError, match=r"describes a transferscope.targets store"):
        TileStore(manifest)


def test_every_damaged_byte_of_a_mask_is_noticed_when_it_is_read(tmp_path):
    manifest = write_targets(tmp_path / "d.json", MASKS[:3])
    data = store_of(manifest) / "targets" / "c" / "0" / "0" / "0"
    content = data.read_bytes()
    index = 4 + 16 * 16  # its end is the places of the chunks and their own checksum
    for at in np.linspace(0, len(content) - index - 1, 40).astype(int).tolist():
        data.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(DamagedBlockError, match="differ from their checksum: tile tile"):
            TargetStore(manifest).read(np.arange(3))
    data.write_bytes(content)
    np.testing.assert_array_equal(TargetStore(manifest).read(np.arange(3)), MASKS[:3])

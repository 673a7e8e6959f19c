"""Views of tiles: what is turned is put back, and masks go with their tiles."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_masks import squares, write_mask_job

from transferscope.segmentation.features import compute_maps
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.views import mean_of_views, possible_views, turned, turned_back
from transferscope.stores.target_store import TargetStore
from transferscope.training.tiles import TrainingTiles

ROWS = np.array([1, 5, 6])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_views_are_all_that_turns_and_mirrors_can_do_and_go_back(dtype):
    maps = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).to(dtype)
    found = [turned(maps, view) for view in range(8)]
    wanted = [
        torch.rot90(side, turns, (-2, -1)) for side in (maps, maps.flip(-1)) for turns in range(4)
    ]
    assert {one.numpy().tobytes() for one in found} == {one.numpy().tobytes() for one in wanted}
    assert torch.equal(found[0], maps)
    for view, one in enumerate(found):
        assert torch.equal(turned_back(one, view), maps)
    torch.testing.assert_close(mean_of_views(one.float() for one in found), maps.float())


def test_tiles_that_are_not_square_have_four_views(caplog):
    assert possible_views(8, (16, 16), "cells") == 8
    assert possible_views(1, (12, 20), "cells") == 1
    assert not caplog.text
    assert possible_views(8, (12, 20), "cells") == 4
    assert "cells: its tiles are not square, and have 4 views, not 8" in caplog.text
    wide = torch.rand(3, 12, 20)
    assert all(turned(wide, view).shape == wide.shape for view in range(4))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Return a job whose masks number two touching halves of each square."""
    images, masks = squares()
    masks[masks > 0] = 1 + (np.indices(masks.shape)[2] % 20 > 9)[masks > 0]
    return write_mask_job(tmp_path_factory.mktemp("views"), images, masks, kind="instances")


def test_masks_and_maps_of_a_view_are_those_of_the_turned_tile(numbered, tmp_path):
    masks = TrueMasks.read(TargetStore.open(numbered.files.targets), ROWS, 16, objects=True)
    views = np.array([[0, 3], [6, 7], [1, 4]])
    rows = ROWS[:, None].repeat(2, axis=1)
    plain = masks.learned(rows, torch.device("cpu"))
    for part, before in zip(masks.learned(rows, torch.device("cpu"), views), plain, strict=True):
        for place in np.ndindex(*views.shape):
            assert torch.equal(part[place], turned(before[place], views[place]))
    tiles = TrainingTiles.open(numbered.files.tiles, ROWS)

    class Image:
        """Reads a tile as its own map."""

        def __call__(self, raw):
            return [raw.float()]

        def described(self, levels):
            return ()

    maps = compute_maps(tiles, Image(), 2, tmp_path, views=8)
    raw = tiles.batch(np.arange(3)).float()
    for number, row in enumerate(ROWS):
        for view in range(8):
            found = maps.levels[0][maps.places(row, view)]
            np.testing.assert_array_equal(found, turned(raw[number], view))


def test_decoders_of_views_predict_means_that_turn_with_the_tile(numbered, tmp_path):
    asked = {"fractions": (1.0,), "decoders": ["conv"], "objects": True, "steps": 10}
    tuning = {"modes": ["full"], "steps": 2}
    images, masks = squares()
    kept = {}
    for name, turn in (("plain", 0), ("turned", 5)):
        other = write_mask_job(
            tmp_path / name,
            turned(torch.from_numpy(images), turn).numpy().copy(),
            turned(torch.from_numpy(masks.astype(np.int32)), turn).numpy().astype(np.uint32),
            kind="instances",
            dataset="other",
            group="o",
        )
        numbered.run(**asked, views=8, tuning=tuning, others=[other.as_other])
        kept[name] = pd.read_parquet(numbered.elsewhere)
    # Whichever view of a tile is given: means over all of its views are the same.
    plain, other = (kept[name].set_index(["head", "fold", "row"]) for name in ("plain", "turned"))
    assert set(plain.index.get_level_values("head")) == {"conv", "conv-full"}
    assert plain["predicted"].between(1, 32 * 32 - 1).all()
    np.testing.assert_allclose(plain["predicted"], other["predicted"], atol=3)
    np.testing.assert_allclose(plain["pq"], other["pq"], atol=0.05)

"""Tiles without a channel are embedded as any other tiles, and only that channel differs."""

import numpy as np
import pytest

from tile_stores import CHANNELS, SETTINGS, card, copy_tiles, write_tiles
from transferscope.backbones.ablated_tiles import AblatedTiles, TileChange, partners
from transferscope.backbones.embed import embed
from transferscope.cards.backbone import HandcraftedCard
from transferscope.config.ablation import Ablation
from transferscope.errors import UserError
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.tile_store import TileStore

N_TILES = 40
GROUPS = [f"g{n // 4}" for n in range(N_TILES)]
BLACK = 100


@pytest.fixture
def tiles(tmp_path):
    return write_tiles(tmp_path, N_TILES, intensity_range=[[BLACK, 3000]] * len(CHANNELS))


def change(kind, channel="er", seed=0, groups=GROUPS):
    return TileChange(Ablation(kind, channel), groups, seed)


def made(tiles, folder, strategy, what=None, network=None, **options):
    """Embed tiles and return the store."""
    path = folder / f"{strategy}-{what.ablation.name if what else 'untouched'}.json"
    settings = SETTINGS.model_copy(update={"threads": 1})
    embed(tiles, network or card(), strategy, path, settings, change=what, **options)
    return EmbeddingStore(path)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "sizes", [[1] * 9, [4] * 10, [5, 5], [3, 1, 1, 1], [6, 1, 2, 3], [7, 7, 1]]
)
def test_every_tile_is_given_one_of_another_group_and_each_is_given_once(sizes, seed):
    groups = np.repeat([f"g{n}" for n in range(len(sizes))], sizes).astype(object)
    rng = np.random.default_rng(seed)
    groups = groups[rng.permutation(len(groups))]
    found = partners(groups, rng)
    assert sorted(found) == list(range(len(groups)))
    assert (groups[found] != groups).all()


def test_no_exchange_is_possible_where_a_group_is_larger_than_all_others():
    with pytest.raises(ValueError, match="more than half"):
        partners(np.array(["a", "a", "b"], dtype=object), np.random.default_rng(0))


def test_one_channel_is_replaced_and_no_other(tiles):
    raw = TileStore(tiles).read(0, N_TILES)
    black = AblatedTiles(tiles, change("zeroed")).read(3, 31)
    what = change("permuted", seed=5)
    swapped = AblatedTiles(tiles, what).read(3, 31)
    own = CHANNELS.index("er")
    assert (black[:, own] == BLACK).all()
    assert (swapped[:, own] == raw[what.partners[3:31], own]).all()
    others = [c for c in range(len(CHANNELS)) if c != own]
    for found in (black, swapped):
        assert (found[:, others] == raw[3:31][:, others]).all()
    assert (what.partners != change("permuted", seed=6).partners).any()


@pytest.mark.parametrize("kind", ["zeroed", "permuted"])
def test_stores_equal_those_of_tiles_that_are_so_stored(tiles, tmp_path, kind):
    what = change(kind)
    changed = AblatedTiles(tiles, what).read(0, N_TILES)
    (tmp_path / "stored").mkdir()
    limits = [[BLACK, 3000]] * len(CHANNELS)
    copied = copy_tiles(changed, tmp_path / "stored", intensity_range=limits)
    plain = HandcraftedCard(source="handcrafted", name="plain", families=["intensity"])
    for strategy, network in (("replicate", None), ("adapt", None), ("features", plain)):
        found = made(tiles, tmp_path, strategy, what, network)
        expected = made(copied, tmp_path / "stored", strategy, network=network)
        assert np.array_equal(found.read(), expected.read())
        assert found.attributes["ablation"] == what.ablation.name
        assert found.fingerprint != made(tiles, tmp_path, strategy, network=network).fingerprint


def test_columns_of_an_exchanged_channel_are_those_of_the_partner(tiles, tmp_path):
    what = change("permuted")
    untouched, found = (made(tiles, tmp_path, "replicate", one) for one in (None, what))
    for c in untouched.columns:
        own, other = (s.values(0, N_TILES)[:, c.start : c.stop] for s in (untouched, found))
        expected = own[what.partners] if c.channel == "er" else own
        assert np.array_equal(other, expected)


def test_stores_of_the_same_ablation_are_filled_in_one_pass(tiles, tmp_path, monkeypatch):
    what = change("permuted")
    alone = {s: made(tiles, tmp_path, s, what).content_sha256 for s in ("replicate", "adapt")}
    (tmp_path / "both").mkdir()
    also = {"adapt": tmp_path / "both" / f"adapt-{what.ablation.name}.json"}
    first = made(tiles, tmp_path / "both", "replicate", what, also=also)
    assert also["adapt"].with_suffix(".zarr").exists()
    assert not also["adapt"].exists()
    second = made(tiles, tmp_path / "both", "adapt", what)
    assert alone == {"replicate": first.content_sha256, "adapt": second.content_sha256}


def test_another_exchange_or_other_tiles_make_the_store_anew(tiles, tmp_path):
    first = made(tiles, tmp_path, "replicate", change("permuted"))
    again = made(tiles, tmp_path, "replicate", change("permuted", seed=1))
    assert first.fingerprint != again.fingerprint
    assert first.content_sha256 != again.content_sha256


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (change("zeroed", "actin"), 'has no channel "actin"'),
        (change("permuted", groups=["a"] * N_TILES), "more than half of the tiles"),
        (change("permuted", groups=["a", "b"]), "the tile table 2"),
    ],
)
def test_what_cannot_be_done_is_said(tiles, what, text):
    with pytest.raises(UserError, match=text):
        AblatedTiles(tiles, what)

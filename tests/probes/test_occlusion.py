"""Maps of what a head depends on: the place that carries a class is found, by heads that are real.

One class has a bright spot in one channel, at a place that is known.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tile_stores import CHANNELS, SETTINGS, card, copy_tiles
from transferscope.backbones.embed import embed
from transferscope.cards import DatasetCard
from transferscope.cards.backbone import HandcraftedCard
from transferscope.config.ablation import OcclusionSettings
from transferscope.config.jobs import OcclusionProbe
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.config.results import FigureSettings
from transferscope.errors import UserError
from transferscope.figures.occlusion import draw_occlusion, mean_loss
from transferscope.probes.evaluation import ProbeData, write_tables
from transferscope.probes.heads import run_heads
from transferscope.probes.occlusion import COLUMNS, best_kind, choose_tiles, covered, occlude
from transferscope.probes.splits import make_splits
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.parquet import read_parquet, write_parquet

SPOT, NONE = LABELS = ["spot", "none"]
N_TILES, SIZE, WIDTH = 60, 32, 4
SHOWN = CHANNELS[:2]
CARRIER = "protein"
SPLITS = SplitSettings(schemes=["group"], folds={"group": 3}, seeds=[0, 1], fractions=[1.0])
CARD = DatasetCard(name="cells", sheet="s", channels=SHOWN, labels=LABELS, task="single-label")
PLAIN = HandcraftedCard(source="handcrafted", name="plain", families=["intensity"])
HEADS = HeadSettings(kinds=["logreg"])
JOB = OcclusionProbe(
    occlusion=OcclusionSettings(tiles=4, mistakes=1, patch=0.25, stride=0.5),
    heads=HEADS,
    metric="macro_f1",
    covered=SHOWN,
)
CPU = SETTINGS.model_copy(update={"threads": 1})


@dataclass(frozen=True)
class Planted:
    """A study of spots: where each is, what heads said, and what they lost."""

    folder: Path
    images: np.ndarray
    places: np.ndarray
    data: ProbeData
    network: object
    losses: pd.DataFrame

    def run(self, job=JOB, output="again.parquet", network=None, compute=CPU):
        folder = self.folder
        files = (folder / "scores.parquet", folder / "predictions.parquet")
        network = (network or self.network, Path("card.yaml"))
        tiles, output = folder / "cells.json", folder / output
        occlude(self.data, tiles, network, *files, job, compute, output)
        return read_parquet(output)


def spots(seed):
    """Return noise [N, C, H, W] with a spot in every other tile, and where the spots are."""
    rng = np.random.default_rng(seed)
    images = rng.normal(500, 60, (N_TILES, len(SHOWN), SIZE, SIZE))
    places = rng.integers(0, SIZE - WIDTH, (N_TILES, 2))
    for image, (y, x) in zip(images[::2], places[::2], strict=True):
        image[SHOWN.index(CARRIER), y : y + WIDTH, x : x + WIDTH] += 2000
    return images.round().astype(np.uint16), places


@pytest.fixture(scope="module", params=["features", "replicate", "mean"])
def planted(request, tmp_path_factory):
    folder, strategy = tmp_path_factory.mktemp("spots"), request.param
    images, places = spots(0)
    copy_tiles(images, folder)
    network = PLAIN if strategy == "features" else card(input_size=SIZE)
    stored = "replicate" if strategy == "mean" else strategy
    embed(folder / "cells.json", network, stored, folder / "store.json", CPU)
    store = EmbeddingStore(folder / "store.json")
    names = [f"tile{n}" for n in range(N_TILES)]
    table = pd.DataFrame({"tile_id": names, "group": [f"g{n // 2}" for n in range(N_TILES)]})
    table["labels"] = [LABELS[n % 2] for n in range(N_TILES)]
    identity = {"dataset": "cells", "backbone": network.name, "channels": strategy}
    splits = make_splits(table, CARD, SPLITS)
    values = store.read(None, strategy)
    data = ProbeData.of(values, table, splits, [1.0], ["macro_f1"], identity)
    data = replace(data, store=(folder / "store.json", store.attributes))
    files = folder / "scores.parquet", folder / "predictions.parquet"
    write_tables(data, *files, lambda sink: run_heads(data, HEADS, sink=sink))
    found = Planted(folder, images, places, data, network, pd.DataFrame())
    return replace(found, losses=found.run(output="losses.parquet"))


def test_the_map_is_highest_where_the_class_is_planted(planted):
    side = planted.losses.attrs["side"]
    shown = planted.losses.query("`class` == @SPOT and found")
    assert shown["row"].nunique() == 2
    for row, own in shown.groupby("row"):
        y, x = planted.places[row]
        tops = {}
        for channel, one in own.groupby("channel"):
            assert len(one) == 49
            tops[channel] = one.loc[one["loss"].idxmax()]
        for channel in ("", CARRIER):
            corner = tops[channel][["y", "x"]].to_numpy(float)
            away = np.abs(corner + side / 2 - (y + WIDTH / 2, x + WIDTH / 2))
            assert away.max() <= side
            assert tops[channel]["loss"] > 0
        # The other channel has no spot, and no place that matters as much.
        assert tops[CARRIER]["loss"] > 3 * own.query("channel == 'nucleus'")["loss"].abs().max()


def test_a_tile_is_judged_by_the_head_of_its_test_fold(planted):
    said = read_parquet(planted.folder / "predictions.parquet").query("head == 'logreg'")
    said = said.query("seed == 0").set_index("row")
    for row, own in planted.losses.groupby("row"):
        first = own.iloc[0]
        score = said.at[row, f"score_{LABELS.index(first['class'])}"]
        assert first["probability"] == pytest.approx(score, abs=2e-4)
        assert first["fold"] == said.at[row, "fold"]


def test_losses_are_those_of_a_plain_computation(planted):
    own = planted.losses.query("channel == @CARRIER")
    own = own[own["row"] == own["row"].iloc[0]]
    row, data, side = int(own["row"].iloc[0]), planted.data, planted.losses.attrs["side"]
    images = np.repeat(planted.images[[row]], len(own) + 1, axis=0)
    channel = SHOWN.index(CARRIER)
    for image, y, x in zip(images[1:], own["y"], own["x"], strict=True):
        image[channel, y : y + side, x : x + side] = np.median(image[channel])
    (folder := planted.folder / "plain").mkdir()
    copy_tiles(images, folder)
    strategy = data.identity["channels"]
    stored = "replicate" if strategy == "mean" else strategy
    embed(folder / "cells.json", planted.network, stored, folder / "store.json", CPU)
    values = EmbeddingStore(folder / "store.json").read(None, strategy)
    (division,) = (d for d in data.divisions if d.seed == 0 and row in d.test)
    assert not set(data.tiles.groups[division.train]) & {data.tiles.groups[row]}
    scaler = StandardScaler().fit(data.embeddings[division.train])
    model = LogisticRegression(C=1.0, max_iter=5000, tol=1e-8)
    has = data.tiles.matrix[division.train, LABELS.index(own["class"].iloc[0])]
    model.fit(scaler.transform(data.embeddings[division.train]), has)
    logit = model.decision_function(scaler.transform(values))
    np.testing.assert_allclose(own["loss"], logit[0] - logit[1:], atol=0.02 * np.abs(logit).max())


def test_nothing_differs_when_it_is_done_again_in_other_batches(planted):
    fewer = OcclusionSettings(tiles=2, patch=0.25, stride=0.5)
    job = JOB.model_copy(update={"occlusion": fewer})
    again = planted.run(job, compute=CPU.model_copy(update={"batch_size": 3}))
    assert list(again) == list(COLUMNS)
    assert again["row"].nunique() == 2
    pd.testing.assert_frame_equal(again, planted.losses.iloc[: len(again)], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("planted", ["features", "replicate"], indirect=True)
def test_other_weights_than_those_of_the_store_are_refused(planted):
    other = PLAIN.model_copy(update={"families": ["intensity", "texture"]})
    if planted.network is not PLAIN:
        other = card(input_size=SIZE, arguments={"depth": 1, "embed_dim": 48, "num_heads": 3})
    with pytest.raises(UserError, match="another backbone than the card names"):
        planted.run(network=other)


@pytest.mark.parametrize("planted", ["replicate"], indirect=True)
def test_the_figure_draws_each_tile_with_a_map_per_channel(planted, tmp_path):
    files = [tmp_path / f"maps.{end}" for end in ("svg", "png")]
    given = planted.folder / "losses.parquet", planted.folder / "cells.json", CARD
    draw_occlusion(*given, FigureSettings(dpi=60), files)
    svg = files[0].read_text()
    n_tiles = planted.losses.groupby(["row", "class"]).ngroups
    # A tile, its maps of all channels and of each, and the bar of colours.
    assert svg.count("<image") == n_tiles * (2 + len(SHOWN)) + 1
    for text in ("all covered", "protein covered", "nucleus covered", "found, p = ", *LABELS):
        assert text in svg
    for text in ("not what a", "median", "neither the tile", "logistic regression"):
        assert text in " ".join(re.sub(r"<[^>]*>", " ", svg).split())
    again = tmp_path / "again.svg"
    draw_occlusion(*given, FigureSettings(dpi=60), [again])
    assert again.read_bytes() == files[0].read_bytes()


@pytest.mark.parametrize("planted", ["replicate"], indirect=True)
def test_a_map_of_no_tile_says_so(planted, tmp_path):
    write_parquet(planted.losses.iloc[:0], tmp_path / "none.parquet", planted.losses.attrs)
    given = tmp_path / "none.parquet", planted.folder / "cells.json", CARD
    draw_occlusion(*given, FigureSettings(), [tmp_path / "none.svg"])
    assert "nothing to cover" in (tmp_path / "none.svg").read_text()


def predictions(rows):
    of_class = [f"{kind}_{n}" for n in range(2) for kind in ("true", "predicted", "score")]
    return pd.DataFrame(rows, columns=["row", "group", "fold", *of_class])


def test_tiles_are_chosen_by_rule_the_classes_in_turn_and_each_group_once():
    said = predictions(
        [
            (0, "a", 0, True, True, 0.9, False, False, 0.1),
            (1, "a", 0, True, True, 0.8, False, False, 0.1),
            (2, "b", 1, True, True, 0.7, True, True, 0.95),
            (3, "c", 1, False, False, 0.2, True, False, 0.3),
            (4, "d", 2, True, False, 0.4, True, True, 0.6),
            (5, "e", 2, False, True, 0.9, True, False, 0.1),
        ]
    )
    chosen = choose_tiles(said, 2, OcclusionSettings(tiles=9, mistakes=2))
    assert [(t.row, t.column, t.found, t.fold) for t in chosen] == [
        (0, 0, True, 0),
        (2, 1, True, 1),
        (4, 1, True, 2),
        (4, 0, False, 2),
        (5, 1, False, 2),
    ]
    few = choose_tiles(said.sample(frac=1, random_state=0), 2, OcclusionSettings(tiles=1))
    assert [t.row for t in few] == [0]


def test_the_head_is_the_one_that_validation_tiles_favour():
    scores = pd.DataFrame(
        [
            ("linear", "group", 0.9, 0.1),
            ("mlp", "group", 0.5, 0.6),
            ("logreg", "group", 0.4, 0.6),
            ("linear", "image", 0.9, 0.9),
            ("floor", "group", 0.9, np.nan),
        ],
        columns=["head", "scheme", "value", "validation"],
    ).assign(metric="macro_f1", fraction=1.0)
    assert best_kind(scores, ["linear", "logreg", "mlp"], "macro_f1") == "logreg"
    unknown = scores.assign(validation=np.nan)
    assert best_kind(unknown, ["linear", "logreg"], "macro_f1") == "linear"


@pytest.mark.parametrize(
    ("patch", "stride", "size"),
    [(0.2, 0.5, (40, 40)), (0.3, 1, (31, 50)), (0.5, 0.3, (7, 7)), (0.01, 1, (9, 5))],
)
def test_patches_cover_every_pixel_and_change_no_other(patch, stride, size):
    settings = OcclusionSettings(patch=patch, stride=stride)
    side, corners = settings.side(size), settings.corners(size)
    tile = np.random.default_rng(0).integers(1000, 2000, (2, *size)).astype(np.uint16)
    tile[:, 0, 0] = 5000
    changed = np.zeros(size, bool)
    for image, (y, x) in zip(covered(tile, corners, side, [1]), corners, strict=True):
        inside = np.zeros(size, bool)
        inside[y : y + side, x : x + side] = True
        assert inside.sum() == side**2
        assert (image[0] == tile[0]).all()
        assert (image[1][~inside] == tile[1][~inside]).all()
        assert np.abs(image[1][inside] - np.median(tile[1])).max() <= 0.5
        changed |= inside
    assert changed.all()
    losses = pd.DataFrame(corners, columns=["y", "x"]).assign(loss=2.5)
    np.testing.assert_allclose(mean_loss(losses, size, side), 2.5)

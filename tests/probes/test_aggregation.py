"""Fields and groups put together of tiles, against loops over tables."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from transferscope.cards import DatasetCard
from transferscope.config.jobs import AggregateProbe
from transferscope.config.probes import (
    AggregateSettings,
    HeadSettings,
    KnnSettings,
    SplitSettings,
)
from transferscope.errors import UserError
from transferscope.probes.aggregation import (
    Aggregates,
    LevelFiles,
    aggregate,
    score_aggregates,
)
from transferscope.probes.evaluation import ProbeData, scores_in_halves
from transferscope.probes.halves import half_divisions
from transferscope.probes.heads import run_heads
from transferscope.probes.knn import run_knn
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.score_table import HALF_COLUMNS, SCORE_COLUMNS
from transferscope.probes.splits import make_splits
from transferscope.probes.variants import variants_of
from transferscope.stores.parquet import read_parquet

CLASSES = ["er", "golgi", "nucleus"]
N_GROUPS, FOVS, CELLS = 18, 3, 5
SPLITS = SplitSettings(folds={"group": 3, "image": 3}, seeds=[0], halves=2)


def cells(task: str = "single-label", noise: float = 4.0, odd: str = "") -> ProbeData:
    """Return cells whose own embeddings are noisy: only together they show their class."""
    rng = np.random.default_rng(0)
    fov = np.repeat(np.arange(N_GROUPS * FOVS), CELLS)
    group = fov // FOVS
    labels = np.array(CLASSES)[group % len(CLASSES)].astype(object)
    if odd:
        labels[1] = odd
    table = pd.DataFrame(
        {
            "tile_id": [f"c{i}" for i in range(len(fov))],
            "group": [f"g{i:02d}" for i in group],
            "fov": [f"f{i:02d}" for i in fov],
            "labels": labels,
        }
    )
    centres = 2 * rng.normal(size=(3, 12))
    embeddings = centres[group % 3] + noise * rng.normal(size=(len(fov), 12))
    card = DatasetCard(name="d", sheet="s", channels=["nucleus"], task=task, labels=CLASSES)
    splits = make_splits(table, card, SPLITS)
    identity = {"dataset": "d", "backbone": "b", "channels": "map"}
    return ProbeData.of(embeddings, table, splits, [1.0], ["macro_f1"], identity)


@settings(max_examples=50, deadline=None)
@given(
    embeddings=arrays.arrays(np.float32, (12, 3), elements=st.integers(-9, 9).map(float)),
    codes=st.permutations([0, 0, 0, 1, 1, 2, 3, 3, 3, 3, -1, -1]),
    method=st.sampled_from(["mean", "median"]),
)
def test_an_aggregate_is_the_mean_or_the_median_of_its_rows(embeddings, codes, method):
    codes = np.array(codes)
    merged = aggregate(embeddings, codes, 4, method)
    expected = getattr(pd.DataFrame(embeddings[codes >= 0]).groupby(codes[codes >= 0]), method)()
    np.testing.assert_allclose(merged, expected.to_numpy(), rtol=1e-6)


@pytest.mark.parametrize(("level", "schemes"), [("fov", {"group", "image"}), ("group", {"group"})])
def test_an_aggregate_plays_the_role_of_its_tiles(level, schemes):
    data = cells()
    found = Aggregates.of(data, level)
    own = data.tiles.fovs if level == "fov" else data.tiles.groups
    assert found.names.tolist() == sorted(set(own))
    assert {d.scheme for d in found.data.divisions} == schemes
    by_key = {(d.scheme, d.seed, d.fold): d for d in data.divisions}
    for division in found.data.divisions:
        tiles = by_key[division.scheme, division.seed, division.fold]
        for role in ("train", "validation", "test"):
            expected = sorted(set(own[getattr(tiles, role)]))
            assert found.names[getattr(division, role)].tolist() == expected
    for name, labels, group in zip(
        found.names, found.data.tiles.matrix, found.data.tiles.groups, strict=True
    ):
        members = np.flatnonzero(own == name)
        np.testing.assert_array_equal(labels, data.tiles.matrix[members].any(axis=0))
        assert set(data.tiles.groups[members]) == {group}


def test_tiles_of_different_classes_are_joined_or_left_out(caplog):
    joined = Aggregates.of(cells("multi-label", odd="golgi"), "fov")
    assert joined.data.tiles.matrix[0].tolist() == [True, True, False]
    assert len(joined.names) == N_GROUPS * FOVS
    left = Aggregates.of(cells(odd="golgi"), "fov")
    assert left.names.tolist() == joined.names[1:].tolist()
    assert left.codes[:CELLS].tolist() == [-1] * CELLS
    assert "1 of 54 of level fov have tiles of different classes" in caplog.text


def test_a_level_at_which_nothing_is_left_is_an_error():
    data = cells()
    one_group = np.full(len(data.tiles), "plate", dtype=object)
    mixed = LabelledTiles(
        data.tiles.matrix,
        CLASSES,
        "single-label",
        data.tiles.tile_ids,
        one_group,
        data.tiles.fovs,
        data.tiles.batches,
    )
    other = ProbeData(data.embeddings, mixed, data.divisions, data.metrics, data.identity)
    with pytest.raises(UserError, match=r"Take group out of `aggregate\.levels`"):
        Aggregates.of(other, "group")


def scored(folder: Path, data: ProbeData, fields=None, halves=(), **chosen) -> pd.DataFrame:
    probe = AggregateProbe(
        fractions=[1.0],
        metrics=["macro_f1"],
        splits=SPLITS,
        settings=AggregateSettings(**{"levels": ["fov", "group"], **chosen}),
        knn=KnnSettings(k=[1, 5]),
    )
    variants = variants_of(probe.settings, with_fields=fields is not None)
    files = {v.name: folder / f"{v.name}.predictions.parquet" for v in variants}
    written = LevelFiles(folder / "scores.parquet", files, folder / "scores.halves.parquet")
    score_aggregates(data, halves, fields, probe, written)
    return read_parquet(folder / "scores.parquet")


def test_noisy_cells_are_told_apart_together_but_not_one_by_one(tmp_path):
    table = scored(tmp_path, cells())
    assert table.columns.tolist() == ["source", "level", "aggregation", *SCORE_COLUMNS]
    by_level = table[(table["head"] == "logreg") & (table["scheme"] == "group")]
    mean = by_level.groupby(["level", "aggregation"])["value"].mean()
    assert mean["fov", "mean"] > mean["tile", ""] + 0.1
    assert mean["group", "mean"] > mean["tile", ""] + 0.1
    # Of normal noise the median takes less away.
    assert mean["fov", "mean"] > mean["fov", "median"] > mean["tile", ""]
    assert mean["group", "mean"] > mean["group", "median"] > mean["tile", ""]
    assert set(table["head"]) == {"floor", "logreg", "knn"}
    n_test = table.groupby(["scheme", "level"])["n_test"].first()
    # A third of the cells, fields and groups in each test fold.
    assert n_test["group", "tile"] == 90
    assert n_test["group", "fov"] == 18
    assert n_test["group", "group"] == 6
    assert ("image", "group") not in n_test


def test_whole_fields_are_scored_on_the_folds_of_their_cells(tmp_path):
    data = cells()
    names = sorted(set(data.tiles.fovs))
    # Fields in another order, one of which has no cells, with embeddings that know the class.
    order = np.random.default_rng(1).permutation(len(names))
    table = pd.DataFrame(
        {"fov": [*np.array(names)[order], "empty"], "group": "?", "labels": "", "tile_id": "?"}
    )
    index = data.tiles.class_index()[::CELLS]
    known = np.eye(3, dtype=np.float32)[[*index[order], 0]]
    fields = LabelledTiles.from_table(table, [], "multi-label")
    scores = scored(tmp_path, data, (known, fields), levels=["fov", "group"])
    own = scores[(scores["source"] == "fields") & (scores["head"] == "logreg")]
    assert set(own["level"]) == {"fov", "group"}
    assert (own["value"] == 1).all()
    first = read_parquet(tmp_path / "fields-fov-mean.predictions.parquet")
    second = read_parquet(tmp_path / "tiles-fov-mean.predictions.parquet")
    columns = ["scheme", "fold", "tile_id", "group", "true_0"]
    chosen = [t[t["head"] == "logreg"][columns].reset_index(drop=True) for t in (first, second)]
    pd.testing.assert_frame_equal(*chosen)


def test_a_field_that_is_missing_is_named(tmp_path):
    data = cells()
    table = pd.DataFrame({"fov": ["f00"], "group": "?", "labels": ""})
    fields = LabelledTiles.from_table(table, [], "multi-label")
    with pytest.raises(UserError, match="53 fields are not in the dataset of fields, first f01"):
        scored(tmp_path, data, (np.zeros((1, 3), np.float32), fields))


def halves_of(data: ProbeData):
    return half_divisions(data.tiles, SPLITS, [1.0], "d")


def test_single_tiles_score_in_halves_as_in_the_probes_themselves(tmp_path):
    data = cells()
    scored(tmp_path, data, halves=halves_of(data))
    found = read_parquet(tmp_path / "scores.halves.parquet")
    assert found.columns.tolist() == ["source", "level", "aggregation", *HALF_COLUMNS]
    own = found[found["level"] == "tile"][HALF_COLUMNS].reset_index(drop=True)
    heads, knn = HeadSettings(kinds=["logreg"]), KnnSettings(k=[1, 5])
    probes = (
        lambda half, sink: run_heads(half, heads, sink=sink),
        lambda half, sink: run_knn(half, knn, sink=sink),
    )
    expected = [scores_in_halves(data, halves_of(data), run) for run in probes]
    pd.testing.assert_frame_equal(own, pd.concat(expected, ignore_index=True))


@pytest.mark.parametrize("level", ["fov", "group"])
def test_aggregates_are_scored_in_the_half_of_their_tiles_alone(tmp_path, level):
    """A study of one half, whose other tiles do not exist, has the same scores at every level."""
    data = cells()
    divisions = halves_of(data)
    scored(tmp_path, data, halves=divisions, levels=[level], methods=["mean"])
    found = read_parquet(tmp_path / "scores.halves.parquet")
    own = found[(found["level"] == level) & (found["scheme"] == "group")]
    assert set(own["half"]) == {0, 1, 2, 3}
    assert set(own["head"]) == {"floor", "logreg", "knn"}
    half = [d for d in divisions if d.half == 3]
    kept = np.zeros(len(data.tiles), dtype=bool)
    for division in half:
        kept[[*division.train, *division.validation, *division.test]] = True
    # Tiles of the other half would be noticed.
    embeddings = np.where(kept[:, None], data.embeddings, np.float32(np.nan))
    alone = ProbeData(embeddings, data.tiles, half, data.metrics, data.identity)
    aggregates = Aggregates.of(alone, level)
    merged = aggregates.embed(embeddings, "mean")
    assert np.isfinite(merged.embeddings).all()
    run = partial(run_knn, settings=KnnSettings(k=[1]))
    expected = scores_in_halves(merged, merged.divisions, lambda d, sink: run(d, sink=sink))
    expected = expected[expected["scheme"] == "group"]["value"]
    own = own[(own["half"] == 3) & (own["head"] == "knn") & (own["k"] == 1)]
    assert len(own) == 1
    assert own["value"].tolist() == expected.tolist()
    schemes = {"group", "image"} if level == "fov" else {"group"}
    assert set(found[found["level"] == level]["scheme"]) == schemes


def test_a_level_with_too_few_groups_of_a_class_is_not_halved(tmp_path, caplog):
    """Groups whose tiles disagree are left out, so that fewer remain than the tiles have."""
    data = cells()
    matrix = data.tiles.matrix.copy()
    # Of the six groups of the first class, three have one tile of another class.
    for group in ("g00", "g03", "g06"):
        matrix[np.flatnonzero(data.tiles.groups == group)[0]] = [False, True, False]
    mixed = ProbeData(
        data.embeddings,
        replace(data.tiles, matrix=matrix),
        data.divisions,
        data.metrics,
        data.identity,
    )
    scored(tmp_path, mixed, halves=halves_of(mixed), methods=["mean"])
    found = read_parquet(tmp_path / "scores.halves.parquet")
    assert set(found["level"]) == {"tile", "fov"}
    assert "d, level group: no half-samples" in caplog.text
    assert "er has 3 groups" in caplog.text


def test_without_divisions_of_halves_the_table_of_halves_is_empty(tmp_path):
    scored(tmp_path, cells(), levels=["fov"], methods=["mean"])
    assert read_parquet(tmp_path / "scores.halves.parquet").empty

"""Tile table and stores that are made of a table of features."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from given_tables import profiles, write_card
from transferscope.cards import DatasetCard
from transferscope.config.model import read_model
from transferscope.errors import UserError
from transferscope.given.build import make_store, make_table
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.parquet import read_tile_table


def made(folder, table, /, name="deep", skip=False, **changes):
    path = write_card(folder, table, **changes)
    card = read_model(path, DatasetCard)
    output, manifest = folder / "tiles.parquet", folder / f"{name}/given.json"
    make_table(card, path, output=output, skipped=folder / "skipped.tsv", skip=skip)
    make_store(card, path, name, table=output, manifest=manifest, skip=skip)
    return EmbeddingStore(manifest), read_tile_table(output)


@settings(max_examples=25, deadline=None)
@given(
    n_groups=st.integers(2, 9),
    repeats=st.integers(1, 5),
    kind=st.sampled_from(["csv", "parquet"]),
    bad=st.sets(st.integers(0, 40), max_size=3),
)
def test_a_store_holds_the_rows_of_its_tile_table(tmp_path_factory, n_groups, repeats, kind, bad):
    folder = tmp_path_factory.mktemp("store")
    table = profiles(n_groups, repeats)
    bad = {row for row in bad if row < len(table) - 2}
    table.loc[sorted(bad), "deep_1"] = np.nan
    store, rows = made(folder, table, skip=True, table=f"t.{kind}")
    kept = table.drop(index=sorted(bad))
    assert store.tile_ids == rows["tile_id"].tolist()
    assert rows["group"].tolist() == kept["Metadata_gene"].tolist()
    np.testing.assert_allclose(store.read(), kept[["deep_0", "deep_1"]], rtol=1e-6)
    store.check()
    skipped = pd.read_csv(folder / "skipped.tsv", sep="\t")
    first = 2 if kind == "csv" else 1
    assert skipped["row"].tolist() == [row + first for row in sorted(bad)]
    assert store.attributes["backbone"] == "deep"
    assert store.attributes["strategy"] == "given"
    assert (store.number_format(), store.columns[0].output) == (None, "features")


def test_the_same_table_gives_the_same_store(tmp_path):
    (tmp_path / "a").mkdir()
    first, _ = made(tmp_path / "a", profiles())
    (tmp_path / "b").mkdir()
    second, _ = made(tmp_path / "b", profiles(), table="t.parquet")
    (tmp_path / "c").mkdir()
    other, _ = made(tmp_path / "c", profiles(seed=1))
    contents = [
        json.loads(each.manifest_path.read_text())["content_sha256"]
        for each in (first, second, other)
    ]
    assert contents[0] == contents[1] != contents[2]
    np.testing.assert_allclose(first.read(), second.read(), rtol=1e-6)


def test_constant_features_are_named_in_the_store(tmp_path):
    table = profiles()
    table["Cells_2"] = 1.0
    store, _ = made(tmp_path, table, "cellprofiler")
    assert store.attributes["feature_names"] == ["Cells_0", "Cells_1", "Nuclei_Area"]
    assert store.attributes["constant_features"] == ["Cells_2"]


def test_a_table_that_changed_in_between_is_told(tmp_path):
    path = write_card(tmp_path, profiles())
    card = read_model(path, DatasetCard)
    output = tmp_path / "tiles.parquet"
    make_table(card, path, output=output, skipped=tmp_path / "skipped.tsv")
    write_card(tmp_path, profiles(n_groups=11))
    with pytest.raises(UserError, match="which has changed"):
        make_store(card, path, "deep", table=output, manifest=tmp_path / "s/given.json")
    with pytest.raises(UserError, match="It has cellprofiler, deep"):
        make_store(card, path, "dino", table=output, manifest=tmp_path / "s/given.json")
    assert not (tmp_path / "s").exists()

"""The rows and features of a table: what is taken, what is left out, and what is refused."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from given_tables import CARD, CLASSES, profiles, write_card
from transferscope.cards import DatasetCard
from transferscope.config.model import read_model, validate
from transferscope.errors import UserError
from transferscope.given.rows import read_given


def read(folder, table, /, skip=False, **changes):
    path = write_card(folder, table, **changes)
    return read_given(read_model(path, DatasetCard), path, skip=skip)


def problems(folder, table, /, skip=False, **changes):
    with pytest.raises(UserError) as raised:
        read(folder, table, skip, **changes)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize("name", ["profiles.csv", "profiles.tsv", "profiles.parquet"])
def test_roles_metadata_and_sets(tmp_path, name):
    table = profiles()
    if name.endswith("tsv"):
        table.to_csv(tmp_path / name, index=False, sep="\t")
        path = write_card(tmp_path, table)
        path.write_text(path.read_text().replace("profiles.csv", name))
        found = read_given(read_model(path, DatasetCard), path)
    else:
        found = read(tmp_path, table, table=name)
    rows = found.rows.table
    kept = [column for column in table if column.startswith("Metadata_")]
    assert list(rows) == ["tile_id", "group", "labels", "fov", "batch", *kept]
    assert rows["group"].tolist() == table["Metadata_gene"].tolist()
    assert rows["batch"].tolist() == table["Metadata_Plate"].tolist()
    assert rows["tile_id"].is_unique
    assert found.rows.widths == {"cellprofiler": 4, "deep": 2}
    assert found.sets["cellprofiler"].names == ["Cells_0", "Cells_1", "Cells_2", "Nuclei_Area"]
    expected = table[found.sets["deep"].names].to_numpy(np.float32)
    np.testing.assert_allclose(found.sets["deep"].values, expected, rtol=1e-6)
    assert found.rows.skipped == []
    assert found.rows.notes == []


def test_by_default_all_numbers_without_a_role_are_features(tmp_path):
    table = profiles().rename(columns={"Metadata_gene": "group", "Metadata_class": "labels"})
    table["Metadata_Row"], table["well"], table["use"] = 3, "B02", True
    columns = {"batch": "Metadata_Plate"}
    found = read(tmp_path, table, features=None, columns=columns, table="t.parquet")
    assert list(found.sets) == ["features"]
    assert found.sets["features"].names == [c for c in table if "_" in c and "Meta" not in c]
    assert {"well", "Metadata_Row", "Metadata_Well"} < set(found.rows.table)


def test_patterns_join_and_leave_out(tmp_path):
    sets = {"a": "Cells_*|deep_*|!*_1", "b": "!Cells_*", "c": "Nuclei_Area"}
    found = read(tmp_path, profiles(), features=sets)
    assert found.sets["a"].names == ["Cells_0", "Cells_2", "deep_0"]
    assert found.sets["b"].names == ["Nuclei_Area", "deep_0", "deep_1"]
    assert found.sets["c"].names == ["Nuclei_Area"]


def test_a_column_of_lists_is_a_matrix(tmp_path):
    table = profiles()
    vectors = np.random.default_rng(0).normal(size=(len(table), 5))
    table["embedding"] = list(vectors)
    found = read(tmp_path, table, table="t.parquet", features={"dino": "embedding"})
    np.testing.assert_allclose(found.sets["dino"].values, vectors, rtol=1e-6)
    table["embedding"] = [None if n == 3 else list(v) for n, v in enumerate(vectors)]
    of_embedding = {"table": "t.parquet", "features": {"dino": "embedding"}}
    problem, *_ = problems(tmp_path, table, **of_embedding)
    assert "column embedding_0: 1 of 48 values are missing" in problem
    found = read(tmp_path, table, skip=True, **of_embedding)
    expected = np.delete(vectors, 3, axis=0)
    np.testing.assert_allclose(found.sets["dino"].values, expected, rtol=1e-6)
    table["embedding"] = [list(v)[: 5 - n % 2] for n, v in enumerate(vectors)]
    problem, *_ = problems(tmp_path, table, **of_embedding)
    assert "column embedding" in problem
    assert "is not a number" in problem


def test_columns_that_hold_anything_are_no_features_unless_asked(tmp_path):
    table = profiles()
    rows = range(len(table))
    table["contour"] = [list(range(n % 3)) for n in rows]
    table["tags"] = [["a", "b"][: n % 3] for n in rows]
    table["more"] = [{"a": n} for n in rows]
    table["date"] = pd.Timestamp("2024-01-01")
    table["share"] = [Decimal(n) / 7 for n in rows]
    found = read(tmp_path, table, table="t.parquet", features=None)
    assert {"contour", "tags", "more", "date"} < set(found.rows.table)
    assert "share" in found.sets["features"].names
    table["few"] = [None if n < 40 else n for n in rows]
    found = read(tmp_path, table, table="t.parquet", features=None, skip=True)
    assert "40 of 48 rows are skipped, 40 of them by few" in found.rows.notes[0]


def test_numbers_of_parquet_become_names(tmp_path):
    table = profiles()
    table["Metadata_Plate"] = np.arange(len(table)) % 3 + 0.0
    table.loc[3, "Metadata_Plate"] = np.nan
    table["Metadata_gene"] = table["Metadata_gene"].str[4:].astype(int)
    found = read(tmp_path, table, table="t.parquet").rows.table
    assert found["batch"].tolist()[:4] == ["0", "1", "2", ""]
    assert found["group"].tolist()[:4] == ["0"] * 4


def test_an_index_is_a_column_if_it_has_a_name(tmp_path):
    table = profiles()
    table.index = pd.Index([f"well {n}" for n in range(len(table))], name="tile_id")
    assert read(tmp_path, table, table="t.parquet").rows.table["tile_id"].iloc[1] == "well 1"
    table.index = range(5, 5 + len(table))[::-1]
    found = read(tmp_path, table, table="t.parquet", features=None)
    assert len(found.sets["features"].names) == 6


def test_controls_of_a_kind_are_a_group(tmp_path):
    table = profiles()
    table["kind"] = ["negcon" if n % 4 == 0 else "" for n in range(len(table))]
    table.loc[table["kind"] == "negcon", ["Metadata_gene", "Metadata_class"]] = ""
    columns = {**CARD["columns"], "control": "kind"}
    given_rows = read(tmp_path, table, columns=columns).rows
    found, [note] = given_rows.table, given_rows.notes
    assert "12 controls without a group are those of their kind: negcon" in note
    assert set(found.loc[found["control"] == "negcon", "group"]) == {"negcon"}
    assert len(found) == len(table)


def test_constant_features_are_left_out_and_counted(tmp_path):
    table = profiles()
    table["Cells_1"] = 7
    found = read(tmp_path, table)
    assert found.constant == {"cellprofiler": ["Cells_1"], "deep": []}
    assert found.rows.widths["cellprofiler"] == 3
    assert "1 constant features of cellprofiler left out: Cells_1" in found.rows.notes[0]
    table["deep_0"] = table["deep_1"] = 0.5
    [problem] = problems(tmp_path, table)
    assert 'no feature of "deep" is left' in problem


BAD_VALUES = ["", "nan", "NA", "inf", "-inf", "1e300"]


@settings(max_examples=25, deadline=None)
@given(
    rows=st.sets(st.integers(0, 47), min_size=1, max_size=40),
    value=st.sampled_from(BAD_VALUES),
    column=st.sampled_from(["Cells_0", "deep_1"]),
)
def test_rows_that_are_not_finite_stop_or_are_skipped(tmp_path_factory, rows, value, column):
    folder = tmp_path_factory.mktemp("rows")
    table = profiles()
    table[column] = table[column].astype(object)
    table.loc[sorted(rows), column] = value
    [problem] = problems(folder, table)
    first = f"{len(rows)} of 48 values are missing or not finite, the first in row {min(rows) + 2}"
    assert first in problem
    assert f"column {column}" in problem
    found = read(folder, table, skip=True)
    assert [each.row for each in found.rows.skipped] == [row + 2 for row in sorted(rows)]
    assert len(found.rows.table) == 48 - len(rows)
    assert all(len(each.values) == 48 - len(rows) for each in found.sets.values())
    kept = table.drop(index=sorted(rows))["Metadata_gene"].tolist()
    assert found.rows.table["group"].tolist() == kept


def test_a_row_without_a_group_stops_or_is_skipped(tmp_path):
    table = profiles()
    table.loc[[2, 9], "Metadata_gene"] = ""
    [problem] = problems(tmp_path, table)
    assert "rows 4, 11, column Metadata_gene" in problem
    found = read(tmp_path, table, skip=True)
    assert [(each.row, each.reason) for each in found.rows.skipped] == [
        (4, "has no group"),
        (11, "has no group"),
    ]


def with_cell(column, cell, rows=(5,)):
    table = profiles()
    table[column] = table[column].astype(object)
    table.loc[list(rows), column] = cell
    return table


WRONG = {
    "a word among numbers": (with_cell("Cells_0", "high"), {}, '"high" is not a number'),
    "the same by default": (with_cell("deep_0", "x"), {"features": None}, '"x" is not a number'),
    "a pattern that fits nothing": (
        profiles(),
        {"features": {"a": "Cell_*"}},
        'no column of profiles.csv fits "Cell_*"',
    ),
    "an empty pattern": (profiles(), {"features": {"a": "deep_*|"}}, "has an empty pattern"),
    "nothing but a mark": (profiles(), {"features": {"a": "!"}}, "has an empty pattern"),
    "no pattern": (profiles(), {"features": {"a": ""}}, "has an empty pattern"),
    "a feature with a role": (
        profiles(),
        {"features": {"a": "Metadata_gene"}},
        "has a role, and is no feature",
    ),
    "text as a feature": (profiles(), {"features": {"a": "Metadata_Well"}}, "is not a number"),
    "nothing left": (profiles(), {"features": {"a": "deep_*|!*"}}, "has no column of features"),
    "an unknown column": (
        profiles(),
        {"columns": {**CARD["columns"], "batch": "Metadata_plate"}},
        'has no column "Metadata_plate"',
    ),
    "no column of groups": (
        profiles(),
        {"columns": {"labels": "Metadata_class"}},
        'the column "group" is missing',
    ),
    "no column of labels": (
        profiles(),
        {"columns": {"group": "Metadata_gene"}},
        'the column "labels" is missing',
    ),
    "an id twice": (
        profiles(),
        {"columns": {**CARD["columns"], "tile_id": "Metadata_gene"}},
        'the id "gene00" is already used in row 2',
    ),
    "an unknown label": (
        with_cell("Metadata_class", "lo"),
        {},
        'unknown label "lo"',
    ),
    "two labels of one": (with_cell("Metadata_class", "low;high"), {}, "has 2 labels"),
    "a field of two groups": (
        profiles(),
        {"columns": {**CARD["columns"], "fov": "Metadata_Plate"}},
        'fov "plate0" is of group "gene01"',
    ),
    "no usable row": (with_cell("Cells_0", "", range(48)), {}, "48 of 48 values are missing"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(tmp_path, what):
    table, changes, text = WRONG[what]
    found = problems(tmp_path, table, **changes)
    assert any(text in problem for problem in found), found
    assert "->" in found[0]


def test_all_is_reported_at_once(tmp_path):
    table = with_cell("Cells_0", "high")
    table.loc[3, "Metadata_gene"] = ""
    table.loc[4, "Metadata_class"] = "mid"
    found = problems(tmp_path, table, features={"a": "Cells_*", "b": "nothing_*"})
    assert len(found) == 4, found


def test_a_table_without_rows(tmp_path):
    [problem] = problems(tmp_path, profiles().iloc[:0], table="t.parquet")
    assert "has no usable row" in problem


def test_skipping_every_row_is_no_dataset(tmp_path):
    found = problems(tmp_path, with_cell("Cells_0", "", range(48)), skip=True)
    assert any("has no usable row" in problem for problem in found)


def test_types_of_parquet_that_are_no_numbers(tmp_path):
    for values in ([True, False], pd.to_datetime(["2024-01-01", "2024-01-02"])):
        table = profiles()
        table["Cells_9"] = np.resize(values, len(table))
        [problem] = problems(tmp_path, table, table="t.parquet")
        assert "column Cells_9" in problem
        assert "which is no number" in problem


CARDS = {
    "channels": ({"channels": ["nucleus"]}, "channels: of images"),
    "sheet": ({"sheet": "a.tsv"}, "sheet: of images"),
    "tiles": ({"tiles": {"size": 64}}, "tiles: of images"),
    "no table": ({"table": None}, "needs `table`"),
    "a URL": ({"table": "s3://bucket/t.parquet"}, "download the table"),
    "reserved": ({"columns": {"source": "a"}}, "filled by transferscope itself"),
    "name of a set": ({"features": {"a b": "c"}}, "features"),
    "empty column": ({"columns": {"group": ""}}, "columns"),
}


@pytest.mark.parametrize("what", CARDS)
def test_cards_that_contradict_themselves(what):
    changes, text = CARDS[what]
    card = {k: v for k, v in {**CARD, **changes}.items() if v is not None}
    with pytest.raises(UserError, match=text):
        validate(card, DatasetCard, "wells.yaml")


def test_a_card_of_images_has_channels_and_no_table():
    images = {"name": "cells", "sheet": "a.tsv", "labels": CLASSES}
    with pytest.raises(UserError) as raised:
        validate(images, DatasetCard, "cells.yaml")
    assert "key channels: required, but missing" in str(raised.value)
    with pytest.raises(UserError, match="Then add `source: table`"):
        validate({**images, "table": "t.csv"}, DatasetCard, "cells.yaml")
    with pytest.raises(UserError, match="add `source: table`"):
        validate({**images, "channels": ["a"], "table": "t.csv"}, DatasetCard, "cells.yaml")

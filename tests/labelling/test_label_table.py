"""Hand labels replace the others, and what is wrong with them is said with row and fix."""

import logging

import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.labelling.label_table import (
    check_label_table,
    marks_of,
    read_label_table,
    relabel,
    with_hand_labels,
)
from transferscope.stores.parquet import read_parquet, write_parquet

TILES = pd.DataFrame(
    {
        "tile_id": ["t1", "t2", "t3", "t4", "t5"],
        "group": list("aabbc"),
        "labels": ["er", "er", "golgi", "golgi", "er"],
    }
)


def make_card(**changes: object) -> DatasetCard:
    given = {"labels": ["er", "golgi"], "task": "multi-label", "label_table": "hand.csv"}
    return DatasetCard(name="d", sheet="s.tsv", channels=["nucleus"], **{**given, **changes})


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> None:
        (tmp_path / "hand.csv").write_text(text)

    return write


def test_hand_labels_replace_all_others_and_further_columns_come_along(write, tmp_path):
    write(
        "tile_id,labels,labeller,time,group\r\n"
        't2,golgi,"Doe, J.",2026-01-02T03:04:05Z,x\r\nt1,er; golgi,,,\r\n'
        "t3,skip,J,,\r\nt4,,J,,\r\n"
    )
    found = with_hand_labels(TILES, make_card(), tmp_path / "d.yaml")
    assert found["tile_id"].tolist() == TILES["tile_id"].tolist()
    assert found["labels"].tolist() == ["er;golgi", "golgi", "", "", ""]
    assert found["labeller"].tolist() == ["", "Doe, J.", "J", "J", ""]
    assert found["group"].tolist() == list("aabbc")
    assert TILES["labels"].tolist() == ["er", "er", "golgi", "golgi", "er"]


def test_a_class_may_be_called_as_a_mark(write, tmp_path):
    card = make_card(labels=["er", "unsure"])
    assert marks_of(card.labels) == ["skip"]
    write("tile_id,labels\nt1,unsure\nt2,skip\n")
    found = with_hand_labels(TILES, card, tmp_path / "d.yaml")
    assert found["labels"].tolist() == ["unsure", "", "", "", ""]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("tile_id,labels\nt1,er\nt9,er\n", ["row 3", 'no tile "t9"', '"t1"']),
        ("tile_id,labels\nt1,err\n", ["row 2", 'unknown label "err"', 'Did you mean "er"?']),
        ("tile_id,labels\nt1,er;skip\n", ["row 2", 'unknown label "skip"']),
        (
            "tile_id,labels\nt1,er\nt1,golgi\n",
            ["row 3", "already used in row 2", "one row per tile"],
        ),
        ("tile,labels\nt1,er\n", ["row 1", '"tile_id" is missing', 'Did you mean "tile"?']),
        ("tile_id;Labels\nt1;er\n", ["row 1", '"labels" is missing', '"Labels"']),
        ("tile_id,labels\n,er\n", ["row 2", "is empty"]),
        ("tile_id,labels\nt1\n", ["row 2", "has 1 cells"]),
        ("", ["empty"]),
    ],
)
def test_what_is_wrong_is_said_with_its_row(write, tmp_path, text, parts):
    write(text)
    with pytest.raises(UserError) as caught:
        with_hand_labels(TILES, make_card(), tmp_path / "d.yaml")
    for part in ["hand.csv", *parts]:
        assert part in str(caught.value)


def test_several_labels_are_refused_in_a_single_label_dataset(write, tmp_path):
    write("tile_id,labels\nt1,er;golgi\n")
    with pytest.raises(UserError, match="single-label"):
        with_hand_labels(TILES, make_card(task="single-label"), tmp_path / "d.yaml")


def test_all_problems_come_together(write, tmp_path):
    write("tile_id,labels\nt9,er\nt1,err\nt2,er\nt2,er\n")
    with pytest.raises(UserError) as caught:
        with_hand_labels(TILES, make_card(), tmp_path / "d.yaml")
    assert len(caught.value.problems) == 3


def test_labels_of_no_tile_may_be_left_out_with_a_warning(write, tmp_path, caplog):
    write("tile_id,labels\nt9,er\nt8,er\nt2,golgi\n")
    with caplog.at_level(logging.WARNING):
        found = with_hand_labels(TILES, make_card(), tmp_path / "d.yaml", skip=True)
    assert found["labels"].tolist() == ["", "golgi", "", "", ""]
    assert "2 rows were left out" in caplog.text


def test_before_the_tiles_are_known_all_but_their_ids_is_checked(write, tmp_path):
    write("tile_id,labels\nt9,er\n")
    assert check_label_table(make_card(), tmp_path / "d.yaml") == []
    write("tile_id,labels\nt9,err\n")
    [problem] = check_label_table(make_card(), tmp_path / "d.yaml")
    assert "d.yaml" in problem.fix
    assert check_label_table(make_card(label_table=None), tmp_path / "d.yaml") == []


def test_a_table_that_is_not_there_names_the_key(tmp_path):
    [problem] = check_label_table(make_card(), tmp_path / "d.yaml")
    assert "label_table" in problem.fix


def test_the_relabelled_table_keeps_the_rows_of_the_tile_table(write, tmp_path):
    write("tile_id\tlabels\nt5\tgolgi\n")
    write_parquet(TILES, tmp_path / "d.tiles.parquet", {"dataset": "d"})
    out = tmp_path / "labels" / "d.parquet"
    relabel(tmp_path / "d.tiles.parquet", make_card(), tmp_path / "d.yaml", out)
    found = read_parquet(out)
    assert found["tile_id"].tolist() == TILES["tile_id"].tolist()
    assert found["labels"].tolist() == ["", "", "", "", "golgi"]
    assert found.attrs == {"dataset": "d"}


def test_reading_a_table_by_itself_empties_the_marks(write, tmp_path):
    write("tile_id,labels\na,unsure\nb, er ;golgi\n")
    found = read_label_table(tmp_path / "hand.csv", make_card())
    assert found["labels"].tolist() == ["", "er;golgi"]

import numpy as np
import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.probes.labels import LabelledTiles, label_problems
from transferscope.raw.sheets import split_labels

CLASSES = ["er", "golgi", "nucleus"]


def card(task: str = "multi-label") -> DatasetCard:
    return DatasetCard(name="d", sheet="s.tsv", channels=["nucleus"], task=task, labels=CLASSES)


def table(*labels: str | None) -> pd.DataFrame:
    names = [f"t{i}" for i in range(len(labels))]
    return pd.DataFrame({"tile_id": names, "group": "g", "labels": labels, "fov": names})


def test_matrix_follows_the_order_of_the_card_and_not_of_the_sheet() -> None:
    tiles = LabelledTiles.from_table(table("nucleus; er", "golgi", ""), CLASSES, "multi-label")
    np.testing.assert_array_equal(tiles.matrix, [[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    assert tiles.labelled.tolist() == [True, True, False]
    assert tiles.class_index().tolist() == [0, 1, -1]


def test_missing_values_are_unlabelled() -> None:
    tiles = LabelledTiles.from_table(table("er", None), CLASSES, "multi-label")
    assert tiles.labelled.tolist() == [True, False]


def test_a_tile_with_only_dropped_classes_counts_as_unlabelled() -> None:
    tiles = LabelledTiles.from_table(table("er", "golgi;er"), ["golgi", "nucleus"], "multi-label")
    assert tiles.labelled.tolist() == [False, True]


def test_fov_defaults_to_the_tile_id_and_tile_id_to_the_row() -> None:
    bare = table("er", "golgi").drop(columns=["fov", "tile_id"])
    tiles = LabelledTiles.from_table(bare, CLASSES, "multi-label")
    assert tiles.fovs.tolist() == tiles.tile_ids.tolist() == ["0", "1"]


@pytest.mark.parametrize("text", ["", ";", " ; "])
def test_separators_alone_are_no_label(text: str) -> None:
    assert split_labels(text) == []


def test_unknown_labels_and_double_labels_are_all_named() -> None:
    problems = label_problems(table("golgy", "er;golgi", "xyz"), card("single-label"), "sheet")
    text = "\n".join(map(str, problems))
    assert len(problems) == 3
    assert 'Did you mean "golgi"?' in text
    assert '"xyz"' in text
    assert "first t1" in text
    assert label_problems(table("er;golgi"), card(), "sheet") == []

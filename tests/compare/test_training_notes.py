"""What the summary and the figures say of backbones that were trained on a dataset."""

import pandas as pd

from transferscope.compare.leakage import training_notes

KEYS = ["backbone", "channels", "scheme", "n_scores", "seen_in_training"]


def summary(*rows):
    table = pd.DataFrame(rows, columns=KEYS)
    return table.assign(
        dataset="cells", head="logreg", k=pd.NA, fraction=1.0, metric="macro_f1", **{"class": ""}
    )


def test_nothing_is_said_of_others():
    table = summary(
        ("a", "map", "group", 3, "no"),
        ("a", "map-random", "group", 9, "no"),
        ("b", "map", "group", 3, "no"),
        ("b", "map", "image", 5, "no"),
    )
    assert training_notes(table, "cells") == []


def test_each_kind_of_knowledge_is_said():
    table = summary(
        ("a", "map", "group", 3, "no"),
        ("own", "map", "group", 3, "images"),
        ("own", "map", "image", 3, "images"),
        ("weak", "map", "group", 3, "images and groups"),
        ("honest", "map", "group", 1, "no"),
    )
    images, groups, kept = training_notes(table, "cells")
    assert "own saw images of cells" in images
    assert "weak saw images of cells and the names" in groups
    assert "honest saw cells without the test groups of one fold" in kept
    assert training_notes(table, "other") == []

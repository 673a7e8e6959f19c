"""What the summary and the figures say of backbones that were trained on a dataset."""

import pandas as pd

from transferscope.compare.leakage import training_notes
from transferscope.config.jobs import Comparison
from transferscope.config.results import CompareSettings

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
    assert "training of honest left out the test groups of one fold of cells" in kept
    assert training_notes(table, "other") == []


def test_groups_of_other_datasets_are_named():
    table = summary(
        ("a", "map", "group", 3, "no"), ("own", "map", "group", 3, "in another dataset")
    )
    [note] = training_notes(table, "cells")
    assert note == (
        "In training, own saw images of other datasets in which groups have the names of test "
        "groups of cells."
    )


def test_published_weights_may_have_seen():
    table = summary(
        ("a@mean", "map", "group", 3, "no"),
        ("a", "replicate", "group", 3, "no"),
        ("b", "map", "group", 3, "no"),
    )
    settings = Comparison(may_have_seen={"cells": ["a", "a@mean"], "other": ["b"]})
    [note] = training_notes(table, "cells", settings)
    assert note == (
        "The published weights of a and a@mean were trained on a collection that may hold images "
        "or groups of cells: they may have seen those that are tested."
    )
    assert training_notes(table, "cells", CompareSettings()) == []

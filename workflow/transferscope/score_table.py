"""The tidy table of scores: its columns, which probes write and the comparison reads."""

from __future__ import annotations

STORE = ["dataset", "backbone", "channels"]
IDENTITY = [*STORE, "task"]
SCORE_COLUMNS = [
    *IDENTITY,
    "head",
    "k",
    "scheme",
    "fold",
    "seed",
    "fraction",
    "metric",
    "class",
    "value",
    "n_train",
    "n_train_groups",
    "n_validation",
    "n_test",
]
FLOOR = "floor"

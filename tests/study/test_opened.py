"""A study as a notebook opens it: names, and what is said of results that are not there."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import transferscope
from factories import CLASSES, write_study
from transferscope.errors import UserError
from transferscope.study.opened import OpenedStudy


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> OpenedStudy:
    """A study that never ran, opened from elsewhere."""
    folder = write_study(tmp_path_factory.mktemp("opened"))
    return transferscope.open_study("study.yaml", folder)


def test_what_a_study_asks_for_is_known_before_it_runs(study: OpenedStudy) -> None:
    assert (study.name, study.datasets) == ("tiny", ["cells"])
    assert study.backbones == ["tiny", "handcrafted"]
    assert study.strategies == ["replicate", "map", "features"]
    assert study.probes == ["heads", "knn"]
    assert study.stores.to_numpy().tolist() == [
        ["cells", "tiny", "replicate", False],
        ["cells", "tiny", "map", False],
        ["cells", "handcrafted", "features", False],
    ]
    assert study.tables == []
    assert study.dataset().classes == CLASSES
    assert study.root == study.place.parent / "results/tiny"


def test_what_is_not_made_yet_is_named_with_its_command(study: OpenedStudy) -> None:
    cells = study.dataset("cells")
    asked: dict[str, Callable[[], object]] = {
        "cells.tiles.parquet": lambda: cells.table,
        "cells.json": lambda: cells.tiles,
        "map.json": lambda: cells.embeddings("tiny", "map"),
        "3 of 3 tables are not made yet": lambda: study.scores("knn"),
        "features.predictions.parquet": lambda: study.predictions("heads", backbone="handcrafted"),
        'no table "summary"': study.table,
    }
    for said, ask in asked.items():
        with pytest.raises(UserError) as raised:
            ask()
        assert said in str(raised.value)
        command = raised.value.problems[0].fix.removeprefix("Run the study: ")
        words = shlex.split(command)
        assert words[:3] == ["cd", str(study.place.parent), "&&"]
        assert words[-2:] == ["--configfile", "study.yaml"]


def test_from_its_own_folder_a_study_needs_no_cd(
    study: OpenedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.place.parent)
    here = transferscope.open_study(Path("study.yaml"))
    with pytest.raises(UserError, match="Run the study: snakemake"):
        here.table()
    assert here.root == Path("results/tiny")


@given(at=st.integers(0, 10), letter=st.sampled_from("xyz"))
def test_a_mistyped_name_is_answered_by_the_right_one(
    study: OpenedStudy, at: int, letter: str
) -> None:
    def mistyped(name: str) -> str:
        place = at % (len(name) + 1)
        return name[:place] + letter + name[place:]

    cells = study.dataset()
    asked: dict[str, Callable[[], object]] = {
        "cells": lambda: study.dataset(mistyped("cells")),
        "handcrafted": lambda: cells.embeddings(mistyped("handcrafted")),
        "replicate": lambda: cells.embeddings("tiny", mistyped("replicate")),
        "heads": lambda: study.scores(mistyped("heads")),
    }
    for right, ask in asked.items():
        with pytest.raises(UserError, match=f'Did you mean "{right}"'):
            ask()


def test_what_is_meant_has_to_be_one(study: OpenedStudy) -> None:
    with pytest.raises(UserError, match=r"2 stores are meant.*\n.*cells, tiny, map"):
        study.dataset().embeddings("tiny")
    with pytest.raises(UserError, match='"map" is no channel strategy'):
        study.dataset().embeddings("handcrafted", "map")
    with pytest.raises(UserError, match="makes no targets of cells"):
        _ = study.dataset().targets


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    for name in ("none.yaml", ""):
        with pytest.raises(UserError, match=r"does not exist|is a folder"):
            transferscope.open_study(name, tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UserError, match="pipe"):
        transferscope.open_study("pipe.yaml", tmp_path)


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'open_studies'"):
        _ = transferscope.open_studies

"""A finished study as notebooks open it: the numbers of its files; the notebook of the docs."""

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import zarr
from nbclient import NotebookClient

import transferscope
from factories import CLASSES
from transferscope.study.opened import OpenedStudy

pytestmark = pytest.mark.workflow
OF_TINY = "results/tiny/embeddings/cells/tiny/replicate.zarr"


@pytest.fixture(scope="module")
def study(finished_study: Path) -> OpenedStudy:
    return transferscope.open_study("study.yaml", finished_study)


def test_stores_are_those_on_disk(study: OpenedStudy, finished_study: Path) -> None:
    assert study.stores["is_made"].all()
    data = study.dataset()
    table = pd.read_parquet(finished_study / "results/tiny/tiles/cells.tiles.parquet")
    pd.testing.assert_frame_equal(data.table, table, check_dtype=False)
    assert data.tiles.tile_ids == list(data.labels.index) == list(table["tile_id"])
    assert [CLASSES[i] for i in data.labels.to_numpy().argmax(axis=1)] == list(table["labels"])
    assert data.tiles.read(0, 3).shape == (3, 2, 64, 64)
    whole = zarr.open_group(finished_study / OF_TINY, mode="r")
    found = data.embeddings("tiny", "replicate")
    assert np.array_equal(found.values, whole["embeddings"][:, whole["output"][:] == "cls"])
    assert found.ids == list(table["tile_id"])
    assert len(set(found.names)) == found.values.shape[1]
    assert found.names[:1] == ["nucleus_cls_0"]
    given = data.embeddings("handcrafted")
    assert given.names == given.attributes["feature_names"]
    assert given.frame.shape == given.values.shape


def test_tables_name_classes_and_agree_with_each_other(study: OpenedStudy) -> None:
    for name in study.tables:
        assert len(study.table(name).columns), name
    assert {"summary", "leaderboard", "differences", "per_class"} <= set(study.tables)
    per_class = study.scores("heads").query("metric == 'class_f1'")
    assert set(per_class["class"]) == set(CLASSES)
    heads = study.scores("heads")
    assert set(study.scores("knn")["head"]) >= {"knn"}
    compared = study.table("scores").query("head == 'logreg'")
    assert len(compared) == len(heads.query("head == 'logreg'"))
    # F1, from the predictions, under the names of the classes.
    said = study.predictions("heads", backbone="handcrafted")
    said = said.query("head == 'logreg' and scheme == 'group' and fraction == 1")
    true, predicted = (said[[f"{kind}_{c}" for c in CLASSES]] for kind in ("true", "predicted"))
    hits = (true.to_numpy() & predicted.to_numpy()).sum(axis=0)
    n_said = true.to_numpy().sum(axis=0) + predicted.to_numpy().sum(axis=0)
    summary = study.table().query(
        "backbone == 'handcrafted' and head == 'logreg' and scheme == 'group' and fraction == 1"
        " and metric == 'class_f1'"
    )
    assert summary.set_index("class")["mean"][CLASSES].to_numpy() == pytest.approx(
        2 * hits / n_said, abs=1e-6
    )


def test_the_notebook_of_the_documentation_runs(repository: Path, finished_study: Path) -> None:
    notebook = nbformat.read(repository / "docs/notebooks/open-a-study.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[0].metadata["tags"] == ["parameters"]
    named = {"config": "study.yaml", "folder": str(finished_study), "dataset": "cells"}
    assert {line.partition(" = ")[0] for line in cells[0].source.splitlines()} == set(named)
    cells[0].source = "\n".join(f"{name} = {value!r}" for name, value in named.items())
    NotebookClient(notebook).execute()
    outputs = [output for cell in cells for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "tiny has the tables summary" in printed
    assert "36 tiles, " in printed
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3

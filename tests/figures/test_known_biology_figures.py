"""The similarity map of complexes, and pictures of new pairs."""

import json
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import yaml
from test_gallery import CARD, write_store
from test_recall_figure import table as recall_table
from test_recall_figure import texts
from typer.testing import CliRunner

from transferscope.commands.app import app
from transferscope.figures.complexes import draw_complexes
from transferscope.figures.style import save, style
from transferscope.stores.manifest import TILES_FORMAT
from transferscope.stores.parquet import write_parquet

SIMILARITY = pd.DataFrame(
    [
        ("humap", "a $map", "tvn", "p1", 1, "p2 <b>", 1, True, 0.9),
        ("humap", "a $map", "tvn", "p1", 1, "p3", 1, True, 0.7),
        ("humap", "a $map", "tvn", "p2 <b>", 1, "p3", 1, True, 0.8),
        ("other", "b", "none", "q1", 1, "q2", 2, False, -0.5),
    ],
    columns=[
        *("source", "map", "correction", "entity1", "group1"),
        *("entity2", "group2", "known", "cosine"),
    ],
)


def test_complexes_are_outlined_in_the_map_of_each_source(tmp_path):
    with style():
        figure = draw_complexes(SIMILARITY)
        save(figure, [tmp_path / "a.svg", tmp_path / "a.png"], 60)
    said = texts(figure)
    assert "humap: a $map, tvn" in said
    assert "other: b" in said
    first, second = (axes for axes in figure.axes if axes.images)
    assert first.images[0].get_array().tolist() == [[1, 0.9, 0.7], [0.9, 1, 0.8], [0.7, 0.8, 1]]
    assert [len(axes.patches) for axes in (first, second)] == [1, 2]


def test_no_complex_is_said():
    with style():
        assert "No source lists all pairs" in texts(draw_complexes(SIMILARITY.head(0)))


@pytest.fixture
def related(tmp_path):
    """Write what `relate` writes, and tiles of three genes and of controls; return the folder."""
    recall = recall_table().assign(value=[0.3, 0.3, 0.3, 0.3, *[0.4] * 4, *[0.9] * 4])
    (tmp_path / "relations").mkdir()
    recall.to_csv(tmp_path / "relations/recall.csv", index=False)
    pairs = [("a $map", "tvn", "NA", "b", 0.9), ("a $map", "none", "a", "NA", 0.8)]
    columns = ["map", "correction", "entity1", "entity2", "cosine"]
    pd.DataFrame(pairs, columns=columns).to_csv(tmp_path / "relations/new_pairs.csv", index=False)
    genes = ["NA", "NA", "b", "a", "", "b"]
    frame = pd.DataFrame(
        {
            "tile_id": [f"c{n}" for n in range(6)],
            "group": ["g"] * 6,
            "fov": [f"f{n}" for n in range(6)],
            "labels": "",
            "gene": genes,
            "control": ["false"] * 5 + ["true"],
        }
    )
    write_parquet(frame, tmp_path / "tiles.parquet", {})
    images = np.random.default_rng(0).integers(0, 255, (6, 2, 16, 16)).astype(np.uint8)
    attributes = {"channels": CARD.channels, "pixel_size_um": 0.5}
    write_store(tmp_path / "tiles.json", images, TILES_FORMAT, "images", attributes)
    (tmp_path / "cells.yaml").write_text(
        yaml.safe_dump(CARD.model_dump(mode="json", exclude_unset=True))
    )
    return tmp_path


def drawn(folder):
    told = {
        "relations": folder / "relations",
        "tiles": folder / "tiles.json",
        "table": folder / "tiles.parquet",
        "card": folder / "cells.yaml",
        "roles": json.dumps({"perturbation": "gene"}),
        "settings": "{}",
        "output": folder / "pairs.svg",
    }
    words = [text for name, value in told.items() for text in (f"--{name}", str(value))]
    return CliRunner().invoke(app, ["new-pairs", *words])


def test_tiles_of_both_entities_are_shown_in_the_best_map(related):
    done = drawn(related)
    assert done.exit_code == 0, done.output
    root = ET.parse(related / "pairs.svg").getroot()
    said = " ".join(e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text"))
    assert "cosine 0.90" in said
    assert "0.80" not in said
    # Two tiles of the gene named NA, one of b; the other one is a control.
    assert len(list(root.iter("{http://www.w3.org/2000/svg}image"))) == 3


def test_missing_tables_and_entities_are_said(related):
    pairs = related / "relations/new_pairs.csv"
    pairs.write_text(pairs.read_text().replace(",b,", ",unknown,"))
    assert 'no row of "unknown"' in str(drawn(related).exception)
    pairs.unlink()
    done = drawn(related)
    assert done.exit_code == 1
    assert "Relate the stores of this dataset first" in str(done.exception)

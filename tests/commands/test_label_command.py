"""`transferscope label` and `relabel` as a user types them."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from factories import CLASSES, DATASET_CARD, environment, write_raw, write_yaml
from transferscope.cards import DatasetCard
from transferscope.config.model import read_model
from transferscope.tiles.build import make_tiles

STORE = ["--tiles", "tiles/cells.json", "--table", "tiles/cells.tiles.parquet"]
CARD = ["--card", "cells.yaml"]
NO_SCORES = {"backbones": ["handcrafted"], "scored": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("label")
    write_raw(folder / "raw")
    card = write_yaml(folder / "cells.yaml", {**DATASET_CARD, "label_table": "hand.csv"})
    make_tiles(
        folder / "raw/samples.tsv",
        read_model(card, DatasetCard),
        manifest=folder / "tiles/cells.json",
        tile_table=folder / "tiles/cells.tiles.parquet",
        quality=folder / "tiles/cells.quality.csv",
        skipped=folder / "tiles/cells.skipped.tsv",
    )
    return folder


def run(folder, *arguments):
    return subprocess.run(
        [Path(sys.executable).parent / "transferscope", *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def data_of(page: Path) -> dict:
    [text] = re.findall(r'<script id="data" [^>]*>(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text)


def test_a_study_says_what_to_label_also_from_another_folder(folder):
    write_yaml(folder / "mine.yaml", {"study": "glow", "datasets": ["cells.yaml"], **NO_SCORES})
    refused = run(folder, "label", "mine.yaml")
    assert "the tiles are not made yet" in refused.stderr
    made = folder / "results/glow"
    made.mkdir(parents=True)
    shutil.copytree(folder / "tiles", made / "tiles")
    (folder / "other").mkdir()
    for place, study in ((folder, "mine.yaml"), (folder / "other", "../mine.yaml")):
        done = run(place, "label", study, "--n", "3")
        assert done.returncode == 0, done.stderr
        assert len(data_of(place / "label.html")["tiles"]) == 3
    twice = run(folder, "label", "mine.yaml", *CARD)
    assert "--card: is given, and a study that says it, too" in twice.stderr
    alone = run(folder, "label", *CARD)
    assert "--tiles, --table and a study are missing" in alone.stderr


def test_a_page_is_written_with_balanced_tiles_of_all_channels(folder):
    done = run(folder, "label", *STORE, *CARD, "--output", "out/page.html", "--n", "12")
    assert done.returncode == 0, done.stderr
    assert "12 tiles" in done.stdout
    data = data_of(folder / "out/page.html")
    assert [one["name"] for one in data["classes"]] == CLASSES
    assert data["channels"] == ["nucleus", "protein"]
    assert data["multiple"] is True
    groups = [int(tile["id"][1:3]) for tile in data["tiles"]]
    assert sorted(groups) == list(range(12))
    assert {len(tile["pictures"]) for tile in data["tiles"]} == {2}


def test_what_is_labelled_is_not_drawn_again_and_is_kept(folder):
    run(folder, "label", *STORE, *CARD, "--output", "first.html", "--n", "20")
    first = [tile["id"] for tile in data_of(folder / "first.html")["tiles"]]
    rows = [
        f'{tile_id},{"skip" if i else "membrane"},"J, D",2026' for i, tile_id in enumerate(first)
    ]
    (folder / "earlier.csv").write_text("\n".join(["tile_id,labels,labeller,time", *rows, ""]))
    again = ["--labelled", "earlier.csv", "--channels", "protein", "--size", "32"]
    done = run(folder, "label", *STORE, *CARD, *again, "--output", "second.html")
    assert done.returncode == 0, done.stderr
    data = data_of(folder / "second.html")
    assert len(data["tiles"]) == 16
    assert not {tile["id"] for tile in data["tiles"]} & set(first)
    assert [row["tile_id"] for row in data["earlier"]] == first
    assert data["earlier"][0]["labels"] == "membrane"
    assert data["earlier"][1] == {
        "tile_id": first[1],
        "labels": "skip",
        "labeller": "J, D",
        "time": "2026",
    }
    assert data["channels"] == ["protein"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channels", "protien"], 'Did you mean "protein"?'),
        (["--balance", "label"], 'Did you mean "labels"?'),
        (["--labelled", "gone.csv"], "gone.csv"),
        (["--labelled", "raw/samples.tsv"], "labelled already"),
        (["--tiles", "gone.json"], "gone.json"),
    ],
)
def test_mistakes_end_in_a_message(folder, arguments, message):
    done = run(folder, "label", *STORE, *CARD, *arguments, "--output", "none.html")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "none.html").exists()


def test_relabel_puts_hand_labels_in_place(folder):
    (folder / "hand.csv").write_text("tile_id,labels\nP00_1,vesicles;membrane\nP00_2,unsure\n")
    table = ["--table", "tiles/cells.tiles.parquet", "--output", "labelled.parquet"]
    done = run(folder, "relabel", *table, *CARD)
    assert done.returncode == 0, done.stderr
    assert "1 of 36 tiles have labels" in done.stderr
    found = pd.read_parquet(folder / "labelled.parquet").set_index("tile_id")["labels"]
    assert found[found != ""].to_dict() == {"P00_1": "vesicles;membrane"}


def test_relabel_names_an_unknown_tile_or_leaves_it_out(folder):
    (folder / "hand.csv").write_text("tile_id,labels\nP00_1,vesicles\nP99_1,vesicles\n")
    table = ["--table", "tiles/cells.tiles.parquet", "--output", "none.parquet"]
    done = run(folder, "relabel", *table, *CARD)
    assert done.returncode == 1
    assert "hand.csv, row 3" in done.stderr
    assert 'no tile "P99_1"' in done.stderr
    assert not (folder / "none.parquet").exists()
    done = run(folder, "relabel", *table, *CARD, "--bad-tiles", "skip")
    assert done.returncode == 0
    assert "1 rows were left out" in done.stderr


def test_the_most_doubtful_tiles_are_shown_first(folder):
    tiles = pd.read_parquet(folder / "tiles/cells.tiles.parquet")["tile_id"]
    doubts = pd.DataFrame({"tile_id": tiles, "doubt": range(len(tiles))})
    doubts.to_csv(folder / "doubts.csv", index=False)
    arguments = ["--first", "doubts.csv", "--n", "3", "--output", "doubtful.html"]
    done = run(folder, "label", *STORE, *CARD, *arguments)
    assert done.returncode == 0, done.stderr
    shown = {one["id"] for one in data_of(folder / "doubtful.html")["tiles"]}
    assert shown == set(tiles[-3:])

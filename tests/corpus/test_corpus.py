"""Small hostile and odd files, made here: each gives the right pixels, or the right message."""

from __future__ import annotations

import atexit
import importlib
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from corpus_cases import CASES, Case, Fields, Folder, Mask, Weights
from typer.testing import CliRunner

from transferscope.commands.app import app
from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import TILES_FORMAT
from transferscope.stores.tile_store import TileStore

for module in sorted(Path(__file__).parent.glob("corpus_*.py")):
    importlib.import_module(module.stem)


def command(*arguments: object) -> tuple[str, str]:
    """Run a command; return all that it prints, and the text of its refusal."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(done.exception, UserError):
        assert done.exception.problems
        return done.output, str(done.exception)
    if isinstance(done.exception, SystemExit):
        # The refusal is what it printed.
        return done.output, done.output
    if done.exception is not None:
        raise done.exception
    return done.output, ""


def step(name: str, folder: Path, *arguments: str) -> tuple[str, str]:
    """Run a step from raw files to tiles on the sheet and card of a folder."""
    outputs = {
        "sheet": "samples.tsv",
        "card": "card.yaml",
        "manifest": "out/tiles.json",
        "table": "out/tiles.parquet",
        "quality": "out/quality.csv",
        "skipped": "out/skipped.tsv",
    }
    (folder / "out").mkdir()
    paths = [f"--{key}={folder / file}" for key, file in outputs.items()]
    return command(name, *paths, *arguments)


def assert_fields(made: Fields, folder: Path) -> None:
    card: dict[str, Any] = {"channels": ["nucleus", "protein"], **made.card}
    card = {"name": "odd", "sheet": "samples.tsv", "labels": ["a", "b"], **card}
    columns = [f"path_{name}" for name in card["channels"]] if made.by_channel else ["path"]
    rows = [
        {"tile_id": f"t{i}", "group": f"g{i}", "labels": "a"}
        | {name: file.relative_to(folder) for name, file in zip(columns, files, strict=True)}
        for i, files in enumerate(made.files)
    ]
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    printed, message = step("tiles", folder)
    if made.pixels is None:
        assert message, "nothing was refused"
        assert re.search(made.message, message), message
        assert any(file.name in message for files in made.files for file in files), message
        return
    assert message == ""
    store = TileStore(folder / "out/tiles.json")
    for found, expected in zip(store.read(0, len(store)), made.pixels, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert_logged(made.message, printed)


def assert_weights(made: Weights) -> None:
    shown, message = command("backbone", "inspect", made.file, *made.arguments)
    if made.shown:
        assert message == ""
        assert re.search(made.shown, shown), shown
    else:
        assert re.search(made.message, message + shown), message + shown
        assert "every weight of the encoder is matched" not in shown


@cache
def tile_of_a_field() -> Path:
    """Return the manifest of a tile store of one field, named as those of the masks."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    shape, ids = (1, 1, 48, 48), ["t"]
    store = BlockStore.open_or_create(
        folder / "tiles.zarr", format=TILES_FORMAT, array="images", fingerprint="tiles",
        shape=shape, dtype="uint16", block_rows=1, ids=ids,
        attributes={"channels": ["nucleus"], "intensity_range": [[0, 1]]},
    )  # fmt: skip
    store.write_block(0, np.ones(shape, np.uint16))
    store.finish(folder / "tiles.json")
    return folder / "tiles.json"


def assert_targets(made: Mask, folder: Path, card: dict[str, Any]) -> None:
    """Check that what cells are not cut from is not learned from, either, and the same odd."""
    described = {**card, "masks": {"kind": "instances"}}
    (folder / "card.yaml").write_text(yaml.safe_dump(described))
    arguments = {
        "sheet": "samples.tsv", "card": "card.yaml", "tiles": tile_of_a_field(),
        "manifest": "out/targets.json", "counts": "out/targets.csv",
    }  # fmt: skip
    words = [f"--{name}={folder / path}" for name, path in arguments.items()]
    printed, message = command("targets", *words)
    if made.cells is None and made.message != "empty":
        assert re.search(made.message, message), message or "nothing was refused"
        assert made.file.name in message
        return
    assert message == ""
    if made.message == "empty":
        assert "show no foreground" in printed
    elif made.message:
        assert re.search(made.message.replace("cells", "objects"), printed)


def assert_mask(made: Mask, folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 4000, (48, 48)).astype(np.uint16)
    tifffile.imwrite(folder / "field.tif", pixels)
    row = {"tile_id": "t", "path": "field.tif", "mask": made.file.name, "group": "g", "labels": "a"}
    pd.DataFrame([row]).to_csv(folder / "samples.tsv", sep="\t", index=False)
    cells = {
        "segmentation": {"method": "provided", "values": made.values},
        "crop": {"size": 32, "border_cells": "keep"},
        "overlays": 0,
    }
    card = {"name": "odd", "sheet": "samples.tsv", "channels": ["nucleus"], "labels": ["a", "b"]}
    (folder / "card.yaml").write_text(yaml.safe_dump({**card, "cells": cells}))
    table = folder / "out/plausibility.csv"
    arguments = [f"--plausibility={table}", f"--overlays={folder / 'out/overlays'}"]
    printed, message = step("cells", folder, *arguments)
    if made.cells is None:
        assert re.search(made.message, message), message or "nothing was refused"
        assert made.file.name in message
        assert_targets(made, folder, card)
        return
    assert message == ""
    assert_targets(made, folder, card)
    found = pd.read_csv(table).iloc[0]
    assert found["cells"] == made.cells
    assert_logged(made.message, printed)
    if made.message:
        assert re.search(made.message, found["remark"])


def assert_folder(made: Folder) -> None:
    sheet = made.folder.parent / "samples.tsv"
    pattern = r"(?:.*/)?(?P<group>[^/]+)\.tif"
    printed, message = command("sheet", made.folder, f"--regex={pattern}", f"--output={sheet}")
    if message:
        assert made.message, message
        assert re.search(made.message, message), message
        return
    assert sorted(pd.read_csv(sheet, sep="\t")["group"]) == made.ids
    assert_logged(made.message, printed)


def assert_logged(pattern: str, printed: str) -> None:
    """Check the warnings of a command, without those of the library that reads TIFF."""
    lines = [line for line in printed.splitlines() if line.startswith("WARNING: ")]
    warned = "\n".join(line for line in lines if not line.startswith("WARNING: <tifffile"))
    if pattern:
        assert re.search(pattern, warned), warned or "no warning"
    else:
        assert warned == ""


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, tmp_path: Path) -> None:
    made: Case = CASES[name](tmp_path)
    match made:
        case Fields():
            assert_fields(made, tmp_path)
        case Mask():
            assert_mask(made, tmp_path)
        case Weights():
            assert_weights(made)
        case Folder():
            assert_folder(made)

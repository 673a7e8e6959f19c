"""Small hostile and odd files, made here: each gives the right pixels, or the right message."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from corpus_cases import CASES, Fields
from typer.testing import CliRunner

from transferscope.commands.app import app
from transferscope.errors import UserError
from transferscope.stores.tile_store import TileStore

for module in sorted(Path(__file__).parent.glob("corpus_*.py")):
    importlib.import_module(module.stem)


def command(*arguments: object) -> tuple[str, str]:
    """Run a command; return all that it prints, and the text of its refusal."""
    done = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(done.exception, UserError):
        assert done.exception.problems
        return done.output, str(done.exception)
    if done.exception is not None:
        raise done.exception
    return done.output, ""


def outputs(folder: Path, *names: str) -> list[str]:
    return [f"--{name}={folder / name}" for name in names]


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
    paths = {"sheet": "samples.tsv", "card": "card.yaml", "manifest": "out/tiles.json"}
    arguments = [f"--{key}={folder / name}" for key, name in paths.items()]
    (folder / "out").mkdir()
    printed, message = command(
        "tiles",
        *arguments,
        f"--table={folder / 'out/tiles.parquet'}",
        f"--quality={folder / 'out/quality.csv'}",
        f"--skipped={folder / 'out/skipped.tsv'}",
    )
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
    made = CASES[name](tmp_path)
    match made:
        case Fields():
            assert_fields(made, tmp_path)

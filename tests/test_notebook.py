"""The notebook of the documentation runs, and shows what it promises."""

from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient

from tile_stores import SETTINGS, card, write_tiles
from transferscope.backbones.embed import embed

N_TILES = 24


def write_study(folder: Path) -> None:
    """Write what the notebook reads: tiles of a dataset, their table and one embedding store."""
    (folder / "tiles").mkdir(parents=True)
    tiles = write_tiles(folder / "tiles", N_TILES, channels=2)
    table = pd.DataFrame({"tile_id": [f"tile{i}" for i in range(N_TILES)]})
    table["group"] = [f"group{i // 3}" for i in range(N_TILES)]
    table["labels"] = ["er", "golgi;er", ""] * (N_TILES // 3)
    table.to_parquet(folder / "tiles/cells.tiles.parquet")
    manifest = folder / "embeddings/cells/tiny/map.json"
    manifest.parent.mkdir(parents=True)
    embed(tiles, card(), "map", manifest, SETTINGS)


def test_the_notebook_opens_a_store_and_draws_a_map(repository: Path, tmp_path: Path) -> None:
    write_study(tmp_path / "study")
    notebook = nbformat.read(repository / "docs/notebooks/open-a-store.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    names = {"study": str(tmp_path / "study"), "dataset": "cells", "backbone": "tiny"}
    named = {**names, "output": "mean", "channels": "map"}
    assert cells[0].metadata["tags"] == ["parameters"]
    assert {line.partition(" = ")[0] for line in cells[0].source.splitlines()} == set(named)
    cells[0].source = "\n".join(f"{name} = {value!r}" for name, value in named.items())
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in cells for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "24 tiles, 48 features of the output mean" in printed
    assert "'green': 'protein', 'blue': 'nucleus'" in printed
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2

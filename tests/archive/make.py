"""Make the archived study of a format version: a tile store, an embedding store, score tables.

Every later version must read it (`tests/test_archive.py`), so a finished folder is never made
again. Where the layout of a store or a table changes, its version is raised, and this script
writes the next folder beside the ones that are there:

    python tests/archive/make.py tests/archive/v2

| folder | made by | of |
|---|---|---|
| v1 | transferscope 0.1.0, commit f9e6246 | stores of format version 1, scores of 2 by k-NN |
| v2 | transferscope 0.1.0, the commit of it | the same raw fields: stores of version 2 |
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from factories import CLASSES, DATASET_CARD, TINY_NETWORK, field, write_yaml

N_TILES, SIDE = 12, 24
SPLITS = '{"schemes": ["group"], "folds": {"group": 2}, "seeds": [0], "fractions": [1.0]}'
KNN = '{"settings": {"k": [1, 3]}, "fractions": [1.0]}'
CPU = '{"device": "cpu", "threads": 1, "precision": "fp32"}'


def write_inputs(folder: Path) -> None:
    """Write the raw fields, their sheet and the two cards."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(N_TILES):
        name, label = f"P{i // 2:02d}_{i % 2}", CLASSES[i // 2 % len(CLASSES)]
        image = field(rng, label, SIDE)
        tifffile.imwrite(folder / f"{name}.tif", image, metadata={"axes": "CYX"})
        rows.append((name, f"{name}.tif", name[:3], label))
    sheet = pd.DataFrame(rows, columns=["tile_id", "path", "group", "labels"])
    sheet.to_csv(folder / "samples.tsv", sep="\t", index=False)
    write_yaml(folder / "cells.yaml", {**DATASET_CARD, "sheet": "samples.tsv"})
    network = {**TINY_NETWORK, "arguments": {"depth": 1, "embed_dim": 8, "num_heads": 1}}
    write_yaml(folder / "tiny.yaml", {"name": "tiny", **network})


def make(inputs: Path, root: Path) -> None:
    """Run the steps of a study, whose folder is `root`, as the workflow does."""

    def run(step: str, *arguments: str | Path) -> None:
        subprocess.run(["transferscope", step, *map(str, arguments)], cwd=inputs, check=True)

    tiles, table = root / "tiles/cells.json", root / "tiles/cells.tiles.parquet"
    embeddings, splits = (
        root / "embeddings/cells/tiny/replicate.json",
        root / "splits/cells.parquet",
    )
    scores = root / "scores/knn/cells/tiny"
    run(
        "tiles", "--sheet", "samples.tsv", "--card", "cells.yaml", "--manifest", tiles,
        "--table", table, "--quality", root / "tiles/cells.quality.csv",
        "--skipped", root / "tiles/cells.skipped.tsv", "--workers", "1",
    )  # fmt: skip
    run(
        "embed", "--tiles", tiles, "--backbone", "tiny.yaml", "--channels", "replicate",
        "--settings", CPU, "--manifest", embeddings,
    )  # fmt: skip
    run(
        "splits", "--table", table, "--card", "cells.yaml", "--settings", SPLITS, "--splits", splits
    )
    run(
        "probe", "knn", "--embeddings", embeddings, "--representation", "tiny",
        "--channels", "replicate",
        "--table", table, "--splits", splits, "--card", "cells.yaml", "--settings", KNN,
        "--threads", "1", "--scores", scores / "replicate.parquet",
        "--predictions", scores / "replicate.predictions.parquet",
        "--halves", scores / "replicate.halves.parquet",
    )  # fmt: skip


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    if target.exists():
        sys.exit(f"{target} exists: an archived study is never made again")
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder))
        make(Path(folder), target)

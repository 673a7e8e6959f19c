"""Peak memory of the real steps at N and at 4 N rows: it should not grow with the dataset.

Probes hold one embedding matrix in float32; that much growth is meant.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import yaml
from results import Part, Table
from synthetic import CLASSES, embeddings_of, labels_of, write_embeddings, write_sheet

from transferscope.config.paths import StudyPaths
from transferscope.stores.parquet import write_parquet

TILES = 500
ROWS = 4_000
FACTOR = 4
TILE_SIDE = 256
WIDTH = 384
SEPARATION = 4.0
TILES_A_FOV, FOVS_A_GROUP = 4, 5
CHANNELS = ["nucleus", "protein"]
SPLITS = {"folds": {"group": 3, "image": 3}, "seeds": [0], "fractions": [1.0]}
FRACTIONS = [0.25, 1.0]
HEADS = {"kinds": ["linear", "logreg", "mlp"], "epochs": 2}
NETWORK = {
    "source": "timm",
    "name": "tiny",
    "architecture": "vit_tiny_patch16_224",
    "arguments": {"depth": 2, "embed_dim": 48, "num_heads": 3},
    "pretrained": False,
    "slots": [{"name": "red"}, {"name": "green", "accepts": ["protein"]}, {"name": "blue"}],
    "input_size": 32,
}
# A small program in between, because a child starts with the peak of the process that forked it.
LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
UNITS_A_MIB = 2**20 if sys.platform == "darwin" else 2**10


@dataclass(frozen=True)
class Peak:
    """Peak memory of a step in MiB, and the size of its embedding matrix in float32, in MiB."""

    peak: float
    matrix: float = 0.0


def run(folder: Path) -> Part:
    small = {**_image_steps(folder / "few", TILES), **_probe_steps(folder / "less", ROWS)}
    large = {
        **_image_steps(folder / "many", FACTOR * TILES),
        **_probe_steps(folder / "more", FACTOR * ROWS),
    }
    rows = [_cells(step, small[step], large[step]) for step in small]
    header = ["step", "peak at N", f"peak at {FACTOR} N", "growth", "less one matrix"]
    title = (
        f"Peak memory of the steps (tiles, embed: N = {TILES} tiles of 2 x {TILE_SIDE} x "
        f"{TILE_SIDE}; others: N = {ROWS:,} rows of {WIDTH}), MiB"
    )
    remark = (
        f"Import of the libraries included. Probes: both schemes, {SPLITS['folds']['group']} "
        f"folds, {len(FRACTIONS)} fractions. Predictions are written and read in parts; what grows "
        "beyond the one matrix are labels, row numbers of the divisions, and k-NN's training rows "
        "in float64."
    )
    return Part(title, tables=[Table(header, rows)], remark=remark)


def _cells(step: str, small: Peak, large: Peak) -> list[str]:
    growth = large.peak - small.peak
    matrix = large.matrix - small.matrix
    values = [small.peak, large.peak, growth, growth - matrix]
    return [step, *(f"{value:.0f}" for value in values)]


def _peak(*arguments: str | Path) -> float:
    """Run a step in a process of its own and return its peak memory in MiB."""
    return peak_of([str(Path(sys.executable).parent / "transferscope"), *map(str, arguments)])


def peak_of(command: list[str]) -> float:
    """Run a command and return its peak memory in MiB."""
    launched = [sys.executable, "-c", LAUNCHER, *command]
    done = subprocess.run(launched, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return int(done.stdout.split()[-1]) / UNITS_A_MIB


def _card(folder: Path) -> Path:
    card = {
        "name": "bench",
        "sheet": "samples.tsv",
        "channels": CHANNELS,
        "labels": CLASSES,
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    return folder / "card.yaml"


def _image_steps(folder: Path, count: int) -> dict[str, Peak]:
    """Run the steps that see pixels."""
    (folder / "raw").mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = [folder / "raw" / f"FOV{number:05d}.tif" for number in range(count)]
    for path in paths:
        image = rng.integers(100, 4000, (len(CHANNELS), TILE_SIDE, TILE_SIDE), dtype=np.uint16)
        tifffile.imwrite(path, image, metadata={"axes": "CYX"})
    sheet, card, study = write_sheet(folder, paths), _card(folder), StudyPaths(folder / "study")
    tiles = _peak(
        "tiles", "--sheet", sheet, "--card", card, "--manifest", study.tiles("bench"),
        "--table", study.tile_table("bench"), "--quality", study.quality("bench"),
        "--skipped", study.skipped("bench"),
    )  # fmt: skip
    (folder / "tiny.yaml").write_text(yaml.safe_dump(NETWORK), encoding="utf-8")
    settings = {"device": "cpu", "precision": "fp32", "threads": 2}
    embed = _peak(
        "embed", "--tiles", study.tiles("bench"), "--backbone", folder / "tiny.yaml",
        "--channels", "map", "--manifest", study.embeddings("bench", "tiny", "map"),
        "--settings", json.dumps(settings),
    )  # fmt: skip
    return {"tiles": Peak(tiles), "embed": Peak(embed)}


def _probe_steps(folder: Path, rows: int) -> dict[str, Peak]:
    """Run the steps that see embeddings."""
    folder.mkdir(parents=True)
    study, card = StudyPaths(folder / "study"), _card(folder)
    _write_synthetic_study(study, rows)
    table, splits = study.tile_table("bench"), study.splits("bench")
    matrix = rows * WIDTH * 4 / 2**20
    made = _peak(
        "splits", "--table", table, "--card", card, "--splits", splits,
        "--settings", json.dumps(SPLITS),
    )  # fmt: skip
    peaks = {"splits": Peak(made)}
    for probe, settings in (("heads", HEADS), ("knn", {})):
        peak = _peak(
            probe, "--embeddings", study.embeddings("bench", "synthetic", "map"),
            "--representation", "synthetic", "--channels", "map", "--table", table,
            "--splits", splits, "--card", card,
            "--scores", study.scores(probe, "bench", "synthetic", "map"),
            "--predictions", study.predictions(probe, "bench", "synthetic", "map"),
            "--settings", json.dumps({"fractions": FRACTIONS, "settings": settings}),
        )  # fmt: skip
        peaks[probe] = Peak(peak, matrix)
    stores = json.dumps({"bench": {"synthetic": ["map"]}})
    peak = _peak(
        "compare", "--study-folder", study.root, "--stores", stores,
        "--probe", "heads", "--probe", "knn",
    )  # fmt: skip
    return {**peaks, "compare": Peak(peak)}


def _write_synthetic_study(study: StudyPaths, rows: int) -> None:
    """Write a tile table and an embedding store; a group's tiles share their labels."""
    rng = np.random.default_rng(0)
    row = np.arange(rows)
    fov = row // TILES_A_FOV
    group = fov // FOVS_A_GROUP
    labels = labels_of(int(group[-1]) + 1, "multi-label", rng)[group]
    tile_ids = [f"tile{number:06d}" for number in row]
    table = pd.DataFrame(
        {
            "tile_id": tile_ids,
            "group": [f"P{number:05d}" for number in group],
            "labels": [";".join(np.array(CLASSES)[one]) for one in labels],
            "fov": [f"FOV{number:06d}" for number in fov],
            "batch": "",
            "source": "",
            "y": 0,
            "x": 0,
        }
    )
    write_parquet(table, study.tile_table("bench"), {"dataset": "bench"})
    values = embeddings_of(labels, WIDTH, SEPARATION, rng).astype(np.float16)
    write_embeddings(study.embeddings("bench", "synthetic", "map"), values, tile_ids)

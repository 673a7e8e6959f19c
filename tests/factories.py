"""Small raw datasets, cards and studies, as a user would lay them out."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
import yaml

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.sheets import read_sheet

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = ["nucleoplasm", "membrane", "vesicles"]
DATASET_CARD = {
    "name": "cells",
    "sheet": "raw/samples.tsv",
    "channels": ["nucleus", "protein"],
    "pixel_size_um": 0.5,
    "intensity_range": {"nucleus": [0, 4000], "protein": [0, 4000]},
    "labels": CLASSES,
}
TINY_NETWORK = {
    "source": "timm",
    "architecture": "vit_tiny_patch16_224",
    "arguments": {"depth": 2, "embed_dim": 48, "num_heads": 3},
    "pretrained": False,
    "slots": [
        {"name": "red"},
        {"name": "green", "accepts": ["protein"]},
        {"name": "blue", "accepts": ["nucleus"]},
    ],
    "input_size": 32,
    "outputs": [{"name": "cls"}, {"name": "mean", "pooling": "mean"}],
}
TRAINED = {
    **{key: value for key, value in TINY_NETWORK.items() if key != "pretrained"},
    "source": "train",
    "objective": {
        "method": "dino",
        "local_crops": 2,
        "local_size": 16,
        "output_width": 64,
        "hidden_width": 32,
        "bottleneck_width": 16,
    },
    "datasets": ["cells"],
    "epochs": 2,
    "batch_size": 8,
}
STUDY = {
    "study": "tiny",
    "datasets": ["cards/datasets/cells.yaml"],
    "backbones": ["cards/backbones/tiny.yaml", "handcrafted"],
    "channel_strategies": ["replicate", "map"],
    "splits": {
        "schemes": ["group", "image"],
        "folds": {"group": 2, "image": 2},
        "halves": 1,
        "seeds": [0],
        "fractions": [0.5, 1.0],
    },
    "heads": {"kinds": ["logreg", "mlp"], "epochs": 3, "hidden": [16, 8]},
    "knn": {"k": [1, 3]},
    "compute": {"device": "cpu", "threads": 1},
    "compare": {"bootstrap": 100},
    "figures": {"dpi": 60, "map_points": 100, "gallery": 0},
}


def field(rng: np.random.Generator, label: str, size: int = 64) -> np.ndarray:
    """Return one uint16 field [2, size, size]: a nucleus, and a protein where the label says."""
    y, x = np.mgrid[:size, :size] - size / 2 + rng.normal(0, 3, size=2)[:, None, None]
    radius = np.hypot(y, x)
    nucleus = radius < size / 5
    protein = {
        "nucleoplasm": nucleus,
        "membrane": np.abs(radius - size / 2.6) < 2,
        "vesicles": (rng.random((size, size)) > 0.97) & (radius < size / 2.6) & ~nucleus,
    }[label]
    clean = np.stack([nucleus, protein]) * rng.uniform(500, 1500) + 200
    return rng.poisson(clean).astype(np.uint16)


def write_raw(folder: Path, n_groups: int = 12, fovs_per_group: int = 3) -> Path:
    """Write TIFFs and a sample sheet; return the sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for group in range(n_groups):
        label = CLASSES[group % len(CLASSES)]
        for fov in range(fovs_per_group):
            tile_id = f"P{group:02d}_{fov}"
            tifffile.imwrite(folder / f"{tile_id}.tif", field(rng, label), metadata={"axes": "CYX"})
            row = {"tile_id": tile_id, "path": f"{tile_id}.tif", "group": f"P{group:02d}"}
            rows.append({**row, "labels": label})
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    return folder / "samples.tsv"


def write_yaml(path: Path, value: object) -> Path:
    """Write a value as YAML, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    return path


def write_study(folder: Path, **changes: object) -> Path:
    """Write raw data, cards and a study into a folder; return the folder."""
    write_raw(folder / "raw")
    write_yaml(
        folder / "cards/datasets/cells.yaml", {**DATASET_CARD, "sheet": "../../raw/samples.tsv"}
    )
    write_yaml(folder / "cards/backbones/tiny.yaml", {"name": "tiny", **TINY_NETWORK})
    write_yaml(folder / "study.yaml", {**STUDY, **changes})
    return folder


def environment() -> dict[str, str]:
    """Return an environment in which the commands of this Python come first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}


def snakemake_command(folder: Path, *arguments: str) -> list[str]:
    """Return the command that runs the workflow in a folder, with its study.yaml."""
    return [
        str(Path(sys.executable).parent / "snakemake"),
        "--snakefile",
        str(REPOSITORY / "Snakefile"),
        "--directory",
        str(folder),
        "--configfile",
        str(folder / "study.yaml"),
        "--cores",
        "2",
        *arguments,
    ]


def run_snakemake(
    folder: Path, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the workflow in a folder and return what it printed; by default it must succeed."""
    return run_command(snakemake_command(folder, *arguments), folder, check=check)


def run_command(
    command: Sequence[str], folder: Path, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and return what it printed; by default it must succeed."""
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")
    return done


def planned_jobs(folder: Path, *arguments: str) -> dict[str, int]:
    """Return how many jobs of each rule a dry run plans."""
    return jobs_in(run_snakemake(folder, "--dry-run", "--quiet=rules", *arguments))


def jobs_in(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return the table that a run begins with: how many jobs of each rule."""
    found = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
    return {name: int(count) for name, count in found if name != "total"}


def kill_group(process: "subprocess.Popen[str]") -> None:
    """Kill a process and all its children at once, as `kill -9` of the group does."""
    os.killpg(os.getpgid(process.pid), signal.SIGKILL)
    process.wait()


def sheet_problems(path: Path, card: DatasetCard, card_path: Path | None = None) -> list[Problem]:
    """Return what `read_sheet` says is wrong with a sample sheet."""
    try:
        read_sheet(path, card, card_path)
    except UserError as error:
        return error.problems
    return []

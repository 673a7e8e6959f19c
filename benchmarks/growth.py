"""How the machinery grows: jobs of a large study, and rows of a large dataset.

Tiles have two pixels, decoding and network are replaced by nothing: only the machinery is measured.
(A tile of one pixel would be refused, because it is constant.)
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile
import yaml
from memory import NETWORK, peak_of
from results import Part, Row, Table

from transferscope.backbones import embed as embedding
from transferscope.backbones import filling
from transferscope.cards import DatasetCard, HandcraftedCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.paths import StudyPaths
from transferscope.raw import file_checks
from transferscope.raw.images import FieldHeader, read_field_header
from transferscope.tiles import build, decoding

BACKBONES, STRATEGIES, DATASETS = 200, ["replicate", "map", "map-random"], 3
SIZES = (10_000, 100_000, 1_000_000)
FILES, TILES_A_GROUP = 200, 20
CHANNELS, CLASSES, WIDTH = ["nucleus", "protein"], ["one", "two", "three"], 8
SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"
STUDY = {
    "study": "growth",
    "datasets": ["cards/data0.yaml"],
    "backbones": ["handcrafted"],
    "channel_strategies": ["map"],
    "strategy_seeds": [0],
    "splits": {"folds": {"group": 2, "image": 2}},
}
DATASET = {
    "channels": CHANNELS,
    "labels": CLASSES,
    "intensity_range": {channel: [0, 4000] for channel in CHANNELS},
}


def run(folder: Path) -> Part:
    rows = [_many_jobs(folder / "jobs"), *_many_rows(folder / "rows")]
    filled = {size: _fill(folder / f"fill{size}", size) for size in SIZES}
    return Part(
        "Growth: the machinery alone, without decoding and networks",
        rows=[*rows, *_growth(filled)],
        tables=[_table(filled)],
    )


def _many_jobs(folder: Path) -> Row:
    for number in range(DATASETS):
        _write_dataset(folder, number, 600)
    for number in range(BACKBONES):
        card = {**NETWORK, "name": f"net{number}", "seed": number}
        _write_yaml(folder / f"cards/net{number}.yaml", card)
    study = {
        **STUDY,
        "datasets": [f"cards/data{number}.yaml" for number in range(DATASETS)],
        "backbones": [f"cards/net{number}.yaml" for number in range(BACKBONES)],
        "channel_strategies": STRATEGIES,
    }
    _write_yaml(folder / "study.yaml", study)
    _dry_run(folder)  # builds each network once, to check its card
    seconds, jobs = _dry_run(folder)
    what = f"Dry run of {BACKBONES} backbones x {len(STRATEGIES)} strategies x {DATASETS} datasets"
    return Row(what, "", f"{seconds:.1f} s", seconds, "<= 10", f"{jobs:,} jobs; ratio: seconds")


def _many_rows(folder: Path) -> list[Row]:
    _write_dataset(folder, 0, SIZES[-1])
    _write_yaml(folder / "study.yaml", STUDY)
    first, _ = _dry_run(folder)
    again, _ = _dry_run(folder)
    what = f"Dry run of a study of {SIZES[-1]:,} tiles"
    return [
        Row(what, "", f"{first:.1f} s", first, "<= 30", "the first; ratio: seconds"),
        Row(what, "", f"{again:.1f} s", again, "<= 30", "again; ratio: seconds"),
    ]


def _dry_run(folder: Path) -> tuple[float, int]:
    """Return the seconds of a dry run, and how many jobs it plans."""
    command = [
        str(Path(sys.executable).parent / "snakemake"),
        *("--snakefile", str(SNAKEFILE), "--configfile", "study.yaml", "--cores", "2"),
        *("--dry-run", "--quiet", "rules"),
    ]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"the dry run failed:\n{done.stdout}{done.stderr}")
    total = next(line for line in done.stdout.splitlines() if line.startswith("total"))
    return seconds, int(total.split()[1])


def _write_dataset(folder: Path, number: int, rows: int) -> None:
    """Write a few raw files, a sheet that names them again and again, and a card."""
    raw = folder / f"raw{number}"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(number)
    for file in range(min(FILES, rows)):
        image = rng.integers(1, 4000, (len(CHANNELS), 1, 2), dtype=np.uint16)
        tifffile.imwrite(raw / f"{file:03d}.tif", image, metadata={"axes": "CYX"})
    row = np.arange(rows)
    group = row // TILES_A_GROUP
    table = {
        "tile_id": [f"tile{one:07d}" for one in row],
        "path": [f"{one % FILES:03d}.tif" for one in row],
        "group": [f"P{one:06d}" for one in group],
        "labels": [CLASSES[one % len(CLASSES)] for one in group],
    }
    pd.DataFrame(table).to_csv(raw / "samples.tsv", sep="\t", index=False)
    card = {**DATASET, "name": f"data{number}", "sheet": f"../raw{number}/samples.tsv"}
    card["duplicates"] = "warn"
    _write_yaml(folder / f"cards/data{number}.yaml", card)


def _write_yaml(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def _fill(folder: Path, rows: int) -> dict[str, dict[str, float]]:
    """Fill a tile store and an embedding store; return microseconds a tile, and peak MiB."""
    _write_dataset(folder, 0, rows)
    found = {}
    for step in ("tiles", "embed"):
        script = str(Path(__file__).resolve())
        peak = peak_of([sys.executable, script, step, str(folder)])
        seconds = json.loads((folder / f"{step}.json").read_text(encoding="utf-8"))
        found[step] = {"microseconds": seconds / rows * 1e6, "peak": peak}
    return found


def _growth(filled: dict[int, dict[str, dict[str, float]]]) -> list[Row]:
    few, many = SIZES[0], SIZES[-1]
    return [
        Row(
            f"`{step}`, time a tile, {many:,} tiles against {few:,}",
            f"{filled[few][step]['microseconds']:.0f} us",
            f"{filled[many][step]['microseconds']:.0f} us",
            filled[many][step]["microseconds"] / filled[few][step]["microseconds"],
            "<= 1.2",
        )
        for step in ("tiles", "embed")
    ]


def _table(filled: dict[int, dict[str, dict[str, float]]]) -> Table:
    rows = [
        [step, f"{size:,}", f"{found[step]['microseconds']:.0f}", f"{found[step]['peak']:.0f}"]
        for step in ("tiles", "embed")
        for size, found in filled.items()
    ]
    return Table(["step", "tiles", "us a tile", "peak, MiB"], rows)


# In a process of its own, so that its memory is its own ---------------------------------------


class NoNetwork:
    """An embedder that computes nothing."""

    def identity(self) -> dict[str, Any]:
        """Return what the values depend on."""
        return {"backbone": "none"}

    def columns(self) -> list[dict[str, Any]]:
        """Return what the columns hold."""
        return [{"output": "none", "channel": None, "start": 0, "stop": WIDTH}]

    def attributes(self) -> dict[str, Any]:
        """Nothing more."""
        return {}

    def decide(self, _: npt.NDArray[Any]) -> dict[str, Any]:
        """Store as float16."""
        return {"dtype": "float16"}

    def kept(self, decision: dict[str, Any], sample: Iterable[Any]) -> list[dict[str, Any]]:
        """Measure nothing."""
        return []

    def start(self, decision: dict[str, Any]) -> None:
        """Prepare nothing."""

    def __call__(self, tiles: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return ones."""
        return np.ones((len(tiles), WIDTH), dtype=np.float32)

    def close(self) -> None:
        """Give nothing back."""


def fill_tiles(folder: Path) -> None:
    card = DatasetCard.model_validate({**DATASET, "name": "data0", "sheet": "samples.tsv"})
    sheet, paths = folder / "raw0" / "samples.tsv", StudyPaths(folder / "study")
    header = read_field_header([sheet.parent / "000.tif"], card)
    image = np.arange(2 * len(CHANNELS), dtype=np.uint16).reshape(len(CHANNELS), 1, 2) + 1

    def no_header(*_: object, **__: object) -> FieldHeader:
        return header

    def no_decoding(*_: object, **__: object) -> npt.NDArray[np.uint16]:
        return image

    file_checks.read_field_header, decoding.decode_field = no_header, no_decoding
    build.make_tiles(
        sheet,
        card,
        manifest=paths.tiles("data0"),
        tile_table=paths.tile_table("data0"),
        quality=paths.quality("data0"),
        skipped=paths.skipped("data0"),
    )


def fill_embeddings(folder: Path) -> None:
    paths = StudyPaths(folder / "study")
    filling.embedder_for = lambda *_: NoNetwork()
    embedding.embed(
        paths.tiles("data0"),
        HandcraftedCard(name="none", source="handcrafted"),
        "agnostic",
        paths.embeddings("data0", "none", "map"),
        ComputeSettings(),
    )


def main() -> None:
    step, folder = sys.argv[1], Path(sys.argv[2])
    start = time.perf_counter()
    {"tiles": fill_tiles, "embed": fill_embeddings}[step](folder)
    seconds = time.perf_counter() - start
    (folder / f"{step}.json").write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    main()

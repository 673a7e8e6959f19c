"""Reading tiles for an embedding job whose network costs nothing, against plain Zarr.

The plain way is a Zarr array with the library's own defaults, one chunk per tile, read in batches
of the same size, without a check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tifffile
import torch
import zarr
from results import Part, Row
from synthetic import write_fields
from timing import Timed, in_turns, ratio
from torch import Tensor
from torch.nn.functional import interpolate

from transferscope.backbones.embed import OnePass
from transferscope.backbones.embedder import Embedder, Tiles, decision
from transferscope.backbones.filling import StoreFilling
from transferscope.backbones.preprocessing import Preprocessor
from transferscope.backbones.reduced_tiles import reduce_tiles
from transferscope.cards import DatasetCard, Normalization
from transferscope.config.compute import ComputeSettings
from transferscope.stores import chunk_files
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.store import open_tile_store
from transferscope.transport.zarr_stores import portable_codecs

FIELDS, TILES = 48, 384
SIDE, SIZE = 600, 224
BATCH = 32
ROUNDS = 15
LOW, HIGH = 100.0, 2500.0
CARD = {"name": "bench", "sheet": "none", "channels": ["nucleus", "protein"], "labels": ["a", "b"]}
SETTINGS = ComputeSettings(device="cpu", batch_size=BATCH, threads=2)


class NoNetwork(Embedder):
    """Returns the first pixels of each tile."""

    batch_size = BATCH

    def identity(self) -> dict[str, Any]:
        return {}

    def columns(self) -> list[dict[str, Any]]:
        return [{"output": "pixels", "channel": None, "start": 0, "stop": 8}]

    def attributes(self) -> dict[str, Any]:
        return {}

    def decide(self, sample: Tiles) -> dict[str, Any]:
        return decision("fp32", "float32")

    def kept(self, decision: dict[str, Any], sample: Any) -> list[dict[str, Any]]:
        return []

    def start(self, decision: dict[str, Any]) -> None:
        pass

    def __call__(self, tiles: Tiles, siblings: Sequence[Embedder] = ()) -> Any:
        return tiles[:, 0, 0, :8].astype(np.float32)

    def close(self) -> None:
        pass


def run(folder: Path) -> Part:
    torch.set_num_threads(1)
    fields = [tifffile.imread(path) for path in write_fields(folder, FIELDS, None)]
    manifest = folder / "tiles.json"
    write_store(manifest, fields)
    store = TileStore(manifest)
    with portable_codecs():
        images = zarr.open_group(folder / "plain.zarr", mode="w").create_array(
            "images", data=store.read(0, TILES), chunks=(1, 2, SIDE, SIDE)
        )
    raw = torch.from_numpy(np.stack(fields[:8]))
    start = time.process_time()
    reduce_tiles(manifest, SIZE, folder / "reduced.json")
    once = (time.process_time() - start) / TILES
    reduced = TileStore(folder / "reduced.json")
    core: dict[str, list[float]] = {"ours": [], "unchecked": []}
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: _plain(images),
        "ours": lambda: _filled(store, folder, core["ours"]),
        "unchecked": lambda: _unchecked(store, folder, core["unchecked"]),
        "plain resize": lambda: _in_core_time(lambda: _plain_resize(raw)),
        "our resize": lambda: _in_core_time(lambda: _preprocessor().resize(raw)),
        "whole": lambda: _prepared(store),
        "reduced": lambda: _prepared(reduced),
    }
    in_turns(ways, 1)  # warms caches, and the memory that is kept
    timed = in_turns(ways, ROUNDS)
    difference = (timed["our resize"].result - timed["plain resize"].result).abs().max()
    if difference > 1e-5:
        raise AssertionError(f"resized tiles differ by {difference}")
    return Part(
        f"Reading tiles ({TILES} of 2 x {SIDE} x {SIDE} uint16, page cache warm, no network)",
        [*_read_rows(timed, core), _resize_row(timed, len(raw)), _reduced_row(timed, folder, once)],
    )


def _read_rows(timed: dict[str, Timed], core_seconds: dict[str, list[float]]) -> list[Row]:
    plain, ours, unchecked = (timed[name] for name in ("plain", "ours", "unchecked"))
    gigabytes = TILES * 2 * SIDE**2 * 2 / 1e9
    core = {name: float(np.median(seconds)) for name, seconds in core_seconds.items()}
    pairs = zip(core_seconds["ours"], core_seconds["unchecked"], strict=True)
    checking = float(np.median([checked / without for checked, without in pairs]))
    return [
        Row(
            "embedding job with checks, all cores",
            f"plain `zarr`, batches of {BATCH}: {TILES / plain.median:,.0f} tiles/s",
            f"{TILES / ours.median:,.0f} tiles/s",
            ratio(plain, ours),
            ">= 2",
            f"{gigabytes / ours.median:.1f} GB/s of pixels",
        ),
        Row(
            "the same per core",
            "",
            f"{gigabytes / core['ours']:.1f} GB/s of pixels a core",
            gigabytes / core["ours"],
            ">= 2",
            "the ratio is the GB/s themselves",
        ),
        Row(
            "core time of the same job without any check",
            f"unchecked {core['unchecked'] * 1e3 / TILES:.2f} core ms a tile",
            f"checked {core['ours'] * 1e3 / TILES:.2f} core ms a tile",
            checking,
            "<= 1.1",
            f"wall: {ratio(ours, unchecked):.2f}",
        ),
    ]


def _resize_row(timed: dict[str, Timed], count: int) -> Row:
    plain, ours = timed["plain resize"], timed["our resize"]
    return Row(
        f"resize and scale, {SIDE} to {SIZE} px, one core (time: lower is better)",
        f"`interpolate` {plain.median * 1e3 / count:.2f} ms a tile",
        f"{ours.median * 1e3 / count:.2f} ms a tile",
        1 / ratio(plain, ours),
        "<= 0.5",
        "antialiased bicubic; equal to 1e-5",
    )


def _reduced_row(timed: dict[str, Timed], folder: Path, seconds_once: float) -> Row:
    whole, reduced = timed["whole"], timed["reduced"]
    share = _bytes(folder / "reduced.zarr") / _bytes(folder / "tiles.zarr")
    return Row(
        f"read, check, resize and scale, one core: kept once more at {SIZE} px (`reduced_tiles`)",
        f"the tiles themselves: {whole.median * 1e3 / TILES:.2f} core ms a tile",
        f"{reduced.median * 1e3 / TILES:.2f} core ms a tile",
        ratio(whole, reduced),
        "",
        f"{seconds_once * 1e3:.1f} core ms a tile once; {share:.0%} of the tiles' bytes",
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def write_store(manifest: Path, fields: Sequence[Tiles]) -> None:
    store = open_tile_store(
        manifest,
        DatasetCard.model_validate(CARD),
        ids=[f"tile{number}" for number in range(TILES)],
        tile_shape=(2, SIDE, SIDE),
        dtype=np.dtype(np.uint16),
        pixel_size_um=None,
        made_from="bench",
    )
    for block, start, stop in store.missing():
        rows = range(start, stop)
        store.write_block(block, np.stack([fields[row % len(fields)] for row in rows]))
    store.finish(manifest)


def _plain(images: Any) -> None:
    for start in range(0, TILES, BATCH):
        images[start : start + BATCH]


def _filled(store: TileStore, folder: Path, core_seconds: list[float]) -> Timed:
    """Fill a new store; return the seconds that takes, and add its core seconds to a list."""
    path = folder / f"{time.perf_counter_ns()}.zarr"
    job = StoreFilling(store, NoNetwork(), path, SETTINGS, TILES, "bench")
    with OnePass(job) as filling:
        filling.start()
        start, core = time.perf_counter(), time.process_time()
        filling.fill()
    core_seconds.append(time.process_time() - core)
    return Timed([time.perf_counter() - start])


def _unchecked(store: TileStore, folder: Path, core_seconds: list[float]) -> Timed:
    with _without_checks():
        return _filled(store, folder, core_seconds)


@contextmanager
def _without_checks() -> Iterator[None]:
    class NoSum:
        value = staticmethod(lambda content: chunk_files.SOUND)

    with mock.patch.object(chunk_files, "google_crc32c", NoSum):
        yield


def _prepared(store: TileStore) -> Timed:
    """Bring all tiles to the size and the scale of a network; return the core seconds it takes."""
    preprocessor = _preprocessor()
    start = time.process_time()
    for first in range(0, TILES, BATCH):
        preprocessor.resize(torch.from_numpy(store.read(first, min(first + BATCH, TILES))))
    return Timed([time.process_time() - start])


def _in_core_time(work: Callable[[], Tensor]) -> Timed:
    start = time.process_time()
    result = work()
    return Timed([time.process_time() - start], result)


def _preprocessor() -> Preprocessor:
    limits = np.array([[LOW, HIGH]] * 2, dtype=np.float32)
    normalization = Normalization(mean=[0.5], std=[0.5])
    return Preprocessor(["nucleus", "protein"], limits, SIZE, normalization, 3)


def _plain_resize(raw: Tensor) -> Tensor:
    # Each channel has limits of its own, and may be empty.
    low, high = (torch.full((1, 2, 1, 1), limit) for limit in (LOW, HIGH))
    pixels = torch.minimum(torch.maximum(raw.to(torch.float32), low), high)
    small = interpolate(pixels, (SIZE, SIZE), mode="bicubic", antialias=True)
    return torch.where(high > low, (small - low) / (high - low), 0.0)

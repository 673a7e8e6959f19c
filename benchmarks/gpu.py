"""Measure a GPU: product of matrices, network, reader and whole job of embeddings; probes.

Nothing is installed, downloaded or written; weights and tiles are random. It prints tables and ends
within five minutes, or says in a sentence that there is no GPU.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from gpu_probes import probes
from results import Part, Table
from torch.utils.flop_counter import FlopCounterMode

from transferscope.backbones import embed as embedding
from transferscope.backbones import network_embedder
from transferscope.backbones.embed import OnePass
from transferscope.backbones.embedder import Tiles
from transferscope.backbones.filling import ARRAY, StoreFilling
from transferscope.backbones.network_embedder import NetworkEmbedder
from transferscope.backbones.reduced_tiles import reduce_tiles
from transferscope.cards import BackboneCard, DatasetCard, TimmCard
from transferscope.config.compute import ComputeSettings
from transferscope.runtime.allocator import keep_freed_memory
from transferscope.stores.block_store import BlockStore, attributes_of
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.store import open_tile_store

NETWORKS = {"ViT-S/16": "vit_small_patch16_224", "ViT-B/16": "vit_base_patch16_224"}
# Side of the tiles in px, and that to which they were reduced -> how many: a second or more each.
TILES = {(256, None): 16_384, (600, None): 3_072, (600, 224): 16_384}
# Different tiles of a store; their copies are compressed and read as any others are.
DIFFERENT = 64
CHANNELS = ["nucleus", "protein"]
PEAK_SIDE = 8192
REPEATS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a trial")
    parser.add_argument("--share", type=float, default=1.0, help="share of the tiles, for a trial")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("Nothing was measured: torch finds no GPU on this machine.", file=sys.stderr)
        return
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore", category=UserWarning)
    keep_freed_memory()  # as every command does
    with tempfile.TemporaryDirectory(prefix="transferscope-bench-") as folder:
        print(run(Path(folder), arguments.device, arguments.share).markdown(), flush=True)
    print(f"\n{probes(arguments.device, arguments.share).markdown()}")


def run(folder: Path, device: str, share: float = 1.0) -> Part:
    """Return the tables of one device; fewer tiles, and small products, for a trial."""
    name = torch.cuda.get_device_name() if device == "cuda" else "processor"
    peak = peak_rate(device, PEAK_SIDE if share == 1 else 512)
    rows = []
    for (side, reduced), count in TILES.items():
        n_tiles = max(2 * DIFFERENT, round(count * share))
        tiles, said = written(folder, n_tiles, side, reduced)
        reader = n_tiles / _seconds(lambda path=tiles: _read(path))
        for network, architecture in NETWORKS.items():
            row = _row(folder, tiles, network, architecture, device, peak, reader, n_tiles)
            rows.append([*row[:2], said, *row[2:]])
            print(f"{network}, {said}: {rows[-1][-3]} images/s", file=sys.stderr, flush=True)
    header = ["network", "format", "tile", "reader alone", "network alone", "share of the peak"]
    header += ["whole job", "of the network's rate", "waiting for data"]
    cores = len(os.sched_getaffinity(0))
    title = f"Embedding on a GPU: {name}, {cores} cores, torch {torch.__version__}"
    remark = f"Images per second, 2 channels of uint16. Product in bf16: {peak:.2f} TFLOP/s."
    return Part(title, tables=[Table(header, rows)], remark=remark)


def _row(
    folder: Path,
    tiles: Path,
    network: str,
    architecture: str,
    device: str,
    peak: float,
    reader: float,
    n_tiles: int,
) -> list[str]:
    card, settings = card_of(architecture), settings_of(device)
    waited: list[float] = []
    manifest = folder / f"{tiles.stem}-{architecture}.json"
    rows = settings.block_rows
    job = StoreFilling.of(tiles, card, "map", manifest, settings, Path("x.yaml"), rows)
    # Random weights tell such tiles apart by less than bf16 rounds: here only the speed counts.
    trusted = mock.patch.object(network_embedder, "LEAST_AGREEMENT", -1.0)
    with OnePass(job) as filling, _waiting(waited), trusted:
        filling.start()
        alone, operations = network_rate(job.embedder)
        precision = str(attributes_of(job.store_path)["precision"])
        # Once to begin with: a job of this length is over before pinned memory is there.
        filling.fill()
        store = BlockStore(job.store_path, ARRAY)
        for block, _, _ in store.blocks():
            store.forget(block)
        waited.clear()
        seconds = _seconds(filling.fill)
    whole = n_tiles / seconds
    return [
        network,
        precision,
        f"{reader:,.0f}",
        f"{alone:,.0f}",
        f"{alone * operations / (peak * 1e12):.0%}",
        f"{whole:,.0f}",
        f"{whole / alone:.0%}",
        f"{sum(waited) / seconds:.0%}",
    ]


def peak_rate(device: str, side: int) -> float:
    """Return TFLOP/s of a product of two square matrices in bf16."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = _repeated(lambda: a @ b, device)
    return 2 * side**3 / seconds / 1e12


def network_rate(embedder: Any) -> tuple[float, float]:
    """Return images per second of the network alone, and its operations per image."""
    own: NetworkEmbedder = embedder
    size, on_gpu = own.card.input_size, own.device.type == "cuda"
    batch = own.batch_size if on_gpu else 8
    images = torch.rand(batch, own.assignment.n_inputs, size, size, device=own.device)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            own.backbone(images[:1])
        seconds = _repeated(lambda: own.backbone(images), own.device.type)
    return batch / seconds, float(counter.get_total_flops())


def card_of(architecture: str) -> BackboneCard:
    """Return a card with random weights."""
    slots = [{"name": name} for name in CHANNELS]
    return TimmCard(
        source="timm",
        name="bench",
        architecture=architecture,
        pretrained=False,
        input_size=224,
        slots=slots,
        normalization={"mean": [0.5], "std": [0.25]},
    )


def settings_of(device: str) -> ComputeSettings:
    """Return settings of a job; bf16, as every GPU of today takes it."""
    return ComputeSettings(device=device, precision="bf16")


def written(folder: Path, n_tiles: int, side: int, reduced: int | None) -> tuple[Path, str]:
    """Write a store of tiles, or of reduced ones; return its manifest, and what it holds."""
    tiles = folder / f"tiles{side}.json"
    if reduced is None:
        _write(tiles, _drawn(side), n_tiles)
        return tiles, f"{side} px"
    few, smaller = folder / "few.json", folder / "smaller.json"
    _write(few, _drawn(side), DIFFERENT)
    reduce_tiles(few, reduced, smaller)
    copied = folder / f"tiles{side}to{reduced}.json"
    _write(copied, TileStore(smaller).read(0, DIFFERENT), n_tiles)
    return copied, f"{side} px, reduced to {reduced} once"


def _drawn(side: int) -> Tiles:
    """Return tiles with a dark background, blobs and noise, as a camera gives them."""
    rng = np.random.default_rng(0)
    tiles = rng.poisson(120, (DIFFERENT, len(CHANNELS), side, side))
    centres = rng.integers(0, side - side // 8, (DIFFERENT, 2))
    for tile, (y, x) in zip(tiles, centres, strict=True):
        tile[:, y : y + side // 8, x : x + side // 8] += rng.poisson(900, (side // 8, side // 8))
    return tiles.astype(np.uint16)


def _write(manifest: Path, different: Tiles, n_tiles: int) -> None:
    """Write a store of copies of some tiles."""
    card = DatasetCard.model_validate(
        {
            "name": "bench",
            "sheet": "none.csv",
            "channels": CHANNELS,
            "labels": ["a", "b"],
            "intensity_range": {name: [100, 1500] for name in CHANNELS},
        }
    )
    _, *tile_shape = different.shape
    store = open_tile_store(
        manifest,
        card,
        ids=[f"tile{number}" for number in range(n_tiles)],
        tile_shape=tuple(tile_shape),
        dtype=np.dtype(np.uint16),
        pixel_size_um=None,
        made_from="bench",
    )
    for block, start, stop in store.missing():
        store.write_block(block, different[np.arange(start, stop) % len(different)])
    store.finish(manifest)


def _read(manifest: Path) -> None:
    store, step = TileStore(manifest), 128
    buffer = np.empty((step, *store.manifest.shape[1:]), store.array.dtype)
    for start in range(0, len(store), step):
        stop = min(start + step, len(store))
        store.read(start, stop, out=buffer[: stop - start])


@contextmanager
def _waiting(seconds: list[float]) -> Iterator[None]:
    """Note how long each read but the first keeps the loop waiting."""
    prefetched = embedding.prefetched

    def timed(*arguments: Any) -> Iterator[Any]:
        reads = prefetched(*arguments)
        yield next(reads)
        while True:
            start = time.perf_counter()
            try:
                found = next(reads)
            except StopIteration:
                return
            seconds.append(time.perf_counter() - start)
            yield found

    with mock.patch.object(embedding, "prefetched", timed):
        yield


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _repeated(work: Callable[[], Any], device: str) -> float:
    """Return the seconds of one of several repetitions, after one that is not counted."""
    repeats = REPEATS if device == "cuda" else 2
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    work()
    wait()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait()
    return (time.perf_counter() - start) / repeats


if __name__ == "__main__":
    main()

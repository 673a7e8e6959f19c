"""Five channel strategies of one backbone: one pass over the tiles against a pass for each.

The network returns a few values of its input at once, so that what is counted is reading, checking,
decoding and resizing. Times are seconds of the processor: the machine may be shared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import tifffile
import torch
from results import Part, Row
from synthetic import write_fields
from tile_read import FIELDS, SIDE, SIZE, TILES, write_store
from timing import Timed, in_turns, ratio
from torch import Tensor

from transferscope.backbones.embed import OnePass
from transferscope.backbones.filling import StoreFilling
from transferscope.backbones.preprocessing import Preprocessor
from transferscope.backbones.readout import Backbone
from transferscope.cards import BackboneCard, TimmCard
from transferscope.channels.assignment import Pass
from transferscope.config.compute import ComputeSettings

STRATEGIES = ("replicate", "map", "map-random-0", "map-random-1", "adapt")
CARD = {
    "source": "timm",
    "name": "bench",
    "architecture": "vit_tiny_patch16_224",
    "arguments": {"depth": 1, "embed_dim": 48, "num_heads": 3},
    "pretrained": False,
    "input_size": SIZE,
    "slots": [
        {"name": "red", "accepts": ["nucleus"]},
        {"name": "green", "accepts": ["protein"]},
        {"name": "blue"},
    ],
    "normalization": {"mean": [0.5], "std": [0.25]},
}
SETTINGS = ComputeSettings(device="cpu", precision="fp32", threads=1)
ROUNDS = 3


def run(folder: Path) -> Part:
    torch.set_num_threads(1)
    fields = [tifffile.imread(path) for path in write_fields(folder, FIELDS, None)]
    tiles = folder / "tiles.json"
    write_store(tiles, fields)
    card = TimmCard.model_validate(CARD)

    def jobs(*passes: Sequence[str]) -> Callable[[], Timed]:
        return lambda: Timed([sum(_core_seconds(tiles, folder, card, one) for one in passes)])

    with ExitStack() as stack:
        _without_network(stack)
        ways = {
            "one": jobs(STRATEGIES[:1]),
            "five": jobs(STRATEGIES),
            "apart": jobs(*([one] for one in STRATEGIES)),
        }
        with mock.patch.object(Preprocessor, "fill", _nothing_filled):
            in_turns(ways, 1)
            bare = in_turns(ways, ROUNDS)
        filled = in_turns(ways, ROUNDS)
    return Part(
        f"Five channel strategies in one pass ({TILES} of 2 x {SIDE} x {SIDE} uint16, no network)",
        [
            _row("five against one: read, check, decode, resize", bare["one"], bare["five"], "1.3"),
            _row("the same, and the slots of six inputs filled", filled["one"], filled["five"]),
            _row("five separate jobs against one pass", filled["five"], filled["apart"]),
        ],
    )


def _row(what: str, plain: Timed, ours: Timed, most: str = "") -> Row:
    figures = [f"{timed.median * 1e3 / TILES:.2f} core ms a tile" for timed in (plain, ours)]
    return Row(what, *figures, ratio(ours, plain), f"<= {most}" if most else "")


def _core_seconds(
    tiles: Path, folder: Path, card: BackboneCard, strategies: Sequence[str]
) -> float:
    """Fill new stores in one pass; return the seconds of the processor that takes."""
    where = folder / str(time.perf_counter_ns())
    own, *also = strategies
    manifests = {strategy: where / f"{strategy}.json" for strategy in also}
    job = StoreFilling.of(tiles, card, own, where / f"{own}.json", SETTINGS, Path("x.yaml"), TILES)
    with OnePass(job, manifests) as filling:
        filling.start()
        core = time.process_time()
        filling.fill()
        return time.process_time() - core


def _without_network(stack: ExitStack) -> None:
    def forward(self: Backbone, images: Tensor, filled: Any = None) -> list[Tensor]:
        return [images[:, 0, 0, :48].contiguous()]

    stack.enter_context(mock.patch.object(Backbone, "forward", forward))


def _nothing_filled(self: Preprocessor, resized: Tensor, one: Pass) -> Tensor:
    return resized

"""How fast each ready network is on one core, next to a ViT-S/16: images per second, and the ratio.

Weights are random, which takes the same time as trained ones; nothing is downloaded. Seconds are
those that a core spends on this process, so that waiting for others does not count, and a network
and the ViT-S/16 run in turns, so that what others do to caches slows both down.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import Timed, in_turns

from transferscope.backbones.networks import fresh_network
from transferscope.backbones.readout import Backbone
from transferscope.cards import BackboneCard
from transferscope.config.model import read_model
from transferscope.costs.networks import network_cost
from transferscope.runtime.progress import progress_bar

REFERENCE = "vit-small-random"
BATCH = 2
ROUNDS = 2
HEADER = [
    [
        "card",
        "GFLOP per image",
        "images per core and second",
        "`vit-small-random` (ViT-S/16 at 112 px) is so many times faster",
    ],
    ["---"] * 4,
]
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="page that holds the table")
    parser.add_argument(
        "--most", type=float, default=2000, help="GFLOP per image that are measured"
    )
    parser.add_argument("--only", nargs="+", help="cards to measure; the other rows are kept")
    parser.add_argument("--cards", type=Path, default=Path("resources/backbones"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cards = published(arguments.cards)
    if arguments.only:
        cards = [(card, path) for card, path in cards if card.name in arguments.only]
    measured = rows_of(arguments.output) if arguments.only else {}
    reference = forward(read_model(arguments.cards / f"{REFERENCE}.yaml", BackboneCard))
    with progress_bar("Timing networks", len(cards), "cards") as bar:
        for card, path in cards:
            cost = network_cost(card, path)
            gflop = cost.operations / 1e9 if cost else 0.0
            speed = ["", ""] if gflop > arguments.most else speed_of(card, reference)
            measured[card.name] = [f"`{card.name}`", f"{gflop:.0f}", *speed]
            write(arguments.output, measured)  # a run that is ended keeps what it has measured
            bar.update()


def rows_of(page: Path) -> dict[str, list[str]]:
    """Return name of a card -> cells of its row in the table of a page."""
    table = page.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.strip().split("\n")]
    return {cells[0].strip("`"): cells for cells in rows[len(HEADER) :]}


def write(page: Path, measured: dict[str, list[str]]) -> None:
    """Replace the table of a page."""
    rows = [*HEADER, *(measured[name] for name in sorted(measured))]
    lines = [BEGIN, *(f"| {' | '.join(cells)} |" for cells in rows), END]
    text = page.read_text(encoding="utf-8")
    text = re.sub(f"{BEGIN}.*{END}", lambda _: "\n".join(lines), text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")


def published(folder: Path) -> list[tuple[Any, Path]]:
    """Return the cards of networks with published weights that are built from a name."""
    paths = sorted(folder.glob("*.yaml"))
    cards: list[tuple[Any, Path]] = [(read_model(path, BackboneCard), path) for path in paths]
    networks = [(c, path) for c, path in cards if c.is_network and not c.trained_here]
    return [(c, path) for c, path in networks if c.needs_weights and c.has_architecture]


def forward(card: Any) -> Callable[[], Timed]:
    """Return what embeds some images of noise with a card's network and random weights."""
    backbone = Backbone(fresh_network(card, 0), card.outputs[:1]).eval().requires_grad_(False)
    images = torch.rand(BATCH, len(card.slots), card.input_size, card.input_size)

    def run() -> Timed:
        start = time.process_time()
        with torch.inference_mode():
            backbone(images)
        return Timed([time.process_time() - start])

    return run


def speed_of(card: Any, reference: Callable[[], Timed]) -> list[str]:
    """Return images per second, and how many times as many the reference makes."""
    timed = in_turns({"reference": reference, "network": forward(card)}, ROUNDS)
    # The first round also builds what the library keeps for later ones.
    least = {name: min(found.seconds) for name, found in timed.items()}
    slower = least["network"] / least["reference"]
    return [f"{float(f'{value:.2g}'):g}" for value in (BATCH / least["network"], slower)]


if __name__ == "__main__":
    main()

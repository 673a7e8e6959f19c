"""How fast each ready network is on one core, next to a ViT-S/16: images per second, and the ratio.

Weights are random, which takes the same time as trained ones; nothing is downloaded. A network and
the ViT-S/16 run in turns, so that another load on the machine slows both down.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import in_turns

from transferscope.backbones.networks import fresh_network
from transferscope.backbones.readout import Backbone
from transferscope.cards import BackboneCard
from transferscope.config.model import read_model
from transferscope.costs.networks import network_cost
from transferscope.runtime.progress import progress_bar

REFERENCE = "vit-small-random"
# So many images of the ViT-S/16 take about as long as one of a larger network.
OF_REFERENCE = 4
ROUNDS = 2
HEADER = [
    ["card", "GFLOP per image", "images/s", "a ViT-S/16 at 224 px is so many times faster"],
    ["---"] * 4,
]
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="page that holds the table")
    parser.add_argument("--most", type=float, default=70, help="GFLOP per image, to be measured")
    parser.add_argument("--cards", type=Path, default=Path("resources/backbones"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cards = published(arguments.cards)
    reference = forward(read_model(arguments.cards / f"{REFERENCE}.yaml", BackboneCard))
    measured: list[list[str]] = []
    with progress_bar("Timing networks", len(cards), "cards") as bar:
        for card, path in cards:
            cost = network_cost(card, path)
            gflop = cost.operations / 1e9 if cost else 0.0
            speed = ["", ""] if gflop > arguments.most else speed_of(card, reference)
            measured.append([f"`{card.name}`", f"{gflop:.0f}", *speed])
            bar.update()
    table = [BEGIN, *(f"| {' | '.join(cells)} |" for cells in [*HEADER, *measured]), END]
    page = arguments.output.read_text(encoding="utf-8")
    page = re.sub(f"{BEGIN}.*{END}", lambda _: "\n".join(table), page, flags=re.DOTALL)
    arguments.output.write_text(page, encoding="utf-8")


def published(folder: Path) -> list[tuple[Any, Path]]:
    """Return the cards of networks with published weights that are built from a name."""
    paths = sorted(folder.glob("*.yaml"))
    cards: list[tuple[Any, Path]] = [(read_model(path, BackboneCard), path) for path in paths]
    networks = [(c, path) for c, path in cards if c.is_network and not c.trained_here]
    return [(c, path) for c, path in networks if c.needs_weights and c.has_architecture]


def forward(card: Any) -> Callable[[int], None]:
    """Return what embeds so many images of noise with a card's network and random weights."""
    backbone = Backbone(fresh_network(card, 0), card.outputs[:1]).eval().requires_grad_(False)
    size, channels = card.input_size, len(card.slots)

    def run(n: int) -> None:
        with torch.inference_mode():
            backbone(torch.rand(n, channels, size, size))

    run(1)
    return run


def speed_of(card: Any, reference: Callable[[int], None]) -> list[str]:
    """Return images per second, and how many times as many the reference makes."""
    network = forward(card)
    timed = in_turns(
        {"reference": lambda: reference(OF_REFERENCE), "network": lambda: network(1)}, ROUNDS
    )
    least = {name: min(found.seconds) for name, found in timed.items()}
    slower = least["network"] * OF_REFERENCE / least["reference"]
    return [f"{1 / least['network']:.2g}", f"{slower:.2g}"]


if __name__ == "__main__":
    main()

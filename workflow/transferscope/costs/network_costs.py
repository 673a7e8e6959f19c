"""What one image costs each backbone, kept in a file: no job has to build a network to know it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from transferscope.cards import NetworkCard, TrainCard
from transferscope.checkpoints.sources import stamp
from transferscope.config.model import PROSE
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.fingerprint import fingerprint

# Asked for once: it is read from a file, and a study may have hundreds of networks.
TIMM_VERSION = version("timm")
CACHE = Path(".snakemake") / "transferscope" / "costs.json"
# Hand-crafted features: seconds a tile and channel on one core, measured on the demo study.
HANDCRAFTED_SECONDS = 0.03
HANDCRAFTED_WIDTH = 200


@dataclass(frozen=True)
class NetworkCost:
    """What a backbone needs.

    Parameters
    ----------
    operations
        Floating-point operations of one image in one pass; a multiply-add counts as two.
    parameters
        Number of weights.
    width
        Features that one pass gives, all outputs together.
    """

    operations: int
    parameters: int
    width: int


def training_operations(card: TrainCard, cost: NetworkCost, n_tiles: int) -> float:
    """Return the operations of a whole training on so many tiles."""
    return card.objective.passes * cost.operations * card.epochs * n_tiles


class KnownCosts:
    """Costs that were found before a run, by network; equal networks share one entry.

    Parameters
    ----------
    path
        A JSON file; damaged or absent, it means that nothing is known yet.
    """

    def __init__(self, path: Path = CACHE) -> None:
        self._path = path
        self._costs: dict[str, NetworkCost | None] = {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self._costs = {key: cost and NetworkCost(**cost) for key, cost in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            pass

    def of(self, card: NetworkCard, card_path: Path) -> NetworkCost | None:
        """Return the cost of a network at its own input size; None where it is not known."""
        return self._costs.get(_key(card, card_path))

    def learn(
        self, card: NetworkCard, card_path: Path, find: Callable[[], NetworkCost | None]
    ) -> None:
        """Find and keep the cost of a network, unless that was done before."""
        key = _key(card, card_path)
        if key in self._costs:
            return
        self._costs[key] = find()
        plain = {key: cost and asdict(cost) for key, cost in self._costs.items()}
        try:
            write_atomically(self._path, json.dumps(plain, indent=1, sort_keys=True))
        except OSError:
            # A read-only folder only costs time: it is found again at the next start.
            return


def _key(card: NetworkCard, card_path: Path) -> str:
    network = card.model_dump(mode="json", exclude={*PROSE, "name"})
    return fingerprint([TIMM_VERSION, network, stamp(card, card_path)])

"""The cost of one image in each backbone, kept in a file so that no job builds a network for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from transferscope.cards import NetworkCard, TrainCard
from transferscope.checkpoints.sources import stamp
from transferscope.config.model import PROSE
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.json_cache import JsonCache

# A constant, because it is read from a file, and a study may have hundreds of networks.
TIMM_VERSION = version("timm")
CACHE = Path(".snakemake") / "transferscope" / "costs.json"
# Hand-crafted features: seconds per tile and channel on one core, measured on the demo study.
HANDCRAFTED_SECONDS = 0.03
HANDCRAFTED_WIDTH = 200
# Keys of a card in which equal networks may differ, as the cells of a grid do.
NOT_OF_THE_NETWORK = ("seed", "data_fraction", "steps", "epochs", "grid", "optimiser")


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a backbone.

    Parameters
    ----------
    operations
        Floating-point operations of one image in one pass; a multiply-add counts as two.
    parameters
        Number of weights.
    width
        Features per pass, over all outputs.
    """

    operations: int
    parameters: int
    width: int


def training_operations(card: TrainCard, cost: NetworkCost, n_tiles: int) -> float:
    """Return the floating-point operations of a whole training."""
    n_images = card.epochs * n_tiles if card.steps is None else card.steps * card.batch_size
    return card.objective.passes * cost.operations * n_images


class KnownCosts(JsonCache):
    """Costs of networks, computed before a run; equal networks share one entry.

    Parameters
    ----------
    path
        The JSON file.
    """

    def __init__(self, path: Path = CACHE) -> None:
        super().__init__(path, lambda cost: cost and NetworkCost(**cost))

    def of(self, card: NetworkCard, card_path: Path) -> NetworkCost | None:
        """Return the cost of a network at its own input size; None: unknown."""
        return self.values.get(_key(card, card_path))

    def learn(
        self, card: NetworkCard, card_path: Path, find: Callable[[], NetworkCost | None]
    ) -> None:
        """Compute and keep the cost of a network that is not known yet."""
        key = _key(card, card_path)
        if key not in self.values:
            self.put(key, find())


def _key(card: NetworkCard, card_path: Path) -> str:
    network = card.model_dump(mode="json", exclude={*PROSE, "name", *NOT_OF_THE_NETWORK})
    return fingerprint([TIMM_VERSION, network, stamp(card, card_path)])

"""Sizes of the data and the networks of a study, from which needs and estimates are computed.

This module does not import torch, because each job of a cluster uses it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from transferscope.cards import BackboneCard, NetworkCard
from transferscope.channels.assignment import assign
from transferscope.config.channel_strategies import GIVEN
from transferscope.config.probed import Probed
from transferscope.costs.fields import Fields, expected_fields
from transferscope.costs.network_costs import HANDCRAFTED_WIDTH, KnownCosts, NetworkCost
from transferscope.errors import UserError
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, TILES_FORMAT, Manifest
from transferscope.study.reductions import reduced_side
from transferscope.study.study import Study

# Assumed for a network whose size is unknown before it is fetched: a ViT-L/16 at 224 px.
UNKNOWN_COST = NetworkCost(operations=123 * 10**9, parameters=304 * 10**6, width=1024)


def find_cost(card: NetworkCard, card_path: Path) -> NetworkCost | None:
    """Return the cost of a network, from shapes alone; None: it cannot be known from these."""
    # Imports torch and timm: only for a network whose cost is not in the cache.
    from transferscope.costs.networks import network_cost

    try:
        return network_cost(card, card_path)
    except Exception:  # the card is checked elsewhere: an unknown cost is not an error in it
        return None


class Sizes:
    """Numbers of tiles, features, operations and bytes of a study; each is computed once.

    Parameters
    ----------
    study
        The study.
    costs
        Costs of its networks; None: as computed by the checks before the run.
    online
        Whether public sources may be queried over the network.
    """

    def __init__(
        self, study: Study, costs: KnownCosts | None = None, *, online: bool = False
    ) -> None:
        self.study = study
        self._costs = costs
        # Bound to the object, so that they are freed with it.
        self.fields = lru_cache(None)(lambda name: expected_fields(study, name, online=online))
        self.tiles = lru_cache(None)(self._tiles)
        self.known_cost = lru_cache(None)(self._known_cost)
        self.store = lru_cache(None)(self._store)

    def field_bytes(self, dataset: str) -> int:
        """Return the size of a raw field in memory."""
        found: Fields = self.fields(dataset)
        return found.tile_shape[0] * math.prod(found.field_shape) * found.bytes_per_pixel

    def raw_bytes(self, dataset: str) -> int:
        """Return the size of all raw fields in memory."""
        return self.field_bytes(dataset) * int(self.fields(dataset).n_fields)

    def cost(self, dataset: str, backbone: str, channels: str) -> tuple[NetworkCost | None, int]:
        """Return the cost of one pass over a tile, if it is known, and the passes per tile.

        Operations are proportional to the pixels of the input, and, for a network that takes any
        channels, to their number.
        """
        card: Any = self.card(backbone)  # one with a network
        assignment = assign(channels, self.study.datasets[dataset].card.channels, card.named_slots)
        cost = self.known_cost(backbone)
        if cost is None:
            return None, len(assignment.passes)
        size = self._enlargement(card, dataset)
        if card.takes_any_channels:
            size *= assignment.n_inputs / len(card.slots)
        operations = math.ceil(cost.operations * size)
        return replace(cost, operations=operations), len(assignment.passes)

    def probed(self, probed: Probed) -> tuple[int, int]:
        """Return the numbers of rows and columns that a probe reads."""
        return self.store(probed.dataset, probed.backbone, probed.stored_channels)

    def card(self, backbone: str) -> BackboneCard:
        """Return the card of a backbone."""
        return self.study.backbones[backbone].card

    def _tiles(self, dataset: str) -> tuple[int, tuple[int, ...]]:
        """Return the number and the shape of a dataset's tiles: as written, or else as expected."""
        if self.study.is_table(dataset):
            n_rows, _ = self._given(dataset, self.study.datasets[dataset].card.feature_sets[0])
            return n_rows, (0, 0, 0)
        try:
            n_tiles, *shape = Manifest.read(self.study.paths.tiles(dataset), TILES_FORMAT).shape
            return n_tiles, tuple(shape)
        except UserError:
            found = self.fields(dataset)
            return found.n_tiles, found.tile_shape

    def embedded(self, dataset: str, backbone: str) -> tuple[int, tuple[int, ...]]:
        """Return the number and the shape of the tiles that a backbone embeds."""
        n_tiles, shape = self.tiles(dataset)
        side = reduced_side(self.study, dataset, backbone)
        return n_tiles, shape if side is None else (shape[0], side, side)

    def _given(self, dataset: str, name: str) -> tuple[int, int]:
        """Return rows and columns of a set of given features: as written, or as in the table."""
        try:
            path = self.study.paths.embeddings(dataset, name, GIVEN)
            n_rows, width = Manifest.read(path, EMBEDDINGS_FORMAT).shape
        except UserError:
            given = self.study.given(dataset)
            return len(given.table), given.widths[name]
        return n_rows, width

    def _known_cost(self, backbone: str) -> NetworkCost | None:
        """Return the cost of a network at its own input size; None: unknown."""
        costs = self._costs = self._costs or KnownCosts()
        located = self.study.backbones[backbone]
        return costs.of(located.card, located.path) if located.card.is_network else None

    def _enlargement(self, card: NetworkCard, dataset: str) -> float:
        """Return the pixels of an input, relative to those of the card's input size."""
        found: Fields = self.fields(dataset)
        if card.scale == "fit" or card.pixel_size_um is None or found.pixel_size_um is None:
            return 1.0
        side = found.tile_shape[1] * found.pixel_size_um / card.pixel_size_um
        return float((side / card.input_size) ** 2)

    def _store(self, dataset: str, backbone: str, channels: str) -> tuple[int, int]:
        """Return the numbers of rows and columns of one output of a store."""
        if self.study.is_table(dataset):
            return self._given(dataset, backbone)
        n_tiles, _ = self.tiles(dataset)
        card = self.card(backbone)
        if not card.is_network:
            return n_tiles, HANDCRAFTED_WIDTH
        cost, passes = self.cost(dataset, backbone, channels)
        width = (cost or UNKNOWN_COST).width
        return n_tiles, passes * width // len(card.output_names)

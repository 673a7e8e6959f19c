"""The tiles of a pretraining, of one dataset or several: batches by step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.config.jobs import Pretraining, TrainingSource
from transferscope.errors import Problem, UserError
from transferscope.pretraining.leakage import fraction_of, groups_left_out, numbered, visible_rows
from transferscope.pretraining.methods.base import Batch
from transferscope.runtime.devices import moved
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.manifest import digest_of_ids
from transferscope.stores.origin import check_tiles
from transferscope.stores.parquet import read_tile_table
from transferscope.stores.tile_store import TileStore
from transferscope.training.order import BatchOrder
from transferscope.training.reading import BatchReader
from transferscope.training.tiles import TrainingTiles, scaled

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingDataset:
    """What a training sees of one dataset.

    Parameters
    ----------
    name
        Name of the dataset.
    tiles
        The tiles that it may see.
    groups, labels
        Of each of these tiles; labels joined by `;`, empty where it has none.
    content
        sha256 over the pixels of the whole store.
    n_groups_left_out
        Number of its groups that the training may not see.
    """

    name: str
    tiles: TrainingTiles
    groups: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    content: str
    n_groups_left_out: int

    @classmethod
    def read(
        cls,
        source: TrainingSource,
        left_out: Collection[str],
        least: int = 1,
        fraction: float = 1.0,
        seed: int = 0,
    ) -> TrainingDataset:
        """Read a dataset, without the groups that are left out.

        Parameters
        ----------
        source
            Where it is.
        left_out
            Names of groups.
        least
            Tiles that have to remain.
        fraction, seed
            Fraction of the remaining groups, and seed of the order in which they are taken.

        Raises
        ------
        UserError
            Where store and table do not agree, or nothing is left.
        """
        table = read_tile_table(source.table)
        store = TileStore(source.tiles)
        check_tiles(source.table, table, store, source.dataset)
        rows = visible_rows(table, left_out)
        if fraction < 1:
            groups = table["group"].iloc[rows]
            taken = fraction_of(groups.tolist(), fraction, seed, source.dataset)
            rows = rows[groups.isin(taken).to_numpy()]
        if len(rows) < least:
            what = f"{len(rows)} tiles are left to train on, once the test groups are left out"
            raise UserError(Problem(str(source.tiles), what, "Set exclude_test_groups to false."))
        return cls(
            name=source.dataset,
            tiles=TrainingTiles.open(source.tiles, rows),
            groups=table["group"].to_numpy()[rows],
            labels=table["labels"].to_numpy()[rows],
            content=store.content_sha256,
            n_groups_left_out=len(set(table["group"]) & set(left_out)),
        )

    def identity(self) -> dict[str, Any]:
        """Return what the weights depend on."""
        return {
            "name": self.name,
            "content": self.content,
            "tiles": digest_of_ids(self.tiles.tile_id),
            "groups": digest_of_ids(self.groups.tolist()),
            "intensity_range": self.tiles.intensity_range.tolist(),
        }

    def seen(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        groups = sorted(set(self.groups))
        return {
            "n_tiles": len(self.tiles),
            "n_groups": len(groups),
            "groups_sha256": digest_of_ids(groups),
            **({"n_groups_left_out": self.n_groups_left_out} if self.n_groups_left_out else {}),
        }


def training_datasets(
    settings: Pretraining, fraction: float = 1.0, seed: int = 0
) -> list[TrainingDataset]:
    """Read the datasets of a training, all without the test groups of all evaluated datasets.

    Parameters
    ----------
    settings
        The datasets, and what is evaluated.
    fraction, seed
        Fraction of the groups of each dataset, and seed of the order in which they are taken.

    Raises
    ------
    UserError
        Where a table cannot be read, store and table do not agree, or nothing is left.
    """
    left_out, least = groups_left_out(settings), settings.training.processes
    return [
        TrainingDataset.read(source, left_out, least, fraction, seed) for source in settings.sources
    ]


class Batches:
    """Batches by step; each is of one dataset, and an epoch shows every tile of each once.

    Parameters
    ----------
    datasets
        The datasets.
    batch_size
        Tiles per step, over all processes.
    seed
        Seed of the order.
    rank, world_size
        This process, and how many there are.
    device
        Where batches go.
    whole_batches
        See `BatchOrder`.
    """

    def __init__(
        self,
        datasets: Sequence[TrainingDataset],
        batch_size: int,
        seed: int,
        *,
        rank: int,
        world_size: int,
        device: torch.device,
        whole_batches: bool = False,
    ) -> None:
        self.datasets = list(datasets)
        self._orders = [
            BatchOrder(
                len(each.tiles),
                batch_size,
                seed,
                rank=rank,
                world_size=world_size,
                whole_batches=whole_batches,
            )
            for each in datasets
        ]
        self._seed, self._device = seed, device
        number = numbered(group for each in datasets for group in each.groups)
        self.n_groups = len(number)
        self._groups = [np.array([number[group] for group in each.groups]) for each in datasets]
        self.reader = BatchReader(self._read)

    @property
    def batch_size(self) -> int:
        """Tiles per step; fewer than requested where the largest dataset has fewer."""
        return max(order.batch_size for order in self._orders)

    @property
    def steps_an_epoch(self) -> int:
        """Steps that show each tile once."""
        return sum(order.steps_an_epoch for order in self._orders)

    def place(self, step: int) -> tuple[int, IntArray]:
        """Return which dataset a step sees, and which of its tiles."""
        epoch, position = divmod(step, self.steps_an_epoch)
        counts = [order.steps_an_epoch for order in self._orders]
        turns = np.repeat(np.arange(len(counts)), counts)
        turns = derive_rng(self._seed, "datasets", epoch).permutation(turns)
        chosen = int(turns[position])
        before = int((turns[:position] == chosen).sum())
        return chosen, self._orders[chosen].rows(epoch * counts[chosen] + before)

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step, on the device."""
        chosen, rows, raw = self.reader(step)
        tiles = self.datasets[chosen].tiles
        groups = torch.from_numpy(self._groups[chosen][rows])
        return Batch(
            images=scaled(moved(raw, self._device), tiles.intensity_range),
            channels=tuple(tiles.channels),
            groups=groups.to(self._device),
            dataset=chosen,
        )

    def _read(self, step: int) -> tuple[int, IntArray, Tensor]:
        chosen, rows = self.place(step)
        return chosen, rows, self.datasets[chosen].tiles.batch(rows)

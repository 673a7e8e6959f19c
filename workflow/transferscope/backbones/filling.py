"""What fills an embedding store: its tiles, its network, and how it is opened or created.

The store is filled block by block, by `embed`. What was decided at its start (number format,
assignment) is written into it, so that a killed job resumes exactly as it began.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferscope.backbones import VERSION
from transferscope.backbones.ablated_tiles import AblatedTiles, TileChange
from transferscope.backbones.embedder import Embedder, Embeddings, Tiles
from transferscope.backbones.scale import card_for_tiles
from transferscope.cards import BackboneCard
from transferscope.channels.assignment import assign
from transferscope.config.compute import ComputeSettings
from transferscope.errors import Problem, UserError
from transferscope.runtime.fingerprint import fingerprint
from transferscope.stores.block_store import BlockStore, attributes_of
from transferscope.stores.conversion import convert_folder
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, refuse_newer, store_of
from transferscope.stores.tile_store import TileStore

logger = logging.getLogger(__name__)

ARRAY = "embeddings"
# Tiles on which the number format is tried out, spread evenly over the dataset.
SAMPLE_TILES = 8
# Tiles on which it is measured what a reduced format does to neighbours: one in `MEASURED_OF`.
LEAST_MEASURED, MOST_MEASURED, MEASURED_OF = 32, 256, 100
# Of these, how many are in memory at once.
PART_TILES = 32
# Attribute of the store with the result.
NEIGHBOURS_KEPT = "neighbours_kept"
SHOWN_IDS = 10


@dataclass(frozen=True)
class StoreFilling:
    """Everything needed to fill one embedding store.

    Parameters
    ----------
    source
        The tiles.
    embedder
        What turns them into rows.
    store_path
        Folder of the embedding store.
    settings
        Device, number format, batch size and threads.
    block_rows
        Rows per block.
    description
        For progress bar and log.
    """

    source: TileStore
    embedder: Embedder
    store_path: Path
    settings: ComputeSettings
    block_rows: int
    description: str

    @classmethod
    def of(
        cls,
        tiles: Path,
        card: BackboneCard,
        strategy: str,
        manifest: Path,
        settings: ComputeSettings,
        card_path: Path | None,
        block_rows: int,
        change: TileChange | None = None,
    ) -> StoreFilling:
        """Read the tiles' store and build the network; see `embed.embed`."""
        source = TileStore(tiles) if change is None else AblatedTiles(tiles, change)
        path = card_path or Path(f"{card.name}.yaml")
        embedder = embedder_for(card, path, source, strategy, settings)
        named = "" if change is None else f", {change.ablation.name}"
        description = f"{tiles.stem}: {card.name}, {strategy}{named}"
        return cls(source, embedder, store_of(manifest), settings, block_rows, description)

    def sibling(self, strategy: str, manifest: Path) -> StoreFilling | None:
        """Return the same for another channel strategy, with the same network; None: without one.

        Raises
        ------
        UserError
            Where the backbone cannot serve that strategy.
        """
        if (embedder := self.embedder.sibling(strategy)) is None:
            return None
        path = store_of(manifest)
        return replace(self, embedder=embedder, store_path=path, description=strategy)

    def start(self, own: range | None = None) -> BlockStore:
        """Open the store to resume it, or create it, and start the embedder as it was.

        Parameters
        ----------
        own
            The blocks that this job fills, where several share the store; None: all.
        """
        found = attributes_of(self.store_path) if self.store_path.exists() else {}
        refuse_newer(self.store_path, found.get("version"))
        if found.get("recipe") == self.recipe and _is_whole(found.get("decision"), found):
            convert_folder(self.store_path, ARRAY, self.source)
            decision = found["decision"]
        else:
            sample = _sample(self.source)
            decision = self.embedder.decide(sample)
            decision["compiled"] = self.embedder.compiles(decision, sample, len(self.source))
            parts = _parts(self.source, measured_tiles(len(self.source)))
            decision[NEIGHBOURS_KEPT] = self.embedder.kept(decision, parts)
        self.embedder.start(decision)
        return self._open(decision, own)

    @property
    def recipe(self) -> str:
        """Digest of what an embedding depends on besides its tile."""
        return fingerprint(
            {
                "intensity_range": self.source.intensity_range.tolist(),
                "precision": self.settings.precision,
                "protocol": VERSION,
                "columns": self.embedder.columns(),
                **self.embedder.identity(),
                **self._change(),
            }
        )

    def _change(self) -> dict[str, Any]:
        """Return what is done to the tiles of the store; nothing, if that is none."""
        source = self.source
        return source.change.identity(source) if isinstance(source, AblatedTiles) else {}

    @property
    def fingerprint(self) -> str:
        """Digest of what the store depends on."""
        tiles = self.source.manifest
        return fingerprint([self.recipe, tiles.content_sha256, tiles.ids_sha256])

    def _open(self, decision: dict[str, Any], own: range | None) -> BlockStore:
        source, columns = self.source, self.embedder.columns()
        widths = {c["stop"] - c["start"] for c in columns}
        total, n_tiles = columns[-1]["stop"], len(source)
        return BlockStore.open_or_create(
            self.store_path,
            format=EMBEDDINGS_FORMAT,
            array=ARRAY,
            fingerprint=self.fingerprint,
            shape=(n_tiles, total),
            dtype=decision["dtype"],
            block_rows=self.block_rows,
            width=widths.pop() if len(widths) == 1 else None,
            ids=source.tile_ids,
            attributes={
                "columns": columns,
                "requested_precision": self.settings.precision,
                "protocol": VERSION,
                **source.origin,
                **({} if source.dataset is None else {"dataset": source.dataset}),
                **self.embedder.attributes(),
                **self._change(),
                **decision,
                "decision": decision,
            },
            recipe=self.recipe,
            source=source,
            own=own,
        )

    def checked(self, values: Embeddings, store: BlockStore, block: int) -> npt.NDArray[Any]:
        """Return a block in the type of the store.

        Raises
        ------
        UserError
            If a value is not finite there.
        """
        return _checked(values, store, self.source, block)

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the store."""
        return -(-len(self.source) // self.block_rows)

    def close(self) -> None:
        """Release what the embedder took."""
        self.embedder.close()


def embedder_for(
    card: BackboneCard,
    card_path: Path,
    source: TileStore,
    strategy: str,
    settings: ComputeSettings,
) -> Embedder:
    """Return what turns the tiles of a store into rows, as a card and a strategy say.

    Raises
    ------
    UserError
        Where tiles, card, weights or channels do not fit.
    """
    if source.reduced_to is not None and not card.reads_reduced(source.reduced_to):
        what = f"tiles reduced to {source.reduced_to} px do not show {card.name} what it is to see"
        fix = (
            "Give the tiles themselves: its input is neither of that side nor of at most half of "
            "it, or its card needs their own pixels."
        )
        raise UserError(Problem(str(source.manifest_path), what, fix))
    if not card.is_network:
        from transferscope.backbones.handcrafted import HandcraftedEmbedder

        return HandcraftedEmbedder(card, source.channels, source.intensity_range, settings.threads)
    from transferscope.backbones.network_embedder import NetworkEmbedder

    card = card_for_tiles(card, card_path, source.tile_size, source.pixel_size_um)
    assignment = assign(strategy, source.channels, card.named_slots)
    tiles = source.channels, source.intensity_range
    shape = source.manifest.shape[1:]
    clip = source.clip_range
    return NetworkEmbedder(card, card_path, *tiles, assignment, settings, shape, clip)


def measured_tiles(n_tiles: int) -> int:
    """Return the number of tiles on which the effect of the number format is measured.

    One tile in a hundred, in both formats, costs little; in small stores, that time is little.

    Examples
    --------
    >>> [measured_tiles(n) for n in (10, 500, 10_000, 1_000_000)]
    [10, 32, 100, 256]
    """
    return min(n_tiles, MOST_MEASURED, max(LEAST_MEASURED, n_tiles // MEASURED_OF))


def _is_whole(decision: Any, found: dict[str, Any]) -> bool:
    """Return whether a decision in a store's attributes is undamaged: they hold it twice."""
    return isinstance(decision, dict) and all(
        found.get(key, value) == value for key, value in decision.items()
    )


def _sample(source: TileStore) -> Tiles:
    """Return a few tiles, spread evenly over the store: neighbours are of one field."""
    return next(_parts(source, SAMPLE_TILES))


def _parts(source: TileStore, n_tiles: int) -> Iterator[Tiles]:
    """Yield tiles spread evenly over the store, `PART_TILES` at a time."""
    rows = np.unique(np.linspace(0, len(source) - 1, n_tiles).round().astype(int))
    for start in range(0, len(rows), PART_TILES):
        part = rows[start : start + PART_TILES]
        yield np.concatenate([source.read(int(row), int(row) + 1) for row in part])


def _checked(
    values: Embeddings, store: BlockStore, source: TileStore, block: int
) -> npt.NDArray[Any]:
    """Return a block in the type of the store, if every value is finite there."""
    with np.errstate(over="ignore"):
        rounded = values.astype(store.array.dtype)
    bad = np.flatnonzero(~np.isfinite(rounded).all(axis=1))
    if not bad.size:
        return rounded
    start = store.blocks()[block][1]
    ids = [source.tile_ids[start + row] for row in bad]
    shown = ", ".join(ids[:SHOWN_IDS])
    if len(ids) > SHOWN_IDS:
        shown += f" and {len(ids) - SHOWN_IDS} more"
    if np.isfinite(values).all():
        what = f"embeddings are too large for {store.array.dtype}: {shown}"
        fix = "Look at these tiles: their embeddings are far larger than those of the others."
    else:
        what = f"embeddings are not finite: {shown}"
        fix = "Look at these tiles; if they are in order, set compute.precision to fp32."
    raise UserError(Problem(str(store.path), what, fix))

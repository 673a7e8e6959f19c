"""The embedding step: every tile of a store through one backbone, into an embedding store.

The store is filled block by block. What was decided at its start (number format, assignment) is
written into it, so that a killed job resumes exactly as it began.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from transferscope.backbones import VERSION
from transferscope.backbones.embedder import Embedder, Embeddings, Rows, Tiles
from transferscope.backbones.scale import card_for_tiles
from transferscope.cards import BackboneCard
from transferscope.channels.assignment import assign
from transferscope.config.compute import READ_BUFFERS, ComputeSettings, rows_per_read
from transferscope.errors import Problem, UserError
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import EMBEDDING_BLOCK_ROWS, BlockStore, attributes_of
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

Item = TypeVar("Item")
Result = TypeVar("Result")


def embed(
    tiles: Path,
    card: BackboneCard,
    strategy: str,
    manifest: Path,
    settings: ComputeSettings,
    *,
    card_path: Path | None = None,
    block_rows: int = EMBEDDING_BLOCK_ROWS,
) -> None:
    """Embed every tile with one backbone and one channel strategy.

    Parameters
    ----------
    tiles
        Manifest of the tile store.
    card
        The backbone.
    strategy
        Channel strategy; see `channels.assign`.
    manifest
        Manifest to write; the embedding store lies next to it.
    settings
        Device, number format, batch size and threads.
    card_path
        File of the card, to which the path of its weights is relative; None: the working folder.
    block_rows
        Rows that a killed job may lose.

    Raises
    ------
    UserError
        Where tiles, card, weights or channels do not fit, or an embedding is not finite.
    """
    job = StoreFilling.of(tiles, card, strategy, manifest, settings, card_path, block_rows)
    try:
        store = job.start()
        job.fill(store, store.missing())
    finally:
        job.close()
    store.finish(manifest)


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
    ) -> StoreFilling:
        """Read the tiles' store and build the network; the arguments are those of `embed`."""
        source = TileStore(tiles)
        path = card_path or Path(f"{card.name}.yaml")
        embedder = _embedder_for(card, path, source, strategy, settings)
        description = f"{tiles.stem}: {card.name}, {strategy}"
        return cls(source, embedder, store_of(manifest), settings, block_rows, description)

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
            decision = self.embedder.decide(_sample(self.source))
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
            }
        )

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
                "tiles_sha256": source.manifest.content_sha256,
                "tile_size": list(source.tile_size),
                "tile_pixel_size_um": source.pixel_size_um,
                # Published tiles have the name of another study's dataset.
                **({} if source.is_remote else {"dataset": source.attributes.get("dataset")}),
                **self.embedder.attributes(),
                **decision,
                "decision": decision,
            },
            recipe=self.recipe,
            source=source,
            own=own,
        )

    @property
    def n_blocks(self) -> int:
        """Number of blocks of the store."""
        return -(-len(self.source) // self.block_rows)

    def fill(self, store: BlockStore, missing: Sequence[tuple[int, int, int]]) -> None:
        """Embed blocks that are missing, each given by number, start row and stop row."""
        if not missing:
            return
        source, sizes = self.source, [stop - start for _, start, stop in missing]
        if done := store.rows - sum(stop - start for _, start, stop in store.missing()):
            logger.info("%s: going on after %d of %d tiles", self.description, done, store.rows)
        step = rows_per_read(self.embedder.batch_size, source.manifest.shape[1:])
        spans = [
            (block, first, min(first + step, stop), stop)
            for block, start, stop in missing
            for first in range(start, stop, step)
        ]
        parts: list[Rows] = []
        with progress_bar(self.description, sum(sizes), "images") as bar:
            most = max(last - first for _, first, last, _ in spans)
            reads = self._reads([(first, last) for _, first, last, _ in spans], most)
            for (block, first, last, stop), raw in zip(spans, reads, strict=True):
                parts.append(self.embedder(raw))
                bar.update(last - first)
                if last == stop:
                    values = _checked(self.embedder.collected(parts), store, source, block)
                    start = store.blocks()[block][1]
                    store.write_block(block, values, source.source_of(start, stop))
                    parts = []

    def _reads(self, places: Sequence[tuple[int, int]], most_rows: int) -> Iterator[Tiles]:
        """Yield the tiles of each place (start, stop), valid until the next; read ahead."""
        source, embedder = self.source, self.embedder
        if source.reads_in_turn:
            yield from prefetched(lambda place: source.read(*place), places)
            return
        shape = (most_rows, *source.manifest.shape[1:])
        buffers = [embedder.buffer(shape, source.array.dtype) for _ in range(READ_BUFFERS)]

        def read(number: int) -> Tiles:
            (start, stop), buffer = places[number], buffers[number % READ_BUFFERS]
            embedder.wait(buffer)
            return source.read(start, stop, out=buffer[: stop - start])

        yield from prefetched(read, range(len(places)), READ_BUFFERS - 1)

    def close(self) -> None:
        """Release what the embedder took."""
        self.embedder.close()


def _embedder_for(
    card: BackboneCard,
    card_path: Path,
    source: TileStore,
    strategy: str,
    settings: ComputeSettings,
) -> Embedder:
    if not card.is_network:
        from transferscope.backbones.handcrafted import HandcraftedEmbedder

        return HandcraftedEmbedder(card, source.channels, source.intensity_range, settings.threads)
    from transferscope.backbones.network_embedder import NetworkEmbedder

    card = card_for_tiles(card, card_path, source.tile_size, source.pixel_size_um)
    assignment = assign(strategy, source.channels, card.named_slots)
    return NetworkEmbedder(
        card, card_path, source.channels, source.intensity_range, assignment, settings
    )


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


def prefetched(
    read: Callable[[Item], Result], items: Sequence[Item], ahead: int = 1
) -> Iterator[Result]:
    """Yield `read(item)` for each item in order, while threads read the next `ahead` ones."""
    with ThreadPoolExecutor(ahead, thread_name_prefix="reader") as reader:
        coming = deque(reader.submit(read, item) for item in items[:ahead])
        for item in items[ahead:]:
            ready = coming.popleft()
            coming.append(reader.submit(read, item))
            yield ready.result()
        while coming:
            yield coming.popleft().result()


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

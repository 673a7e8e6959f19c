"""The embedding step: every tile of a store through one backbone, into its embedding stores.

Each channel strategy has a store, a job and a manifest of its own. Of these siblings, the job that
comes first reads, checks and resizes each tile once and fills the blocks of all of them; the others
find their blocks there, check them and write their manifests. Jobs that run at the same time claim
each block of each store, so that none is computed or written twice.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from transferscope.backbones.ablated_tiles import TileChange
from transferscope.backbones.embedder import Embeddings, Rows, Tiles
from transferscope.backbones.filled import finish_filled, remove_note, request_of, write_note
from transferscope.backbones.filling import StoreFilling
from transferscope.cards import BackboneCard
from transferscope.config.compute import READ_BUFFERS, ComputeSettings, rows_per_read
from transferscope.errors import UserError
from transferscope.runtime.claims import Claims
from transferscope.runtime.locks import exclusive
from transferscope.runtime.progress import progress_bar
from transferscope.stores.block_store import EMBEDDING_BLOCK_ROWS, BlockStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, Manifest, manifest_of, store_of

logger = logging.getLogger(__name__)

# Number of a block, its first row, and the row behind its last.
Block = tuple[int, int, int]

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
    also: Mapping[str, Path] | None = None,
    change: TileChange | None = None,
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
        Rows of a block: a killed job may lose one, and what is computed of the next.
    also
        Other channel strategies and the manifests that jobs of their own write: blocks of their
        stores are filled, too, where they are missing.
    change
        What is done to the tiles before; None: nothing.

    Raises
    ------
    UserError
        Where tiles, card, weights or channels do not fit, or an embedding is not finite.
    """
    path = card_path or Path(f"{card.name}.yaml")
    # What the stores of changed tiles are made from, their notes do not say.
    noted = also and change is None
    request = request_of(tiles, card, path, settings, block_rows) if noted else None
    if request is not None:
        with starting(store_of(manifest)):
            if finish_filled(manifest, strategy, request):
                return
    job = StoreFilling.of(tiles, card, strategy, manifest, settings, path, block_rows, change)
    with OnePass(job, also) as filling:
        filling.start()
        filling.fill()
        if request is not None:
            filling.note(request)
        filling.finish(manifest)


@dataclass(frozen=True, eq=False)
class Part:
    """One store that is being filled.

    Parameters
    ----------
    job
        What fills it.
    store
        The store.
    claims
        The blocks that this process writes.
    """

    job: StoreFilling
    store: BlockStore
    claims: Claims

    @property
    def width(self) -> int:
        """Columns of the store."""
        return int(self.store.array.shape[1])

    def claimed(self, block: int, *, wait: bool = False) -> bool:
        """Claim a block that is missing; return whether it is, and no other process has it."""
        if not self.claims.take(block, wait=wait):
            return False
        if self.store.is_done(block):
            self.claims.release(block)
            return False
        return True


@dataclass(frozen=True)
class Span:
    """Tiles that are read at once, rows [start, stop), and what becomes of them.

    Parameters
    ----------
    start, stop
        The rows.
    block
        The block that they belong to, with its rows.
    parts
        The stores in which the block is missing, the job's own first.
    """

    start: int
    stop: int
    block: Block
    parts: tuple[Part, ...]

    @property
    def is_last(self) -> bool:
        """Whether the block ends with them."""
        return self.stop == self.block[2]


class OnePass:
    """Fills a store, and those of its siblings that want the same tiles.

    Parameters
    ----------
    own
        What fills the store of this job; closed at the end.
    also
        Other strategies -> their manifests.
    """

    def __init__(self, own: StoreFilling, also: Mapping[str, Path] | None = None) -> None:
        self.own = own
        self._also = dict(also or {})
        self._parts: list[Part] = []
        self._blocks: range | None = None
        # A block is written while the next one is computed.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown()
        for part in self._parts:
            part.claims.close()
        self.own.close()

    def start(self, blocks: range | None = None) -> None:
        """Open the stores to resume them, or create them.

        Parameters
        ----------
        blocks
            The blocks that this job fills, where several share the store; None: all.
        """
        self._blocks = blocks
        with starting(self.own.store_path):
            self._parts = [_part(self.own, blocks)]
        if self._missing():
            self._start_siblings(blocks)
        self.own.embedder.release_others([part.job.embedder for part in self._parts[1:]])

    def _start_siblings(self, blocks: range | None) -> None:
        """Open the stores of other strategies that are not finished; their own jobs tell faults."""
        for strategy, manifest in self._also.items():
            try:
                sibling = self.own.sibling(strategy, manifest)
                if sibling is None:
                    continue
                with starting(sibling.store_path):
                    part = None if _is_finished(sibling) else _part(sibling, blocks)
                if part is not None and self._missing_in(part):
                    self._parts.append(part)
            except UserError as error:
                logger.info("%s is left to its own job: %s", strategy, error.problems[0].what)

    def _missing(self) -> list[Block]:
        """Return what this job's own store lacks."""
        return self._missing_in(self._parts[0])

    def _missing_in(self, part: Part) -> list[Block]:
        blocks = self._blocks
        return [one for one in part.store.missing() if blocks is None or one[0] in blocks]

    def fill(self) -> None:
        """Embed the blocks that are missing in the store of this job; of its siblings the same."""
        missing = self._missing()
        if not missing:
            return
        own, store = self.own, self._parts[0].store
        if done := store.rows - sum(stop - start for _, start, stop in store.missing()):
            logger.info("%s: going on after %d of %d tiles", own.description, done, store.rows)
        if names := ", ".join(part.job.description for part in self._parts[1:]):
            logger.info("%s: in the same pass %s", own.description, names)
        total = sum(stop - start for _, start, stop in missing)
        with progress_bar(own.description, total, "images") as bar:
            self._fill(missing, bar.update)
            # What other jobs had claimed; nobody waits while others may wait for blocks of theirs.
            for one in self._missing():
                self._fill([one], bar.update, wait=True)

    def _fill(
        self, missing: Sequence[Block], told: Callable[[int], Any], *, wait: bool = False
    ) -> None:
        """Embed those of some blocks that no other job has; with `wait`, when it has ended."""
        embedder = self.own.embedder
        step = rows_per_read(embedder.batch_size, self.own.source.manifest.shape[1:])
        computed: list[Rows] = []
        for span, raw in self._reads(self._spans(missing, step, wait=wait), step):
            siblings = [part.job.embedder for part in span.parts[1:]]
            computed.append(embedder(raw, siblings) if siblings else embedder(raw))
            told(span.stop - span.start)
            if span.is_last:
                rows = embedder.collecting(computed)
                computed = []
                self._written()
                self._writing = self._writer.submit(self._write, span, rows)
        self._written()

    def _written(self) -> None:
        """Wait until the block that is being written is on the disk."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _spans(self, missing: Sequence[Block], step: int, *, wait: bool) -> Iterator[Span]:
        """Claim one block after the other, and yield what has to be read of it."""
        own, *siblings = self._parts
        for block, start, stop in missing:
            if not own.claimed(block, wait=wait):
                continue
            parts = (own, *(part for part in siblings if part.claimed(block)))
            for first in range(start, stop, step):
                last = min(first + step, stop)
                yield Span(first, last, (block, start, stop), parts)

    def _write(self, span: Span, rows: Callable[[], Embeddings]) -> None:
        """Write a block into each of its stores, that of this job last, once it is computed.

        A job that is killed in between finds the block missing, and writes what is missing still.
        """
        values = rows()
        block, start, stop = span.block
        source = self.own.source.source_of(start, stop)
        own, *siblings = span.parts
        widths = [part.width for part in span.parts]
        columns = dict(zip(span.parts, np.split(values, np.cumsum(widths)[:-1], 1), strict=True))
        for part in siblings:
            if part not in self._parts:
                continue  # it has failed already
            try:
                self._write_part(part, block, columns[part], source)
            except UserError as error:
                logger.info("%s is left to its own job: %s", part.job.description, error)
                self._parts.remove(part)
                part.claims.close()
        self._write_part(own, block, columns[own], source)

    def _write_part(self, part: Part, block: int, values: Embeddings, source: bytes) -> None:
        part.store.write_block(block, part.job.checked(values, part.store, block), source)
        part.claims.release(block)

    def _reads(self, spans: Iterable[Span], most_rows: int) -> Iterator[tuple[Span, Tiles]]:
        """Yield the tiles of each span, valid until the next; read ahead."""
        source, embedder = self.own.source, self.own.embedder
        if source.reads_in_turn:
            yield from prefetched(lambda span: (span, source.read(span.start, span.stop)), spans)
            return
        most_rows = min(most_rows, len(source), self.own.block_rows)
        shape = (most_rows, *source.manifest.shape[1:])
        buffers = [embedder.buffer(shape, source.array.dtype) for _ in range(READ_BUFFERS)]

        def read(numbered: tuple[int, Span]) -> tuple[Span, Tiles]:
            number, span = numbered
            buffer = buffers[number % READ_BUFFERS]
            embedder.wait(buffer)
            return span, source.read(span.start, span.stop, out=buffer[: span.stop - span.start])

        yield from prefetched(read, enumerate(spans), READ_BUFFERS - 1)

    def note(self, request: str) -> None:
        """Note of the other stores which are filled, and as what: see `filled`."""
        for part in self._parts[1:]:
            with starting(part.job.store_path):
                if not part.store.missing() and not manifest_of(part.job.store_path).exists():
                    write_note(part.store, part.job.description, request)

    def finish(self, manifest: Path) -> None:
        """Write the manifest of this job's store."""
        with starting(self.own.store_path):
            self._parts[0].store.finish(manifest)
            remove_note(self.own.store_path)


def _part(job: StoreFilling, blocks: range | None) -> Part:
    """Open the store of a job; its lock is held."""
    path = job.store_path
    return Part(job, job.start(blocks), Claims(path.with_name(f".{path.name}.claims")))


def _is_finished(job: StoreFilling) -> bool:
    """Return whether a store has been finished, as the job would do it, or by something unknown."""
    manifest = manifest_of(job.store_path)
    if not manifest.exists():
        return False
    try:
        return Manifest.read(manifest, EMBEDDINGS_FORMAT).fingerprint == job.fingerprint
    except UserError:
        return True


def prefetched(
    read: Callable[[Item], Result], items: Iterable[Item], ahead: int = 1
) -> Iterator[Result]:
    """Yield `read(item)` for each item in order, while threads read the next `ahead` ones."""
    coming: deque[Any] = deque()
    given = iter(items)
    with ThreadPoolExecutor(ahead, thread_name_prefix="reader") as reader:
        coming.extend(reader.submit(read, item) for item in itertools.islice(given, ahead))
        while coming:
            ready = coming.popleft()
            coming.extend(reader.submit(read, item) for item in itertools.islice(given, 1))
            yield ready.result()


def starting(store: Path) -> AbstractContextManager[None]:
    """Hold the lock of a store, whose blocks are looked through, or whose manifest is written."""
    lock = store.with_name(f".{store.name}.lock")
    return exclusive(lock, "another job of the same store is starting or ending")

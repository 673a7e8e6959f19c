"""The store of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferscope.config.channel_strategies import MEAN, single_channel
from transferscope.errors import suggest, user_error
from transferscope.runtime.arrays import Floats32, Values
from transferscope.stores.chunk_files import plain_chunk
from transferscope.stores.manifest import EMBEDDINGS_FORMAT
from transferscope.stores.reader import StoreReader


@dataclass(frozen=True)
class Columns:
    """The columns of an embedding store that hold one output of one pass.

    Parameters
    ----------
    output
        Name of the backbone's output.
    channel
        Dataset channel of the pass, or None if all channels were fed together.
    start, stop
        Columns [start, stop).
    """

    output: str
    channel: str | None
    start: int
    stop: int


class EmbeddingStore(StoreReader):
    """A finished embedding store: embeddings [N, D].

    Parameters
    ----------
    manifest
        Path of the manifest.

    Raises
    ------
    UserError
        If manifest or store is missing or damaged, or if they do not agree.
    """

    format = EMBEDDINGS_FORMAT
    array_name = "embeddings"

    @property
    def columns(self) -> list[Columns]:
        """Output and channel of all columns."""
        return [Columns(**c) for c in self.attributes["columns"]]

    def read(self, output: str | None = None, strategy: str | None = None) -> Floats32:
        """Return the embeddings of one output, [N, D] float32.

        Parameters
        ----------
        output
            Name of the output; None: the first.
        strategy
            Channel strategy: ``mean`` averages over the per-channel passes, ``only-<channel>``
            takes the pass of that channel; any other, or None, concatenates all passes.

        Raises
        ------
        DamagedBlockError
            If they differ from their checksum.
        UserError
            If the store holds no such output or no pass of that channel.
        """
        chosen = self._of_channel(self._of_output(output), strategy)
        # Version 1 verifies whole rows only.
        is_whole = len(chosen) == len(self.columns) or self._old_sums is not None
        whole = self._verified(slice(None)) if is_whole else None
        parts = [
            self._verified(slice(c.start, c.stop)) if whole is None else whole[:, c.start : c.stop]
            for c in chosen
        ]
        if whole is not None and len(chosen) == len(self.columns) and strategy != MEAN:
            return np.asarray(whole, dtype=np.float32)
        return _joined(parts, strategy)

    def read_of(
        self, rows: Values, output: str | None = None, strategy: str | None = None
    ) -> Floats32:
        """Return what `read` would return if the store held other rows.

        Parameters
        ----------
        rows
            Whole rows as the embedder of this store makes them, [n, D of the store].
        output, strategy
            As in `read`.

        Returns
        -------
        float32 [n, D]
            Rounded as in the store.
        """
        chosen = self._of_channel(self._of_output(output), strategy)
        rounded = rows.astype(self.array.dtype)
        return _joined([rounded[:, c.start : c.stop] for c in chosen], strategy)

    def passes(self, output: str | None = None) -> dict[str, slice]:
        """Return channel -> its columns of what `read` returns of one output; empty: fed together.

        Parameters
        ----------
        output
            As in `read`.
        """
        found, start = {}, 0
        for c in self._of_output(output):
            stop = start + c.stop - c.start
            if c.channel is not None:
                found[c.channel] = slice(start, stop)
            start = stop
        return found

    def names(self, output: str | None = None, strategy: str | None = None) -> list[str]:
        """Return a name for each column that `read` returns.

        Parameters
        ----------
        output, strategy
            As in `read`.

        Returns
        -------
        list of str
            Those of the features, if they have names; otherwise output and number, such as
            ``cls_0``, after the channel of the pass if there are several passes.
        """
        chosen = self._of_channel(self._of_output(output), strategy)
        if strategy == MEAN:
            chosen = [Columns(chosen[0].output, None, chosen[0].start, chosen[0].stop)]
        if features := self.attributes.get("feature_names"):
            return [name for c in chosen for name in features[c.start : c.stop]]
        return [
            "_".join(filter(None, [c.channel, c.output, str(number)]))
            for c in chosen
            for number in range(c.stop - c.start)
        ]

    def _verified(self, columns: slice) -> Values:
        if self._old_sums is None:
            return self.values(0, len(self), columns)
        return np.concatenate([self.block(block) for block in range(self.blocks)])

    def _decode(self, block: int, first: int, columns: slice, out: Values) -> None:
        rows, width = self.array.chunks
        start, stop, _ = columns.indices(self.array.shape[1])
        files = list(self._files_of(block).items())
        for number in range(start // width, -(-stop // width)):
            name, expected = files[number]
            content = self._content(name)
            chunk = plain_chunk(content, expected, out.dtype, (rows, width))
            left = number * width
            own = slice(max(start, left), min(stop, left + width))
            part = chunk[first : first + len(out), own.start - left : own.stop - left]
            out[:, own.start - start : own.stop - start] = part

    def number_format(
        self, output: str | None = None, strategy: str | None = None
    ) -> dict[str, Any] | None:
        """Return what the number format does to the neighbours of a sample of tiles.

        Parameters
        ----------
        output, strategy
            As in `read`.

        Returns
        -------
        dict or None
            `precision` of the network, `dtype` of the store, `n_tiles`, `same_nearest` and
            `overlap`, as `backbones.neighbours` counts them; None where the network ran in fp32, or
            the store was made by a version that did not measure it.
        """
        name = self.columns[0].output if output is None else output
        for row in self.attributes.get("neighbours_kept", []):
            if (row["output"], row["channels"]) == (name, strategy):
                formats = {key: self.attributes[key] for key in ("precision", "dtype")}
                return formats | {key: row[key] for key in ("n_tiles", "same_nearest", "overlap")}
        return None

    def _of_output(self, output: str | None) -> list[Columns]:
        name = self.columns[0].output if output is None else output
        chosen = [c for c in self.columns if c.output == name]
        if not chosen:
            known = sorted({c.output for c in self.columns})
            what = f'holds no output "{name}"'
            raise user_error(self.path, what, suggest(name, known))
        return chosen

    def _of_channel(self, columns: list[Columns], strategy: str | None) -> list[Columns]:
        channel = single_channel(strategy or "")
        if channel is None:
            return columns
        chosen = [c for c in columns if c.channel == channel]
        if not chosen:
            what = f'holds no pass of the channel "{channel}"'
            known = sorted({c.channel for c in columns if c.channel is not None})
            raise user_error(self.path, what, suggest(channel, known))
        return chosen


def _joined(parts: Sequence[Values], strategy: str | None) -> Floats32:
    """Return the embeddings of all passes as one: their mean, or one after the other."""
    if strategy == MEAN:
        return np.asarray(np.mean(parts, axis=0, dtype=np.float32))
    return np.asarray(np.concatenate(parts, axis=1), dtype=np.float32)

"""Into how many parts the filling of an embedding store is divided, and which they are."""

from __future__ import annotations

import json
import math
from pathlib import Path

from transferscope.disk import write_atomically
from transferscope.stores import TILES_FORMAT, Manifest


def number_of_parts(n_tiles: int, block_rows: int, blocks_a_job: int) -> int:
    """Return how many jobs fill a store.

    Examples
    --------
    >>> number_of_parts(10_000, 4096, 2)
    2
    """
    return max(1, math.ceil(math.ceil(n_tiles / block_rows) / blocks_a_job))


def write_parts(tiles: Path, block_rows: int, blocks_a_job: int, output: Path) -> None:
    """Write into how many parts the stores of a dataset are divided.

    Parameters
    ----------
    tiles
        Manifest of the tile store.
    block_rows, blocks_a_job
        Tiles a block, and blocks a job.
    output
        JSON to write.
    """
    n_tiles = Manifest.read(tiles, TILES_FORMAT).shape[0]
    parts = number_of_parts(n_tiles, block_rows, blocks_a_job)
    write_atomically(output, json.dumps({"parts": parts}) + "\n")


def read_parts(path: Path) -> int:
    """Return the number of parts that `write_parts` wrote."""
    return int(json.loads(path.read_text(encoding="utf-8"))["parts"])

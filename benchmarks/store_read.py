"""Reading a whole embedding store, against copying the same bytes in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from results import Part, Row
from synthetic import write_embeddings
from timing import in_turns, ratio

from transferscope.stores.embedding_store import EmbeddingStore

ROWS, WIDTH = 100_000, 384
ROUNDS = 15


def run(folder: Path) -> Part:
    values = np.random.default_rng(0).standard_normal((ROWS, WIDTH), dtype=np.float32)
    values = values.astype(np.float16)
    manifest = folder / "embeddings.json"
    write_embeddings(manifest, values, [f"tile{row:06d}" for row in range(ROWS)])
    values.tofile(folder / "raw.bin")
    store = EmbeddingStore(manifest)
    timed = in_turns(
        {
            "copy": values.copy,
            "raw": lambda: store.values(0, ROWS),
            "file": lambda: np.fromfile(folder / "raw.bin", dtype=np.float16),
            "copy fp32": lambda: values.astype(np.float32),
            "read": store.read,
        },
        ROUNDS,
    )
    if not np.array_equal(timed["raw"].result, values):
        raise AssertionError("the store returned other values than were written")
    shape = f"{ROWS:,} x {WIDTH} float16"
    rows = [
        Row(
            f"Whole store, {shape}, as it is",
            f"memcpy {timed['copy'].median * 1e3:.0f} ms",
            f"{timed['raw'].median * 1e3:.0f} ms",
            ratio(timed["raw"], timed["copy"]),
            "<= 1.5",
            "both into fresh memory; file in the page cache",
        ),
        Row(
            "the same, against one raw file",
            f"`numpy.fromfile` {timed['file'].median * 1e3:.0f} ms",
            f"{timed['raw'].median * 1e3:.0f} ms",
            ratio(timed["raw"], timed["file"]),
            "",
            "one thread and one call; the store is read by several threads",
        ),
        Row(
            "`EmbeddingStore.read`, to float32",
            f"`astype` in memory {timed['copy fp32'].median * 1e3:.0f} ms",
            f"{timed['read'].median * 1e3:.0f} ms",
            ratio(timed["read"], timed["copy fp32"]),
        ),
    ]
    return Part("Reading embeddings (time: lower is better)", rows)

"""What a training logs, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from transferscope.stores.parquet import write_parquet

Row = dict[str, float]
# Columns that differ from run to run.
CLOCK = ("images_per_second", "data_wait")


class History:
    """One row per step; measures of an epoch stand in the row of its last step.

    Columns: `step` and `epoch` from 0, `images` seen so far, `loss` and its parts,
    `learning_rate`, `images_per_second` and `data_wait` (share of time spent waiting for data),
    both over the steps that were logged together, and whatever is measured once an epoch.

    Parameters
    ----------
    rows
        Rows of an earlier run that is resumed.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows = list(rows)

    def add(self, row: Mapping[str, float]) -> None:
        """Add the row of a step."""
        self.rows.append(dict(row))

    def measure(self, values: Mapping[str, float]) -> None:
        """Add what was measured at the end of an epoch to the row of its last step."""
        self.rows[-1].update(values)

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table; what was not measured in a step is NaN."""
        frame = pd.DataFrame(self.rows)
        counts = frame.columns.intersection(["step", "epoch", "images"])
        return frame.astype(dict.fromkeys(counts, "int64"))

    def write(self, path: Path) -> None:
        """Write the table by rename, and what the clock measured into a table of its own.

        The same training gives the same bytes of the first.
        """
        frame = self.frame()
        clock = [name for name in CLOCK if name in frame]
        if clock:
            write_parquet(frame[["step", *clock]], timing_of(path), {})
        write_parquet(frame.drop(columns=clock), path, {})


def timing_of(history: Path) -> Path:
    """Return where the speed of a training is written, next to its history.

    Examples
    --------
    >>> timing_of(Path("backbones/dino.history.parquet")).name
    'dino.history.timing.parquet'
    """
    return history.with_suffix(".timing.parquet")

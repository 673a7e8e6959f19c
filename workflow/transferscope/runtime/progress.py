"""Progress bars that are readable on a terminal and in a log file."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_INTERVAL_SECONDS = 10.0
TERMINAL_INTERVAL_SECONDS = 0.2


class _LineWriter:
    """Write each redraw of a bar on a separate line, because a log file has no cursor."""

    def write(self, text: str) -> int:
        if line := text.strip("\r\n "):
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()


def progress_bar(description: str, total: int | None, unit: str, initial: int = 0) -> tqdm[Any]:
    """Return a tqdm bar: live on a terminal, one line every ten seconds elsewhere.

    Parameters
    ----------
    description
        Title, with the name of the dataset or backbone.
    total
        Number of items, including those already done.
    unit
        Plural of the items ("tiles", "images").
    initial
        Items done by an earlier, interrupted run.
    """
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        initial=initial,
        file=sys.stderr if live else _LineWriter(),
        mininterval=TERMINAL_INTERVAL_SECONDS if live else LOG_INTERVAL_SECONDS,
        miniters=0 if live else 1,
        ascii=not live,
        ncols=None if live else 100,
        dynamic_ncols=live,
    )

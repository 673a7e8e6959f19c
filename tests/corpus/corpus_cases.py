"""What a case of the corpus is: odd files, what they are used as, and the verdict that is right.

Each module `corpus_*.py` here adds cases by the decorator `case`; nothing else has to name them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
CHANNELS = ["nucleus", "protein", "er", "microtubules"]


@dataclass(frozen=True)
class Fields:
    """Image files as the fields of a dataset, and what the tile step must do with them.

    Parameters
    ----------
    files
        The files of each field: one, or one per channel.
    pixels
        [C, H, W] of each field, if it must be read; then the message is one of the log.
    message
        What the refusal, or the log, must say (a regular expression); empty: nothing.
    card
        Changes of the dataset card, such as `channels`.
    by_channel
        Whether each file is one channel.
    """

    files: list[list[Path]]
    pixels: list[Array] | None = None
    message: str = ""
    card: dict[str, Any] = field(default_factory=dict)
    by_channel: bool = False


@dataclass(frozen=True)
class Mask:
    """A mask of a field of 48 x 48 px, and what the cell step must do with it.

    Parameters
    ----------
    file
        The mask.
    cells
        Number of cells, if it must be read.
    message
        As in `Fields`; in the remark of the field, too.
    values
        `cells.segmentation.values`.
    """

    file: Path
    cells: int | None = None
    message: str = ""
    values: str = "auto"


@dataclass(frozen=True)
class Weights:
    """A checkpoint file, and what `backbone inspect` must do with it.

    Parameters
    ----------
    file
        The file.
    shown
        What must be shown (a regular expression), if it must be accepted.
    message
        What the refusal must say (a regular expression), if not.
    arguments
        Further arguments of the command.
    """

    file: Path
    shown: str = ""
    message: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folder:
    """A folder of images, and what `transferscope sheet` must find in it.

    Parameters
    ----------
    folder
        The folder.
    ids
        Ids of the rows.
    message
        What the log must say (a regular expression); empty: nothing of what was left out.
    """

    folder: Path
    ids: list[str]
    message: str = ""


Case = Fields | Mask | Weights | Folder
CASES: dict[str, Callable[[Path], Case]] = {}


def case(make: Callable[[Path], Case]) -> Callable[[Path], Case]:
    """Add a case: a function that writes its files into a folder, named after what is odd."""
    assert make.__name__ not in CASES
    CASES[make.__name__] = make
    return make


def noise(*shape: int, dtype: str = "uint16", low: int = 1) -> Array:
    """Return random values, none of them black; the same for the same shape."""
    rng = np.random.default_rng(sum(shape))
    return rng.integers(low, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def read(path: Path | list[Path], *pixels: Array, message: str = "", **card: Any) -> Fields:
    """Return a case of one field that must be read."""
    files = path if isinstance(path, list) else [path]
    return Fields([files], list(pixels), message, card)


def refused(path: Path | list[Path], message: str, **card: Any) -> Fields:
    """Return a case of one field that must be refused."""
    files = path if isinstance(path, list) else [path]
    return Fields([files], None, message, card)


def channels(count: int) -> list[str]:
    """Return names of channels."""
    return CHANNELS[:count]

"""The state of a training, in one file that is whole or absent."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transferscope.runtime.atomic_files import replacing
from transferscope.training.history import Row

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training has come.

    Parameters
    ----------
    done
        Steps that are done.
    finished
        No step is left: the last is done, or it stopped early.
    rows
        Rows of the history.
    """

    done: int = 0
    finished: bool = False
    rows: list[Row] = field(default_factory=list)


def save(
    path: Path,
    fingerprint: str,
    progress: Progress,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint by rename: plain tensors and numbers.

    Parameters
    ----------
    path
        Where to.
    fingerprint
        What the training depends on.
    progress
        How far it is.
    modules
        All networks, including moving averages.
    optimiser
        The optimiser.
    """
    state = {
        "fingerprint": fingerprint,
        **vars(progress),
        "modules": {name: module.state_dict() for name, module in modules.items()},
        "optimiser": optimiser.state_dict(),
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load(
    path: Path,
    fingerprint: str,
    modules: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
) -> Progress:
    """Read a checkpoint into networks and optimiser, if it belongs to this training.

    Returns
    -------
    Progress
        Of the checkpoint; that of a new training where there is none, or one of another training.
    """
    state = _read(path)
    if state is None:
        return Progress()
    if state.get("fingerprint") != fingerprint:
        logger.warning("%s is of other settings or other data: starting over", path)
        return Progress()
    for name, module in modules.items():
        module.load_state_dict(state["modules"][name])
    optimiser.load_state_dict(state["optimiser"])
    return Progress(state["done"], state["finished"], state["rows"])


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        logger.warning("%s cannot be read (%s): starting over", path, error)
        return None
    return state

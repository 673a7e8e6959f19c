"""What the workflow has to know of a probe of frozen embeddings, be it of this package or another.

A package adds a probe by an entry point in the group `transferscope.probes` whose name is the
probe's and whose value is a `FrozenProbe`; a study asks for it under the key `probes`. Importing
the module of that value should load nothing heavy, for the workflow does it whenever it plans.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transferscope.config.model import Model
from transferscope.config.probes import SplitSettings

# Floating-point operations per second that one core reaches in heads and neighbours.
CORE_RATE = 5e9


@dataclass(frozen=True)
class Load:
    """What one job of a probe has to do.

    Parameters
    ----------
    n_tiles, n_features, n_classes
        Rows and columns of the embeddings, and classes.
    splits
        Divisions and fractions of the study.
    rate
        Floating-point operations per second that training reaches on one core.
    """

    n_tiles: int
    n_features: int
    n_classes: int
    splits: SplitSettings
    rate: float = CORE_RATE

    @property
    def n_divisions(self) -> int:
        """Folds of all schemes and seeds."""
        return len(self.splits.seeds) * sum(self.splits.folds[s] for s in self.splits.schemes)

    @property
    def n_training_rows(self) -> float:
        """Rows that are trained on, all divisions and fractions together."""
        rows = self.n_tiles * (1 - self.splits.validation) * self.n_divisions
        return rows * sum(self.splits.fractions)


@dataclass(frozen=True)
class FrozenProbe:
    """A probe of frozen embeddings.

    Parameters
    ----------
    name
        Of its rule, its files and, for a probe of another package, its key under `probes`.
    settings
        Model of its settings.
    run
        ``package.module:function``, imported by its jobs only. It is called with a
        `probes.evaluation.ProbeData`, the settings and, by name, `sink`, which takes predictions
        part by part, and returns `probes.evaluation.ResultTables`.
    seconds
        Longest time of a job on one core, in seconds.
    memory_bytes
        What a job holds in addition to three copies of the embeddings.
    wanted
        Whether settings ask for anything.
    version
        Raised when results change, so that the jobs run again.
    """

    name: str
    settings: type[Model]
    run: str
    seconds: Callable[[Any, Load], float]
    memory_bytes: float = 0.0
    wanted: Callable[[Any], bool] = lambda _settings: True
    version: int = 1

    def load(self) -> Callable[..., Any]:
        """Import and return the function that `run` names."""
        module, _, function = self.run.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return found

"""Description of a probe of frozen embeddings, from this package or another one.

Another package adds a probe by an entry point in the group `transferscope.probes`: its name is that
of the probe, its value a `FrozenProbe`. A study requests it under the key `probes`. The module of
the value should import quickly, because the workflow imports it whenever it plans.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from transferscope.config.model import Model
from transferscope.config.probes import SplitSettings

# Floating-point operations per second that one core reaches in heads and neighbours.
CORE_RATE = 5e9
# Seconds of a job, on cores of today with so many operations per second, from which a GPU is
# faster: its start takes about ten, and one GPU serves one job, where cores serve many at a time.
WORTH_A_GPU, TODAYS_CORE = 120.0, 3e10
# Most memory of a job on a GPU: copies of the embeddings in float32, and in addition to them.
GPU_COPIES, GPU_BYTES = 8, 3 * 2**30


@dataclass(frozen=True)
class Load:
    """Workload of one job of a probe.

    Parameters
    ----------
    n_tiles, n_features, n_classes
        Rows and columns of the embeddings, and classes.
    splits
        The study's `splits`.
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
        """Number of folds over all schemes and seeds, without those of halves."""
        return len(self.splits.seeds) * sum(map(self.splits.most_folds, self.splits.divided))

    @property
    def n_training_rows(self) -> float:
        """Number of training rows, summed over divisions, fractions and halves."""
        rows = self.n_tiles * (1 - self.splits.validation) * self.n_divisions
        fractions = self.splits.fractions
        # Both halves of a pair have as many rows as the whole, at the largest fraction only. Groups
        # per class are all of a class at most.
        few = len(self.splits.groups_per_class)
        return rows * (sum(fractions) + max(fractions) * (self.splits.halves + few))


@dataclass(frozen=True)
class FrozenProbe:
    """A probe of frozen embeddings.

    Parameters
    ----------
    name
        Name of its rule, its files and, for another package's probe, its key under `probes`.
    settings
        Model of its settings.
    run
        ``package.module:function``, imported only by its jobs. It is called with a
        `probes.evaluation.ProbeData`, the settings and the keyword `sink`, which receives the
        predictions in parts, and returns `probes.evaluation.ResultTables`.
    seconds
        Upper bound of a job's time on one core, in seconds.
    memory_bytes
        Memory of a job in addition to three copies of the embeddings.
    wanted
        Whether the settings request any result.
    version
        Increased when results change, so that the jobs run again.
    on_gpu
        Whether `run` takes the keyword `device`, too, a `torch.device`. Jobs of such a probe may be
        given a GPU, by the rule of `compute.probes`.
    """

    name: str
    settings: type[Model]
    run: str
    seconds: Callable[[Any, Load], float]
    memory_bytes: float = 0.0
    wanted: Callable[[Any], bool] = lambda _settings: True
    version: int = 1
    on_gpu: bool = False

    def is_worth_a_gpu(self, settings: Any, load: Load, threads: int) -> bool:
        """Return whether a job on so many cores is long enough for a GPU to be faster."""
        seconds = self.seconds(settings, replace(load, rate=TODAYS_CORE)) / threads
        return self.on_gpu and seconds >= WORTH_A_GPU

    def load(self) -> Callable[..., Any]:
        """Import and return the function that `run` names."""
        module, _, function = self.run.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return found

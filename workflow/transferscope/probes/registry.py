"""All probes of frozen embeddings: of this package and of installed ones."""

from __future__ import annotations

import math
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import pairwise
from typing import Any

from transferscope.config.model import Model, validate
from transferscope.config.probes import HeadSettings, KnnSettings
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError, first_line, suggest, user_error
from transferscope.probes.probe import FrozenProbe, Load

ENTRY_POINTS = "transferscope.probes"
# Memory of heads that train together, in addition to the embeddings.
HEADS_BYTES = 2**30
# Logistic regression: seconds per head, training row, feature and class, measured on one core.
LOGREG_SECONDS = 2e-8
# Forward and backward products of one training step.
PASSES_PER_STEP = 3


def head_seconds(settings: HeadSettings, load: Load) -> float:
    """Return the seconds of one job of heads."""
    sizes = [load.n_features, *settings.hidden, load.n_classes]
    layers = {
        "linear": load.n_features * load.n_classes,
        "mlp": sum(math.prod(pair) for pair in pairwise(sizes)),
    }
    seconds = 0.0
    for kind in settings.kinds:
        if kind == "logreg":
            seconds += LOGREG_SECONDS * load.n_training_rows * layers["linear"]
        else:
            steps = load.n_training_rows * settings.epochs
            seconds += PASSES_PER_STEP * 2 * layers[kind] * steps / load.rate
    return seconds


def _knn_seconds(settings: KnnSettings, load: Load) -> float:
    """Each fold, and the validation tiles of the others, is searched per metric; so in halves."""
    splits = load.splits
    folds = map(splits.most_folds, splits.divided)
    queries = sum(1 + splits.validation * (n - 1) for n in folds)
    searches = queries * len(splits.seeds) * len(settings.metrics) * (1 + splits.halves / 2)
    return 2 * load.n_tiles**2 * load.n_features * searches / load.rate


HEADS = FrozenProbe(
    name="heads",
    settings=HeadSettings,
    run="transferscope.probes.heads:run_heads",
    seconds=head_seconds,
    memory_bytes=HEADS_BYTES,
    version=5,
    on_gpu=True,
)
KNN = FrozenProbe(
    name="knn",
    settings=KnnSettings,
    run="transferscope.probes.knn:run_knn",
    seconds=_knn_seconds,
    wanted=lambda settings: bool(settings.k),
    version=4,
    on_gpu=True,
)
# Add further probes of this package here; their settings are under `probes`.
PROBES = (HEADS, KNN)


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def find_probe(name: str, where: str) -> FrozenProbe:
    """Return a probe by name.

    Parameters
    ----------
    name
        Name of the probe.
    where
        Config key that requests it, for messages.

    Raises
    ------
    UserError
        If there is none, or another package's probe cannot be imported.
    """
    known = {probe.name: probe for probe in PROBES}
    if name in known:
        return known[name]
    if name not in _installed():
        fix = f"{suggest(name, [*known, *_installed()])} Or install the package that has it."
        raise user_error(where, f'no probe "{name}" is installed', fix.strip())
    point = _installed()[name]
    try:
        probe = point.load()
    except Exception as error:  # third-party code may raise anything
        what = f"{point.value} cannot be imported: {first_line(error)}"
        raise user_error(where, what, "Update or reinstall its package.") from None
    if not isinstance(probe, FrozenProbe):
        raise user_error(where, f"{point.value} is no FrozenProbe", "Report it there.")
    return probe


def probe_names(config: StudyConfig) -> list[str]:
    """Return the names of the probes that a study requests."""
    return [probe.name for probe in wanted_probes(config)]


def wanted_probes(config: StudyConfig, where: str = "config") -> dict[FrozenProbe, Model]:
    """Return the probes that a study requests, with their settings.

    Parameters
    ----------
    config
        The study config.
    where
        Name of the config file, for messages.

    Raises
    ------
    UserError
        Naming all probes that are not installed, and all invalid settings.
    """
    problems: list[Problem] = []
    given: dict[str, Any] = {"heads": config.heads, "knn": config.knn}
    found: dict[FrozenProbe, Model] = {HEADS: config.heads, KNN: config.knn}
    for name, settings in config.probes.items():
        place = f"{where}, key probes.{name}"
        if name in given:
            what = "has a section of its own"
            problems.append(Problem(place, what, f"Put its settings under `{name}:`."))
            continue
        try:
            probe = find_probe(name, place)
            found[probe] = validate(settings, probe.settings, place)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return {probe: settings for probe, settings in found.items() if probe.wanted(settings)}

"""Record of the last run of a study: its full config, and versions of steps and packages."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

import yaml

from transferscope.config.model import read_yaml, validate
from transferscope.config.paths import StudyPaths
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.json_text import parse_json
from transferscope.stores.manifest import FORMAT_VERSION
from transferscope.study.defaults import merged, with_defaults

# Values of the demo that differ from the defaults. Older versions merged a study with the demo.
FORMER_DEFAULTS: dict[str, Any] = {
    "strategy_seeds": [0],
    "splits": {"folds": {"group": 3, "image": 3}},
    "heads": {"epochs": 40, "patience": 10, "batch_size": 64},
    "knn": {"k": [1, 3, 5, 10]},
}
ABSENT = "(no such key)"


@dataclass(frozen=True)
class RunRecord:
    """Config and versions of a run.

    Parameters
    ----------
    config
        The full config, as plain data.
    versions
        Versions of "steps", "formats" and "packages", by name; empty if unknown.
    """

    config: dict[str, Any]
    versions: dict[str, dict[str, Any]]


def record(config: StudyConfig, paths: StudyPaths, steps: Mapping[str, int]) -> None:
    """Write config and versions of a run next to its results.

    Parameters
    ----------
    config, paths
        The study.
    steps
        Step -> its version.

    Raises
    ------
    UserError
        If the disk is full or read-only.
    """
    write_atomically(paths.versions, versions_text(steps))
    write_atomically(paths.config, config_text(config))


def read_record(paths: StudyPaths) -> RunRecord | None:
    """Return the record of the last run of a study; None: no run has written it.

    Raises
    ------
    UserError
        If the record cannot be read.
    """
    if not paths.config.exists():
        return None
    versions = {}
    if paths.versions.exists():
        try:
            versions = parse_json(paths.versions.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            what = f"cannot be read: {error}"
            fix = "Remove it: the next run writes it."
            raise UserError(Problem(str(paths.versions), what, fix)) from None
    return RunRecord(read_yaml(paths.config), versions)


def presumed_record(given: dict[str, Any]) -> RunRecord:
    """Return the presumed record of a run of an older version, which wrote none.

    Parameters
    ----------
    given
        The study's own file. Its missing keys had the values of the demo.
    """
    config = with_defaults(merged(FORMER_DEFAULTS, given))
    where = "the study as run by an older version"
    return RunRecord(validate(config, StudyConfig, where).model_dump(mode="json"), {})


def changed_keys(before: Mapping[str, Any], now: StudyConfig) -> dict[str, tuple[Any, Any]]:
    """Return key -> its values before and now, for each key that differs; nested keys have dots.

    Examples
    --------
    >>> now = StudyConfig(study="s", datasets=["a"], backbones=["b"])
    >>> before = {**now.model_dump(mode="json"), "knn": {**now.knn.model_dump(), "k": [3]}}
    >>> changed_keys(before, now)
    {'knn.k': ([3], [1, 5, 10, 20, 50])}
    """
    old, new = dict(_leaves(before)), dict(_leaves(now.model_dump(mode="json")))
    pairs = {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in [*new, *old]}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _leaves(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a nested mapping with its keys, joined by dots."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def config_text(config: StudyConfig) -> str:
    """Return a full config as YAML, which is a valid study file."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def versions_text(steps: Mapping[str, int]) -> str:
    """Return the versions of steps, store formats, Python and all installed packages as JSON."""
    packages = {str(d.metadata["Name"]): d.version for d in distributions()}
    versions = {
        "steps": dict(steps),
        "formats": {"stores": FORMAT_VERSION},
        "packages": {"python": platform.python_version(), **dict(sorted(packages.items()))},
    }
    return json.dumps(versions, indent=2) + "\n"

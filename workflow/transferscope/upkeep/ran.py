"""Record of the last run of a study: its full config, and versions of steps and packages."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shlex
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from filelock import BaseFileLock, FileLock, Timeout

from transferscope.config.model import read_yaml, validate
from transferscope.config.paths import StudyPaths
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.job_records import JobRecord
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
# Name of the record of what a run itself writes, among those of its jobs.
RECORD = "run"
# Locks are freed when their last reference is gone.
_held: list[BaseFileLock] = []
logger = logging.getLogger(__name__)
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
    texts = {paths.config: config_text(config), paths.versions: versions_text(steps)}
    sums = {
        path.relative_to(paths.root).as_posix(): hashlib.sha256(text.encode()).hexdigest()
        for path, text in texts.items()
    }
    for path, text in texts.items():
        write_atomically(path, text)
    JobRecord(RECORD, {}, tuple(sums), sums).write(paths.checksums(RECORD))


def hold_results(paths: StudyPaths) -> None:
    """Hold the results of a study for as long as this process runs.

    The lock lies in their own folder, so that it also keeps off a run from another working folder.
    The system frees it when the process ends, however it ends.

    Raises
    ------
    UserError
        If another run holds it, or the lock is another user's.
    """
    lock, holder = FileLock(paths.root / ".run.lock"), paths.root / ".run"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = "it does not say where"
        with suppress(OSError):
            who = holder.read_text(encoding="utf-8").strip()
        what = f"another run writes these results ({who})"
        fix = "Wait until it has ended, then give the same command again."
        raise UserError(Problem(str(paths.root), what, fix)) from None
    except PermissionError:
        what = "another user's run has made this lock, and this user may not write it"
        removal = shlex.join(["rm", "-f", lock.lock_file])
        shared = shlex.join(["chmod", "g+w", lock.lock_file])
        fix = f"As that user: {shared}; or, if no run is in progress: {removal}"
        raise UserError(Problem(lock.lock_file, what, fix)) from None
    except (OSError, NotImplementedError) as error:
        message = "%s: the file system has no locks (%s): never start two runs there at once"
        logger.warning(message, paths.root, error)
        return
    _held.append(lock)
    # Only for the message to another run; the file may be another user's.
    with suppress(OSError):
        holder.unlink(missing_ok=True)
        holder.write_text(f"{socket.gethostname()}, process {os.getpid()}, in {Path.cwd()}\n")


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

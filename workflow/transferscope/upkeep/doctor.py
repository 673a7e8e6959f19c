"""Checks of whether this machine can run a study, with results and fixes."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from transferscope.errors import UserError, first_line
from transferscope.runtime.atomic_files import existing_folder, require_writable

GOOD, WARNING, BAD = "good", "warning", "bad"
PACKAGES = ("transferscope", "torch", "timm", "zarr", "zarrs", "snakemake", "pyarrow")
HUB = "https://huggingface.co"
HUB_SECONDS = 5
MIN_FREE_GIB = 5
TEST_TILES, TEST_SIDE = 8, 64


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Parameters
    ----------
    name
        Name of the check.
    state
        `GOOD`, `WARNING` (a study may still run) or `BAD`.
    found
        What was found.
    fix
        What to do about it; may be empty.
    """

    name: str
    state: str
    found: str
    fix: str = ""


def examine(results: Path) -> list[Check]:
    """Run all checks; errors are reported as results.

    Parameters
    ----------
    results
        Folder of the results; it may not exist yet.
    """
    checks: dict[str, Callable[[], Check]] = {
        "Python": _python,
        "packages": _packages,
        "devices": _devices,
        "number format": _precision,
        "disk": lambda: _disk(results),
        "writing": lambda: _writing(results),
        "file locks": lambda: _locks(results),
        "model hub": _hub,
        "test embedding": _test_embedding,
    }
    return [_tried(name, check) for name, check in checks.items()]


def _tried(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # any failure is a finding about this machine
        return Check(name, BAD, f"{type(error).__name__}: {first_line(error)}")


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()}, {os.cpu_count()} cores"
    return Check("Python", GOOD, found)


def _packages() -> Check:
    installed = {str(d.metadata["Name"]).lower(): d.version for d in distributions()}
    if missing := [name for name in PACKAGES if name not in installed]:
        return Check("packages", BAD, f"missing: {', '.join(missing)}", "Run `make install`.")
    return Check("packages", GOOD, ", ".join(f"{name} {installed[name]}" for name in PACKAGES))


def _devices() -> Check:
    import torch

    if not torch.cuda.is_available():
        what = "no GPU that torch can use: networks run on the processor, slowly"
        fix = "Fine for small studies. With a GPU, check its driver with `nvidia-smi`."
        return Check("devices", WARNING, what, fix)
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    found = [f"{p.name}, {p.total_memory / 2**30:.0f} GiB" for p in properties]
    return Check("devices", GOOD, "; ".join(found))


def _precision() -> Check:
    from transferscope.backbones.precision import choose_precision
    from transferscope.runtime.devices import torch_device

    device = torch_device("auto")
    # Whether a network bears it is found when it is tried.
    found = f"{choose_precision(device)} is tried first on {device.type}"
    return Check("number format", GOOD, found)


def _disk(results: Path) -> Check:
    folder = existing_folder(results)
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free in {folder}"
    if free < MIN_FREE_GIB:
        fix = "Free some space, or point `results:` at a larger disk."
        return Check("disk", WARNING, found, fix)
    return Check("disk", GOOD, found)


def _writing(results: Path) -> Check:
    try:
        require_writable(results)
    except UserError as error:
        problem = error.problems[0]
        return Check("writing", BAD, f"{problem.where}: {problem.what}", problem.fix)
    return Check("writing", GOOD, f"{existing_folder(results)} can be written")


def _locks(results: Path) -> Check:
    from filelock import FileLock, Timeout

    with tempfile.TemporaryDirectory(dir=existing_folder(results)) as trial:
        path = Path(trial) / "lock"
        with FileLock(path):
            try:
                FileLock(path, timeout=0).acquire()
            except Timeout:
                return Check("file locks", GOOD, "a second process waits for the first")
    fix = "Put the results on a file system with locks; never start two runs of one study there."
    return Check("file locks", WARNING, "this file system ignores locks", fix)


def _hub() -> Check:
    import requests

    from transferscope.transport.download import new_session

    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        fix = "Unset HF_HUB_OFFLINE to download weights."
        return Check("model hub", WARNING, "switched off by HF_HUB_OFFLINE", fix)
    try:
        with new_session() as session:
            session.head(HUB, timeout=HUB_SECONDS).raise_for_status()
    except requests.RequestException as error:
        fix = "Backbones whose weights are on this machine still run; see proxies and firewalls."
        return Check("model hub", WARNING, f"{HUB}: {type(error).__name__}", fix)
    return Check("model hub", GOOD, f"{HUB} answers")


def _test_embedding() -> Check:
    from transferscope.upkeep.trial import trial_embedding

    with tempfile.TemporaryDirectory() as folder:
        trial = trial_embedding(Path(folder), TEST_TILES, TEST_SIDE)
    found = (
        f"{TEST_TILES} tiles through a small network in {trial.seconds:.1f} s, {trial.precision}"
    )
    if trial.precision != trial.tried:
        # That is decided per network, by comparing its embeddings with those in fp32.
        found += f", because {trial.tried} gave other embeddings"
    return Check("test embedding", GOOD, found)

"""Every command of the program, with arguments that work, to exchange one of them at a time.

The commands and their parameters come from the command line itself, and the arguments of the steps
from the plan of a study: a new command, or a new option, is in the tests by itself.
"""

import contextlib
import ctypes
import io
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import imagecodecs
import numpy as np
import pytest
import torch
import typer

from factories import DATASET_CARD, STUDY, TRAINED, write_study, write_yaml
from given_tables import profiles, write_card
from transferscope.cards.lookup import SHIPPED
from transferscope.commands.app import app, main
from transferscope.steps.plan import Plan
from transferscope.steps.step import Job, Step
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study

# Marks of metavars that stand for a path.
PATHS = {"PATH", "FILE", "STUDY", "NAME..."}
# Options that are text to the command line, and paths to the command.
PATH_NAMES = {"to", "dataset", "backbone", "labels"}
# Ready cards of the study that has a job for every step.
DEMOS = ("opencell-demo", "glands-demo")
# What commands that are no step of a study are given.
VALUES = {
    "what": "study.yaml",
    "config": "study.yaml",
    "studies": "study.yaml",
    "cards": "cards/backbones/tiny.yaml",
    "dataset": "cards/datasets/cells.yaml",
    "backbone": "cards/backbones/tiny.yaml",
    "folder": "raw",
    "file": "weights.pth",
    "to": "made/published",
    "pattern": "{group}_{fov}.tif",
    "tiles": "results/tiny/tiles/cells.json",
    "table": "results/tiny/tiles/cells.tiles.parquet",
    "card": "cards/datasets/cells.yaml",
    "labels": "raw/samples.tsv:tile_id:labels",
    "tflops": "1",
    "true": "mask.png",
    "predicted": "mask.png",
}
OUTPUTS = {
    "export": "made/study.tar",
    "label": "made/page.html",
    "masks compare": "made/masks.csv",
    "schemas": "made/schemas",
    "strategies": "made/strategies.png",
    "backbone card": "made/card.yaml",
    "sheet": "made/samples.tsv",
    "alike": "raw/alike.tsv",
    "init": "made",
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command that takes a path.

    Parameters
    ----------
    name
        Its name in the program.
    flag
        The option, such as ``--table``; None: it is an argument.
    written
        Whether the command writes there.
    is_folder
        Whether it is a folder.
    """

    name: str
    flag: str | None
    written: bool
    is_folder: bool


@dataclass(frozen=True)
class Command:
    """One command, the words that call it with arguments that work, and where it takes paths."""

    name: str
    words: tuple[str, ...]
    paths: tuple[Parameter, ...]

    def given(self, parameter: Parameter, value: str) -> list[str]:
        """Return the words with another value of one parameter."""
        words, at = list(self.words), len(self.name.split())
        if parameter.flag is None:
            words[at : at + 1] = [value]
        elif parameter.flag in words:
            words[words.index(parameter.flag) + 1] = value
        else:
            words += [parameter.flag, value]
        return words


@dataclass
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str
    words: list[str] = field(default_factory=list)


def run(words: list[str]) -> Ended:
    """Run a command as the program does, in this process."""
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    before = sys.argv, sys.stderr
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            sys.argv = ["transferscope", *words]
            try:
                main()
                code: Any = 0
            except SystemExit as end:
                code = end.code
    finally:
        sys.argv, sys.stderr = before
    texts = [stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err)]  # type: ignore[attr-defined]
    return Ended(code or 0, *texts, words)


def commands(folder: Path) -> list[Command]:
    """Return every command of the program, with arguments for the study in a folder."""
    known = _of_steps(folder)
    return [_command(*leaf, known) for leaf in leaves(typer.main.get_command(app))]


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield each command without commands below it."""
    below = getattr(command, "commands", None)
    if not below:
        yield " ".join(words), command
        return
    for name, child in below.items():
        yield from leaves(child, (*words, name))


def _command(name: str, found: Any, known: Mapping[str, list[str]]) -> Command:
    hints = get_type_hints(found.callback)
    paths = []
    for given in found.params:
        is_path = given.metavar in PATHS or "Path" in str(hints.get(given.name, ""))
        if not is_path and given.name not in PATH_NAMES:
            continue
        flag = given.opts[0] if given.param_type_name == "option" else None
        about = (given.help or "").lower()
        written = any(word in about for word in ("write", "draw the", "folder for", "folder, or"))
        is_folder = "folder" in about.replace(",", "").split()[:3]
        paths.append(Parameter(given.name, flag, written or given.name == "to", is_folder))
    words = known.get(name) or _invented(name, found.params)
    return Command(name, tuple(words), tuple(paths))


def _invented(name: str, params: Any) -> list[str]:
    """Return words for a command that is no step of a study."""
    words = name.split()
    for given in params:
        if not given.required and given.param_type_name != "argument":
            continue
        value = VALUES.get(given.name, f"made/{given.name}")
        if given.name == "output":
            value = OUTPUTS.get(name, "made/output")
        words += [value] if given.param_type_name == "argument" else [given.opts[0], value]
    if name == "init":
        words += ["--yes", "--output", OUTPUTS[name]]
    if name == "sheet":
        words += ["--pattern", VALUES["pattern"], "--output", OUTPUTS[name]]
    return words


def _of_steps(folder: Path) -> dict[str, list[str]]:
    """Return the words of each step's first job, by command."""
    found: dict[str, list[str]] = {}
    for name in ("study", "parts", "all", "given"):
        for step in plan(folder, name).steps.values():
            words = words_of(step, step.planned[0])
            key = next(
                key
                for key in (" ".join(words[:2]), words[0])
                if key in {name for name, _ in leaves(typer.main.get_command(app))}
            )
            found.setdefault(key, words)
    return found


def plan(folder: Path, name: str = "study") -> Plan:
    """Return the plan of a study in a folder, which has to be the working folder."""
    study = load_study(merged_config(Path(f"{name}.yaml")), [folder, SHIPPED], f"{name}.yaml")
    return Plan(study)


def words_of(step: Step, job: Job) -> list[str]:
    """Return the words that run one job of a step."""
    wildcards = SimpleNamespace(**job)

    def files(given: Mapping[str, Any]) -> SimpleNamespace:
        texts = {}
        for name, file in given.items():
            plain = getattr(file, "path", getattr(file, "find", file))
            path = plain(wildcards) if callable(plain) else str(plain).format(**job)
            texts[name] = path
        return SimpleNamespace(**texts)

    words = step.arguments(wildcards, files(step.inputs()), files(step.outputs()), 1)
    found = shlex.split(str(words))
    # What every job has before its command: where it is recorded.
    while found[0].startswith("--"):
        found = found[2:]
    return found


def write_everything(folder: Path) -> None:
    """Write studies that have a job for every step, and make those of one; into a new folder."""
    short = {
        "splits": {
            "schemes": ["group"],
            "folds": {"group": 2},
            "halves": 1,
            "seeds": [0],
            "fractions": [1.0],
        },
        "channel_strategies": ["map"],
        "heads": {"kinds": ["logreg"]},
        "knn": {"k": [1]},
        "figures": {"dpi": 60, "map_points": 100, "gallery": 1},
    }
    write_study(folder, **short)
    cards = "cards/datasets"
    changed = {**DATASET_CARD, "sheet": "../../raw/samples.tsv"}
    more = {
        "labelled": {**changed, "label_table": "../../raw/samples.tsv"},
        "single": {**changed, "cells": {}},
        "taken": {"name": "taken", "labels": DATASET_CARD["labels"], "tiles": "../../published"},
    }
    for name, card in more.items():
        write_yaml(folder / cards / f"{name}.yaml", {**card, "name": name})
    write_yaml(folder / "cards/backbones/trained.yaml", {"name": "trained", **TRAINED})
    grid = {"steps": 3, "grid": {"at_steps": [1]}}
    write_yaml(folder / "cards/backbones/grid.yaml", {"name": "grid", **TRAINED, **grid})
    everything = {
        **STUDY,
        **short,
        "channel_strategies": ["map", "replicate"],
        "datasets": [*(f"{cards}/{name}.yaml" for name in ("cells", "labelled")), *DEMOS],
        "backbones": [f"cards/backbones/{name}.yaml" for name in ("tiny", "trained", "grid")],
        "aggregate": {"levels": ["fov"]},
        "finetune": {"backbones": ["cards/backbones/tiny.yaml"], "modes": ["head"]},
        "segmentation": {"decoders": ["linear"], "steps": 1},
        "transfer": {"datasets": ["cells", "labelled"], "few_shot": [1]},
        "nuisance": {"permutations": 99},
        "ablation": {
            "backbones": ["tiny"],
            "channels": ["protein"],
            "occlusion": {"tiles": 2, "patch": 0.5},
            "weights": True,
        },
        "joining": {"backbones": [["tiny", "tiny"]], "channel_strategies": ["map"]},
        "reduced_tiles": {"cells": [32]},
    }
    write_yaml(folder / "all.yaml", everything)
    parts = {**STUDY, **short, "compute": {"device": "cpu", "threads": 1, "jobs_per_store": 2}}
    write_yaml(folder / "parts.yaml", parts)
    write_card(folder, profiles())
    given = {**STUDY, **short, "datasets": ["wells.yaml"], "backbones": [], "figures": {}}
    write_yaml(folder / "given.yaml", given)
    (folder / "mask.png").write_bytes(imagecodecs.png_encode(np.eye(8, dtype=np.uint8)))
    torch.save({"patch_embed.proj.weight": torch.ones(2, 2)}, folder / "weights.pth")
    before = Path.cwd()
    os.chdir(folder)
    try:
        tables = plan(folder, "given").steps
        given_steps = [tables[name] for name in ("given_table", "given_features")]
        for step in [*plan(folder).steps.values(), *given_steps]:
            for job in step.planned:
                ended = run(words_of(step, job))
                assert ended.code == 0, ended.err
    finally:
        os.chdir(before)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextlib.contextmanager
def like_any_user() -> Iterator[None]:
    """Let the rights of files count for this thread, also if it is root's."""
    # Linux, capabilities(7): version 3, two words; CAP_DAC_OVERRIDE is 1, CAP_DAC_READ_SEARCH 2.
    libc, header, sets = ctypes.CDLL(None, use_errno=True), _Header(0x20080522, 0), (_Sets * 2)()
    found = libc.capget(ctypes.byref(header), sets) == 0
    before = sets[0].effective
    sets[0].effective = before & ~0b110
    if not found or libc.capset(ctypes.byref(header), sets):
        pytest.skip("this user may read every file")
    try:
        yield
    finally:
        sets[0].effective = before
        libc.capset(ctypes.byref(header), sets)

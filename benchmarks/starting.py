"""How long jobs take to start: to the first image, and in the whole demo.

The start of a job is the time from the start of its process until its command line runs, and all
later import statements. The process on standby counts with the time that it takes to load.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from results import Part, Row, Table
from start_times import NOTES, STANDBY
from timing import Timed, in_turns, ratio

from transferscope.commands.standby import ADDRESS, OFF

REPOSITORY = Path(__file__).resolve().parent.parent
# All jobs of the demo run, with as little work as can be.
CONFIG = {
    "splits": {"folds": {"group": 3, "image": 3}, "seeds": [0], "halves": 1, "fractions": [1.0]},
    "heads": {"epochs": 2, "patience": 2, "batch_size": 64, "kinds": ["linear"]},
    "compare": {"bootstrap": 100},
}
FIELDS, EPOCHS = 1, 2
DATASETS, TRAINED = ("opencell-demo", "hpa-demo"), "vit-mini-mae-hpa-demo"
ROUNDS = 3
EMBEDDED = "efficientnet-lite0"


@dataclass
class Started:
    """What one job noted: seconds to its command line, and of the imports after that."""

    to_main: float = 0.0
    imports: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds in total."""
        return self.to_main + self.imports


@dataclass
class Run:
    """A run of the demo: step -> its jobs; seconds in which the process on standby loaded."""

    jobs: dict[str, list[Started]] = field(default_factory=lambda: defaultdict(list))
    standby: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds in which the run started jobs."""
        return self.standby + sum(job.seconds for jobs in self.jobs.values() for job in jobs)


def run(folder: Path) -> Part:
    site = folder / "site"
    site.mkdir()
    shutil.copy(REPOSITORY / "benchmarks/start_times.py", site / "sitecustomize.py")
    image = _first_image(folder / "image", site)
    standby = _demo(folder / "standby", site, None)
    alone = _demo(folder / "alone", site, OFF)
    jobs = sum(map(len, alone.jobs.values()))
    return Part(
        f"Start of jobs ({jobs} of the demo: one fraction, and little work in each job)",
        [
            Row(
                f"from process start to the first image of a job ({EMBEDDED})",
                f"{image['torch'].median:.2f} s, `import torch` alone",
                f"{image['image'].median:.2f} s",
                ratio(image["image"], image["torch"]),
                "<= 2.5",
                "ratio: seconds",
            ),
            Row(
                "all jobs of the demo, one at a time",
                f"{alone.seconds:.0f} s, each by itself",
                f"{standby.seconds:.0f} s, with a process on standby",
                alone.seconds / standby.seconds,
                ">= 2",
                f"{standby.standby:.1f} s of it: the process on standby loads",
            ),
        ],
        [_table(alone, standby)],
        "The start of a job: from the start of its process until its command line runs, and all "
        "later import statements.",
    )


def _table(alone: Run, standby: Run) -> Table:
    rows = []
    for step, jobs in alone.jobs.items():
        means = [sum(job.seconds for job in one) / len(one) for one in (jobs, standby.jobs[step])]
        rows.append([step, str(len(jobs)), *(f"{mean:.2f} s" for mean in means)])
    return Table(["step", "jobs", "start of a job by itself", "with a process on standby"], rows)


def _environment(site: Path, notes: Path, address: str | None) -> dict[str, str]:
    paths = [str(site), str(REPOSITORY / "workflow"), os.environ.get("PYTHONPATH", "")]
    found = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "HF_HUB_OFFLINE": "1",
        NOTES: str(notes),
    }
    found.pop(ADDRESS, None)
    return found if address is None else {**found, ADDRESS: address}


def _demo(folder: Path, site: Path, address: str | None, *options: str) -> Run:
    """Run the demo in a new folder."""
    shutil.copytree(REPOSITORY / "resources", folder / "resources")
    _changed(REPOSITORY / "config.yaml", folder / "config.yaml", CONFIG)
    card = folder / f"resources/backbones/{TRAINED}.yaml"
    _changed(card, card, {"epochs": EPOCHS})
    for name in DATASETS:
        card = folder / f"resources/datasets/{name}.yaml"
        _changed(card, card, {"simulate": {"fovs_per_group": FIELDS}})
    notes = folder / "notes.tsv"
    _call(folder, _environment(site, notes, address), "--cores", "1", *options)
    return _read(notes)


def _changed(path: Path, to: Path, changes: dict[str, Any]) -> None:
    """Copy a YAML file with other values; those of a mapping change key by key."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    to.write_text(yaml.safe_dump(found), encoding="utf-8")


def _call(folder: Path, environment: dict[str, str], *options: str) -> str:
    words = [sys.executable, "-m", "snakemake", "-s", str(REPOSITORY / "Snakefile")]
    words += ["-d", str(folder), "--configfile", str(folder / "config.yaml"), *options]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the demo failed:\n{done.stderr[-4000:]}")
    return done.stdout


def _read(notes: Path) -> Run:
    found = Run()
    jobs: dict[str, Started] = defaultdict(Started)
    running: set[str] = set()
    begun: dict[str, float] = {}
    for line in notes.read_text(encoding="utf-8").splitlines():
        what, job, text = line.split("\t")
        seconds = float(text)
        if what == "start":
            begun[job] = seconds
        elif what == "main":
            jobs[job].to_main = seconds - begun[job]
            running.add(job)
        elif what == "import" and job == STANDBY:
            found.standby += seconds
        elif what == "import" and job in running:
            jobs[job].imports += seconds
    for job, started in jobs.items():
        # <results>/<study>/logs/<step>/...
        found.jobs[Path(job).with_suffix("").parts[3]].append(started)
    return found


def _first_image(folder: Path, site: Path) -> dict[str, Timed]:
    """Time a job that embeds, to its first image, and `import torch`."""
    _demo(folder, site, OFF, "--until", "tiles")
    notes = folder / "image.tsv"
    environment = _environment(site, notes, OFF)
    plan = _call(folder, environment, "-n", "-F", "-p")
    wanted = f"transferscope --log results/demo/logs/embed/opencell-demo/{EMBEDDED}/map.log "
    line = next(one for one in plan.splitlines() if wanted in one)
    words = shlex.split(line.partition("transferscope ")[2])
    # By itself: without what belongs to a study, and for a store of its own.
    words = words[words.index("embed") :]
    words = words[: words.index("--also")]

    def first_image() -> Timed:
        manifest = folder / "first.json"
        for path in folder.glob("first*"):
            (shutil.rmtree if path.is_dir() else Path.unlink)(path)
        notes.unlink(missing_ok=True)
        words[words.index("--manifest") + 1] = str(manifest)
        command = "from transferscope.commands.entry import main; main()"
        _quiet(folder, environment, "-c", command, "--log", str(folder / "first.log"), *words)
        lines = [one.split("\t") for one in notes.read_text(encoding="utf-8").splitlines()]
        at = {what: float(seconds) for what, _, seconds in lines}
        return Timed([at["image"] - at["start"]])

    plain = {key: value for key, value in environment.items() if key != NOTES}
    ways = {"torch": lambda: _quiet(folder, plain, "-c", "import torch"), "image": first_image}
    in_turns(ways, 1)
    return in_turns(ways, ROUNDS)


def _quiet(folder: Path, environment: dict[str, str], *words: str) -> None:
    subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, check=True
    )

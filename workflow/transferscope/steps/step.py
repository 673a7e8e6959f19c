"""What a step of the workflow is: all that rules, estimates, status and checks ask about it.

Each step is one class, whose methods answer for a study. Inputs and parameters are constants, paths
with wildcards, or functions of a job's wildcards, as Snakemake takes them.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from transferscope.config import probed
from transferscope.config.probed import Probed
from transferscope.costs.needs import Need
from transferscope.costs.sizes import Sizes
from transferscope.steps.signatures import with_signature
from transferscope.study.study import Study

Wildcards = Any
# Of what a job was made from: enough to tell two settings apart.
DIGEST_DIGITS = 16
Job = dict[str, str]


@dataclass(frozen=True)
class Shown:
    """An output that the report shows.

    Parameters
    ----------
    path
        A file, or a folder of pictures.
    caption
        File of the caption, relative to the folder of the workflow.
    category, subcategory, labels
        Where the report shows it.
    is_folder
        Whether it is a folder of `{name}.png`.
    """

    path: Path
    caption: str
    category: str
    subcategory: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    is_folder: bool = False


@dataclass(frozen=True)
class Ancient:
    """An input whose date does not count.

    Parameters
    ----------
    find
        Returns its files, given the wildcards of a job.
    """

    find: Callable[[Wildcards], list[Path]]


@dataclass(frozen=True)
class Folder:
    """An output that is a folder, and not shown."""

    path: Path


class Step:
    """One step of the workflow, for one study.

    Subclasses give inputs, outputs and parameters of the step. If the study has no `jobs` for it,
    the workflow has no such rule.

    Parameters
    ----------
    study
        The study.
    sizes
        How large its data and its networks are.

    Attributes
    ----------
    name
        Name of the rule; in the command line with hyphens.
    version
        Raised when the step's results change, so that its jobs run again: Snakemake does not see a
        change inside the package.
    wildcards
        What distinguishes its jobs, in the order of the folders of logs.
    options
        Which inputs, outputs and parameters are options of the command: `table`, or
        `output=svg` where the option has another name than the output. ``threads`` is the number
        of processor cores.
    is_target
        Whether a finished study has its outputs; else only what is made from them.
    is_local
        Whether it runs where Snakemake does, and not on a cluster.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    wildcards: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[str, ...]] = ()
    is_target: ClassVar[bool] = True
    is_local: ClassVar[bool] = False

    def __init__(self, study: Study, sizes: Sizes) -> None:
        self.study = study
        self.sizes = sizes
        self.config = study.config
        self.paths = study.paths
        self._needs: dict[str, Need] = {}

    # What a step says ------------------------------------------------------------------------

    def jobs(self) -> Sequence[Job]:
        """Return the wildcards of each job of the whole study; none where it is not wanted."""
        raise NotImplementedError

    def inputs(self) -> dict[str, Any]:
        """Return what a job reads, by name."""
        return {}

    def outputs(self) -> dict[str, Any]:
        """Return what a job writes, by name: paths, `Shown` or `Folder`."""
        raise NotImplementedError

    def params(self) -> dict[str, Any]:
        """Return settings of a job, and digests of what else makes it run again."""
        return {}

    def unrecorded(self, wildcards: Wildcards) -> list[str]:
        """Return arguments of a job's command on which its results do not depend."""
        return []

    def need(self, wildcards: Wildcards) -> Need:
        """Return the memory and time of a job."""
        raise NotImplementedError

    @property
    def family(self) -> str:
        """Return the name under which reports to the user list the step."""
        return self.name

    @property
    def command(self) -> str:
        """Return the words of the command line that name the step."""
        return self.name.replace("_", "-")

    @property
    def threads(self) -> int:
        """Return the processor cores of a job."""
        return 1

    @property
    def uses_gpus(self) -> bool:
        """Return whether any job of the step may ask for a GPU."""
        return False

    def gpus(self, wildcards: Wildcards) -> int:
        """Return the GPUs of a job of such a step."""
        return 1

    def gpus_here(self, wildcards: Wildcards) -> int:
        """Return the same of a job that runs on this machine."""
        return self.gpus(wildcards)

    def labelled_table(self) -> Any:
        """Return the input of the tile table whose labels count: those given by hand, if any."""
        datasets = self.study.datasets.values()
        if all(located.card.label_table is None for located in datasets):
            return self.paths.tile_table()
        return self._labelled_table

    def _labelled_table(self, wildcards: Wildcards) -> Path:
        return self.study.table_of(wildcards.dataset)

    # What follows from it --------------------------------------------------------------------

    @cached_property
    def planned(self) -> list[Job]:
        """The jobs of the whole study."""
        return list(self.jobs())

    def files(self) -> list[Path]:
        """Return every output of every job of the study."""
        return [path for job in self.planned for path in self.files_of(job)]

    @cached_property
    def _output_patterns(self) -> list[Any]:
        return [getattr(output, "path", output) for output in self.outputs().values()]

    def files_of(self, job: Job) -> list[Path]:
        """Return the outputs of one job."""
        return [path for each in self._output_patterns for path in _paths(each, job)]

    def companions(self, job: Job) -> list[Path]:
        """Return the files that belong to a job's outputs, and that Snakemake does not know."""
        return []

    def name_of(self, job: Job) -> str:
        """Return the name of a job, under which its log and its record are filed."""
        return self.place.format(**job)

    def made_again(self, job: Job) -> list[Path]:
        """Return the files that have to be made anew if a job's results are of other settings."""
        return self.files_of(job)

    def given(self, wildcards: Wildcards) -> list[Path]:
        """Return the user's files whose content counts, whatever their date."""
        return []

    def depends_on(self) -> dict[str, Any]:
        """Return what the results of a job depend on, by name, as `params` does."""
        return self.params()

    def made_from(self) -> Callable[[Job], dict[str, str]]:
        """Return a function that digests what a job's results depend on, by name.

        Places do not count: a study that is moved is the same study.
        """
        found = {**self.depends_on(), "version": self.version}
        fixed = {name: self._digest(value) for name, value in found.items() if not callable(value)}
        asked = {name: value for name, value in found.items() if callable(value)}

        def of(job: Job) -> dict[str, str]:
            wildcards = SimpleNamespace(**job)
            own = {name: self._digest(value(wildcards)) for name, value in asked.items()}
            own |= {f"content of {path.name}": _content(path) for path in self.given(wildcards)}
            return {name: digest for name, digest in (fixed | own).items() if digest}

        return of

    def _digest(self, value: Any) -> str:
        """Return a digest of a parameter; none of a path."""
        if isinstance(value, Path):
            return ""
        text = json.dumps(value, default=str).replace(f"{self.paths.root}/", "")
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]

    def read_by(self, job: Job) -> list[Path]:
        """Return the inputs of one job."""
        inputs = [getattr(given, "find", given) for given in self.inputs().values()]
        return [path for each in inputs for path in _paths(each, job)]

    def files_read(self) -> set[Path]:
        """Return every input of every job of the study."""
        return {path for job in self.planned for path in self.read_by(job)}

    def parameters(self, job: Job) -> dict[str, Any]:
        """Return the parameters of one job."""
        wildcards = SimpleNamespace(**job)
        return {name: _found(value, wildcards) for name, value in self.params().items()}

    @property
    def log(self) -> Path:
        """The log of a job, with wildcards."""
        return self.paths.log(self.place)

    @property
    def place(self) -> str:
        """Where the log of a job is filed, with wildcards."""
        return "/".join([self.name, *(f"{{{wildcard}}}" for wildcard in self.wildcards)])

    def recorded(self) -> dict[str, Any]:
        """Return Snakemake's parameters of a job: one that makes it run again, and its command."""
        params = {**self.params(), "version": self.version}

        def settings(wildcards: Wildcards) -> str:
            found = {name: _found(value, wildcards) for name, value in params.items()}
            return json.dumps(found, default=str)

        # The same for all jobs, of which there may be thousands, where nothing asks for a job's.
        is_one = not any(map(callable, params.values()))
        return {
            "settings": settings(None) if is_one else with_signature(settings),
            "command": with_signature(self.arguments),
        }

    def arguments(self, wildcards: Wildcards, input: Any, output: Any, threads: int) -> Arguments:
        """Return the command of a job behind `transferscope`, as Snakemake asks for a parameter.

        Parameters
        ----------
        wildcards, input, output, threads
            Of the job. A parameter that takes its files and cores counts for no rerun.
        """
        return Arguments(self, wildcards, input, output, threads)

    def values(self, wildcard: str) -> list[str]:
        """Return the values of a wildcard in the jobs of the study."""
        return list(dict.fromkeys(job[wildcard] for job in self.planned))

    def resources(self, runs_here: Callable[[], bool] = lambda: True) -> dict[str, Any]:
        """Return Snakemake's resources of a job: memory in MiB and minutes double per attempt.

        Parameters
        ----------
        runs_here
            Tells, once jobs are planned, whether they run on this machine.
        """

        def gpus(wildcards: Wildcards) -> int:
            return self.gpus_here(wildcards) if runs_here() else self.gpus(wildcards)

        return {
            "mem_mb": self._doubled("mem_mb"),
            "runtime": self._doubled("minutes"),
            "gpu": with_signature(gpus) if self.uses_gpus else 0,
        }

    def _doubled(self, which: str) -> Callable[..., int]:
        def ask(wildcards: Wildcards, attempt: int) -> int:
            amount: int = getattr(self._need_of(wildcards), which)
            return int(amount * 2 ** (attempt - 1))

        return with_signature(ask)

    def _need_of(self, wildcards: Wildcards) -> Need:
        """Return the need of a job; found once, though it is asked for each resource."""
        job = str(wildcards)
        if job not in self._needs:
            self._needs[job] = self.need(wildcards)
        return self._needs[job]


def _paths(given: Any, job: Job) -> list[Path]:
    """Return files, given as one or several patterns, or as a function of the wildcards."""
    found = _found(given, SimpleNamespace(**job))
    several = found if isinstance(found, list) else [found]
    # What a function returns is no pattern: braces in the name of a user's file are its own.
    return [Path(path if callable(given) else str(path).format(**job)) for path in several]


@dataclass(frozen=True)
class Arguments:
    """The command of one job; its text is made only when the job runs, for there may be thousands.

    Parameters
    ----------
    step
        The step.
    wildcards, input, output, threads
        Of the job.
    """

    step: Step
    wildcards: Wildcards
    input: Any
    output: Any
    threads: int

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        params = self.step.params()
        words = [*self._recording(), *self.step.command.split()]
        for option in self.step.options:
            name, _, key = option.partition("=")
            words += [f"--{name.replace('_', '-')}", str(self._value(key or name, params))]
        # Options that only some jobs have.
        words += _found(params.get("more", []), self.wildcards)
        words += self.step.unrecorded(self.wildcards)
        return shlex.join(words)

    def _recording(self) -> list[str]:
        """Return what tells the job to record its files."""
        step = self.step
        if not step.is_target:
            return []
        job = {name: getattr(self.wildcards, name) for name in step.wildcards}
        recorded = {
            "job": step.name_of(job),
            "made_from": step.made_from()(job),
            "makes": list(map(str, step.files_of(job))),
            "companions": list(map(str, step.companions(job))),
        }
        return ["--results", str(step.paths.root), "--record", json.dumps(recorded)]

    def _value(self, key: str, params: Mapping[str, Any]) -> Any:
        if key == "threads":
            return self.threads
        if key in params:
            return _found(params[key], self.wildcards)
        for files in (self.output, self.input, self.wildcards):
            if hasattr(files, key):
                return getattr(files, key)
        raise KeyError(f"{self.step.name} has no {key}")


def _found(value: Any, wildcards: Wildcards) -> Any:
    return value(wildcards) if callable(value) else value


def _content(path: Path) -> str:
    """Return a digest of a file's content."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]
    except OSError:
        return "unreadable"


def per_dataset(names: Iterable[str]) -> list[Job]:
    """Return one job per dataset."""
    return [{"dataset": name} for name in names]


def per_probed(probed: Iterable[Probed]) -> list[Job]:
    """Return one job per representation and channel strategy that is evaluated."""
    return [
        {"dataset": p.dataset, "representation": p.representation, "channels": p.channels}
        for p in probed
    ]


def probed_of(wildcards: Wildcards) -> Probed:
    """Return what a job evaluates."""
    return Probed(wildcards.dataset, wildcards.representation, wildcards.channels)


def backbone_of(wildcards: Wildcards) -> str:
    """Return the backbone of a job on a store, or on one of its representations."""
    name: str | None = getattr(wildcards, "backbone", None)
    return name or probed.backbone_of(wildcards.representation)

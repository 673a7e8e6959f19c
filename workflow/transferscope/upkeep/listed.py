"""The checksums that the jobs of a study have recorded, and the files as they are now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from transferscope.config.paths import StudyPaths
from transferscope.errors import first_line
from transferscope.runtime.job_records import DamagedRecordError, JobRecord, NewerRecordError
from transferscope.steps.plan import Plan
from transferscope.stores.manifest import UPDATE
from transferscope.upkeep.faults import Fault
from transferscope.upkeep.layout import files_in, results_below
from transferscope.upkeep.ran import RECORD

THREADS = 4
ACCEPT = "--accept"


@dataclass(frozen=True)
class Listed:
    """A file that a job has recorded.

    Parameters
    ----------
    sha256
        Of its bytes.
    outputs
        The outputs of the job that Snakemake knows.
    """

    sha256: str
    outputs: tuple[Path, ...]


@dataclass
class Listing:
    """The records of all jobs of a study.

    Parameters
    ----------
    root
        Folder of the study.
    files
        What is recorded, by path.
    faults
        Records that are damaged.
    unfinished
        Jobs that have begun and not ended, by name, and their outputs.
    """

    root: Path
    files: dict[Path, Listed] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unfinished: dict[str, tuple[Path, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: StudyPaths) -> Listing:
        """Read the records of a study."""
        new = cls(paths.root)
        folder = paths.checksums("").parent
        for path in sorted(folder.rglob("*.sha256")):
            if not path.name.startswith("."):
                new._add(path, path.relative_to(folder).with_suffix("").as_posix())
        return new

    def _add(self, path: Path, job: str) -> None:
        try:
            record = JobRecord.read(path, job)
        except NewerRecordError:
            what = "a newer version of the program has written it"
            self.faults.append(Fault(path, what, fix=UPDATE))
            return
        except (DamagedRecordError, OSError) as error:
            what = f"the list of what a job has written is damaged: it {first_line(error)}"
            fix = f"Compare its files by hand, then: transferscope verify {ACCEPT}"
            self.faults.append(Fault(path, what, fix=fix))
            return
        outputs = tuple(self.root / name for name in record.makes)
        if record.sums is None:
            self.unfinished[job] = outputs
        for name, sum_ in (record.sums or {}).items():
            if not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts:
                self.files[self.root / name] = Listed(sum_, outputs)

    def altered(self) -> list[Fault]:
        """Return the files that are missing or are not what was written."""
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(self._fault, self.files)
            return [fault for fault in found if fault is not None]

    def _fault(self, path: Path) -> Fault | None:
        listed = self.files[path]
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == listed.sha256:
                    return None
            what = "is not what was written: its sha256 differs"
        except FileNotFoundError:
            what = "is missing"
        except OSError as error:
            what = f"cannot be read ({first_line(error)})"
        # Another output of the job has to go with a file that Snakemake does not know.
        outputs = () if path in listed.outputs else listed.outputs[:1]
        return Fault(path, what, outputs=outputs, keeps_store=True)

    def unlisted(self) -> Iterator[Path]:
        """Yield the results that no job has recorded."""
        return (path for path in results_below(self.root, self.root) if path not in self.files)

    def cut_short(self, is_running: Callable[[Path], bool]) -> Iterator[Fault]:
        """Yield the outputs of jobs that have begun, have not ended and do not run."""
        paths = StudyPaths(self.root)
        for job, outputs in self.unfinished.items():
            there = [path for path in outputs if path.exists()]
            if there and not is_running(paths.log(job)):
                what = f"its job, {job}, was cut short"
                yield Fault(there[0], what, outputs=tuple(there[1:]), keeps_store=True)


def expected_files(plan: Plan) -> set[Path]:
    """Return the files that the jobs of a finished study have written and recorded."""
    found = {plan.paths.config, plan.paths.versions}
    for step in plan.steps.values():
        for job in step.planned if step.is_target else ():
            found |= {*step.files_of(job), *step.companions(job)}
    return found


def accept(plan: Plan, checksums: Callable[[Path, list[Path]], dict[str, str]]) -> list[str]:
    """Record the files of jobs that have no sound record, as they are now; return the jobs.

    Parameters
    ----------
    plan
        The study.
    checksums
        Returns the sha256 of files by their name in a study.
    """
    accepted, paths = [], plan.paths
    own = [path for path in (paths.config, paths.versions) if path.is_file()]
    if own and not _is_recorded(paths, RECORD):
        sums = checksums(paths.root, own)
        JobRecord(RECORD, {}, tuple(sums), sums).write(paths.checksums(RECORD))
        accepted.append(RECORD)
    for step in plan.steps.values():
        for job in step.planned if step.is_target else ():
            name, outputs = step.name_of(job), step.files_of(job)
            if _is_recorded(paths, name) or not all(path.exists() for path in outputs):
                continue
            below = [path for output in outputs for path in results_below(paths.root, output)]
            below += [path for place in step.companions(job) for path in files_in(place)]
            makes = tuple(path.relative_to(paths.root).as_posix() for path in outputs)
            sums = checksums(paths.root, below)
            JobRecord(name, {}, makes, sums).write(paths.checksums(name))
            accepted.append(name)
    return accepted


def _is_recorded(paths: StudyPaths, job: str) -> bool:
    try:
        JobRecord.read(paths.checksums(job), job)
    except NewerRecordError:
        return True
    except (OSError, DamagedRecordError):
        return False
    return True

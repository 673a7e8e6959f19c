"""The record of a job of a study: written when it begins, and when it has ended well."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from transferscope.config.paths import StudyPaths
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import write_atomically, written
from transferscope.runtime.job_records import JobRecord
from transferscope.runtime.json_text import parse_json
from transferscope.runtime.usage import began, usage
from transferscope.upkeep.layout import files_in, is_result, results_below


@dataclass(frozen=True)
class Recording:
    """A job of a study that is being recorded.

    Parameters
    ----------
    paths
        Paths of the study.
    record
        Its record at the beginning.
    companions
        Files that belong to its outputs.
    began
        When its process began, in seconds of the clock.
    """

    paths: StudyPaths
    record: JobRecord
    companions: tuple[Path, ...]
    began: float

    @classmethod
    def of(cls, root: Path, described: str) -> Recording:
        """Return the recording of a job.

        Parameters
        ----------
        root
            Folder of the study.
        described
            What `steps.step.Arguments` says of the job, as JSON.

        Raises
        ------
        UserError
            If it is no such description.
        """
        try:
            job = parse_json(described)
            makes = tuple(Path(name).relative_to(root).as_posix() for name in job["makes"])
            record = JobRecord(job["job"], dict(job["made_from"]), makes)
            companions = tuple(map(Path, job["companions"]))
        except (ValueError, TypeError, LookupError):
            fix = "Leave it out: the workflow gives it."
            raise UserError(Problem("--record", "describes no job of a study", fix)) from None
        return cls(StudyPaths(root), record, companions, began())

    def begin(self) -> None:
        """Write the record of a job that begins."""
        self.record.write(self.paths.checksums(self.record.job))

    def end(self) -> None:
        """Write the record of the job, with the sha256 of each file; and what it has used."""
        sums = checksums(self.paths.root, self._files())
        replace(self.record, sums=sums).write(self.paths.checksums(self.record.job))
        used = usage(self.began)
        line = "\t".join(f"{amount:.2f}" for amount in used.values())
        write_atomically(self.paths.usage(self.record.job), "\t".join(used) + f"\n{line}\n")

    def _files(self) -> list[Path]:
        outputs = [self.paths.root / name for name in self.record.makes]
        below = [path for output in outputs for path in results_below(self.paths.root, output)]
        below += [path for place in self.companions for path in files_in(place)]
        found = [*below, *(path for path in sorted(written) if is_result(self.paths.root, path))]
        return list(dict.fromkeys(path for path in found if path.is_file()))


def checksums(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """Return the sha256 of files by their name in a study."""
    sums = {}
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sums[path.relative_to(root).as_posix()] = digest
    return sums

"""Which finished jobs were made from something else than the study asks for now.

Snakemake knows what it has run in its working folder. The records of the jobs lie with the results,
and say the same where that folder, or the history in it, is another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transferscope.runtime.job_records import DamagedRecordError, JobRecord, NewerRecordError
from transferscope.steps.plan import Plan
from transferscope.steps.step import Job, Step

CUT_SHORT = "it was cut short"


@dataclass(frozen=True)
class Outdated:
    """A job whose results are not those that the study asks for.

    Parameters
    ----------
    step
        Name of its step.
    job
        Its name.
    reasons
        What they were made from that has another value now.
    files
        What has to be made again.
    """

    step: str
    job: str
    reasons: Sequence[str]
    files: Sequence[Path]


def outdated_jobs(plan: Plan, is_running: Callable[[Path], bool]) -> list[Outdated]:
    """Return the jobs with results of other settings, or of a job that was cut short.

    Jobs without a record are left to Snakemake.

    Parameters
    ----------
    plan
        The study as it is asked for now.
    is_running
        Returns whether the job runs whose log this is.
    """
    if not plan.paths.checksums("").parent.is_dir():
        return []
    found = (one for step in plan.steps.values() if step.is_target for one in _of_step(step))
    return [
        one
        for one in found
        if CUT_SHORT not in one.reasons or not is_running(plan.paths.log(one.job))
    ]


def _of_step(step: Step) -> Iterator[Outdated]:
    made_from = step.made_from()
    for job in step.planned:
        record = _record(step, job)
        if record is None or not any(path.exists() for path in step.files_of(job)):
            continue
        if record.sums is None:
            reasons = [CUT_SHORT]
        else:
            now, then = made_from(job), record.made_from
            reasons = [name for name in {**now, **then} if then and now.get(name) != then.get(name)]
        if reasons:
            yield Outdated(step.name, record.job, reasons, step.made_again(job))


def _record(step: Step, job: Job) -> JobRecord | None:
    name = step.name_of(job)
    try:
        return JobRecord.read(step.paths.checksums(name), name)
    except (OSError, DamagedRecordError, NewerRecordError):
        return None  # as `verify` tells


def described(outdated: Iterable[Outdated]) -> list[str]:
    """Return one line per step: how many jobs, and why."""
    by_step: dict[str, list[Outdated]] = {}
    for one in outdated:
        by_step.setdefault(one.step, []).append(one)
    lines = []
    for step, jobs in by_step.items():
        why = ", ".join(dict.fromkeys(reason for one in jobs for reason in one.reasons))
        count = f"{len(jobs)} jobs" if len(jobs) > 1 else jobs[0].job
        lines.append(f"{step}: {count} ({why})")
    return lines

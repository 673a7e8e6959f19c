"""Progress of a study: jobs that are done, running, stale, failed or to do, per rule."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from transferscope.errors import Problem, UserError
from transferscope.stores.block_store import blocks_done
from transferscope.stores.manifest import store_of

DONE, RUNNING, STALE, FAILED, TO_DO = STATES = ("done", "running", "stale", "failed", "to do")
OTHER_SETTINGS = "made from something else than the study asks for now"
FAILURE = re.compile(r"^(transferscope: \d+ problems? found|Traceback)", re.MULTILINE)


@dataclass(frozen=True)
class Job:
    """One job of a study.

    Parameters
    ----------
    rule, output
        Its rule, and the first of its outputs.
    state
        One of `STATES`.
    why
        Reason given by Snakemake or the log; empty if it is done.
    bytes
        Size of its outputs on disk, including stores.
    blocks
        Finished blocks of its store, and their total number; None: it fills no store.
    """

    rule: str
    output: str
    state: str
    why: str
    bytes: int
    blocks: tuple[int, int] | None = None

    @property
    def reason(self) -> str:
        """Why it is not done, and how much of its store is filled."""
        filled = f", {self.blocks[0]} of {self.blocks[1]} blocks" if self.blocks else ""
        return f"{self.why}{filled}"


@dataclass
class Status:
    """Progress of a study.

    Parameters
    ----------
    jobs
        All jobs, in Snakemake's order.
    """

    jobs: list[Job]

    def rules(self) -> dict[str, dict[str, int]]:
        """Return rule -> number of jobs in each state, and bytes on disk."""
        counted: dict[str, dict[str, int]] = {}
        for job in self.jobs:
            row = counted.setdefault(job.rule, {**dict.fromkeys(STATES, 0), "bytes": 0})
            row[job.state] += 1
            row["bytes"] += job.bytes
        return counted

    def unfinished(self) -> Iterator[str]:
        """Yield what is not done and why, one line for all jobs of a rule with one reason."""
        alike: dict[tuple[str, str, str], list[Job]] = {}
        for job in self.jobs:
            if job.state != DONE and job.why:
                alike.setdefault((job.state, job.rule, job.reason), []).append(job)
        for (state, rule, reason), jobs in alike.items():
            what = jobs[0].output if len(jobs) == 1 else f"{len(jobs)} jobs of {rule}"
            yield f"{state}: {what} ({reason})"

    def seconds_left(self, per_job: Mapping[str, float]) -> tuple[float, list[str]]:
        """Return the time of what is not done, one job after the other, and what it leaves out.

        Parameters
        ----------
        per_job
            Rule -> mean seconds of its finished jobs.

        Returns
        -------
        tuple
            Seconds, and the rules of which no job has finished yet.
        """
        left = {
            rule: sum(row[s] for s in STATES if s != DONE) for rule, row in self.rules().items()
        }
        known = sum(n * per_job[rule] for rule, n in left.items() if rule in per_job)
        return known, [rule for rule, n in left.items() if n and rule not in per_job]

    def as_plain(self) -> dict[str, object]:
        """Return rules and jobs as plain data."""
        return {"rules": self.rules(), "jobs": [asdict(job) for job in self.jobs]}


def status(summary: str, logs: Mapping[str, Path] | None = None) -> Status:
    """Return the progress of a study.

    Parameters
    ----------
    summary
        Result of `snakemake_summary`.
    logs
        Output -> log of its job. Snakemake knows no log of a job that has not finished, from which
        one would see that it runs, and which outputs are of one job.
    """
    logs = logs or {}
    jobs: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in csv.DictReader(summary.splitlines(), delimiter="\t"):
        # Outputs of one job have the same log.
        log = str(logs.get(row["output_file"], row["log-file(s)"].partition(",")[0]))
        row["log-file(s)"] = log
        jobs.setdefault((row["rule"], log if log != "-" else row["output_file"]), []).append(row)
    return Status([_job(rule, rows) for (rule, _), rows in jobs.items()])


def snakemake_summary(snakefile: Path, arguments: Sequence[str]) -> str:
    """Return Snakemake's summary of all outputs of the study, as TSV.

    Parameters
    ----------
    snakefile
        The workflow.
    arguments
        Further arguments, such as `--configfile`.

    Raises
    ------
    UserError
        With the message of Snakemake, if it cannot plan the study.
    """
    snakemake = str(Path(sys.executable).parent / "snakemake")
    command = [snakemake, "--snakefile", str(snakefile), "--cores", "1", *arguments, "--summary"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(Problem("snakemake --summary", "\n".join(said[-20:]) or "it failed"))
    lines = done.stdout.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("output_file\t")), 0)
    return "\n".join(lines[start:])


def _job(rule: str, rows: Sequence[dict[str, str]]) -> Job:
    outputs = [Path(row["output_file"]) for row in rows]
    log = Path(rows[0]["log-file(s)"])
    # The state of a job is that of its least finished output.
    state, why = max((_state(row, log) for row in rows), key=lambda found: STATES.index(found[0]))
    done = next(filter(None, map(blocks_done, map(store_of, _manifests(outputs)))), None)
    return Job(rule, str(outputs[0]), state, why, disk_usage(outputs), done)


def _state(row: dict[str, str], log: Path) -> tuple[str, str]:
    """Return the state of one output, and the reason."""
    if is_running(log):
        return RUNNING, "its job runs now"
    if row["plan"] == "no update":
        return DONE, ""
    if Path(row["output_file"]).exists():
        # Snakemake sees nothing itself: the record of the job, or of one before it, says so.
        return STALE, OTHER_SETTINGS if row["status"] == "ok" else row["status"]
    if log.is_file() and FAILURE.search(log.read_text(encoding="utf-8", errors="replace")):
        return FAILED, f"see {log}"
    return TO_DO, row["status"]


def is_running(log: Path) -> bool:
    """Return whether a process holds the lock of the job whose log this is."""
    lock = log.with_name(f".{log.name}.lock")
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # such as a folder that this user may only read
        return False


def _manifests(outputs: Iterable[Path]) -> list[Path]:
    return [path for path in outputs if path.suffix == ".json"]


def disk_usage(outputs: Iterable[Path]) -> int:
    """Return the bytes of files and folders, including the stores of manifests."""
    outputs = list(outputs)
    for manifest in _manifests(outputs):
        outputs += [store_of(manifest), manifest.with_suffix(".blocks")]
    files = (f for path in outputs for f in (path, *path.rglob("*")) if f.is_file())
    return sum(file.stat().st_size for file in files)

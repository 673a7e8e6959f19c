"""Where time and memory went: Snakemake's records of the jobs, gathered."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from transferscope.errors import Problem, UserError

# Snakemake's names, and ours with units.
COLUMNS = {"s": "seconds", "cpu_time": "core_seconds", "max_rss": "peak_mib"}


def job_costs(folder: Path) -> pd.DataFrame:
    """Return one row per job: rule, job, seconds, core seconds, and peak memory in MiB.

    Parameters
    ----------
    folder
        Folder of the records, `<results>/<study>/benchmarks`; each file is one job's.

    Raises
    ------
    UserError
        Where no job has left a record yet.
    """
    files = sorted(path for path in folder.rglob("*.tsv") if path.stat().st_size)
    if not files:
        fix = "Run the study first: each finished job leaves its record there."
        raise UserError(Problem(str(folder), "there are no records of finished jobs", fix))
    rows = [_record(path, folder) for path in files]
    return pd.DataFrame(rows, columns=["rule", "job", *COLUMNS.values()])


def _record(path: Path, folder: Path) -> list[object]:
    rule, *job = path.relative_to(folder).with_suffix("").parts
    # A job that was too short to be measured has "-" or "NA".
    found = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1]
    return [rule, "/".join(job), *found.reindex(list(COLUMNS)).astype(float)]


def rule_costs(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per rule, the longest first: number of jobs, sums of times, highest memory.

    Parameters
    ----------
    jobs
        What `job_costs` returns.
    """
    summed = jobs.groupby("rule", sort=True).agg(
        jobs=("job", "size"),
        seconds=("seconds", "sum"),
        core_seconds=("core_seconds", "sum"),
        longest_seconds=("seconds", "max"),
        peak_mib=("peak_mib", "max"),
    )
    return summed.sort_values("seconds", ascending=False, kind="stable").reset_index()

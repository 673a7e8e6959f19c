"""Time and memory per job and rule, from the records of the jobs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from transferscope.errors import Problem, UserError

# Columns, named as in Snakemake's benchmark files, which older studies have -> names with units.
COLUMNS = {"s": "seconds", "cpu_time": "core_seconds", "max_rss": "peak_mib"}


def job_costs(folder: Path) -> pd.DataFrame:
    """Return one row per job: rule, job, seconds, core seconds, and peak memory in MiB.

    Parameters
    ----------
    folder
        Folder of the benchmarks, `<results>/<study>/benchmarks`, with one file per job.

    Raises
    ------
    UserError
        If no job has finished yet.
    """
    files = sorted(path for path in folder.rglob("*.tsv") if path.stat().st_size)
    if not files:
        fix = "Run the study first: each finished job writes its record there."
        raise UserError(Problem(str(folder), "there are no records of finished jobs", fix))
    rows = [_record(path, folder) for path in files]
    return pd.DataFrame(rows, columns=["rule", "job", *COLUMNS.values()])


def _record(path: Path, folder: Path) -> list[object]:
    rule, *job = path.relative_to(folder).with_suffix("").parts
    # Jobs that were too short to be measured have "-" or "NA".
    found = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1]
    return [rule, "/".join(job), *found.reindex(list(COLUMNS)).astype(float)]


def rule_costs(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per rule, longest first: number of jobs, total times, peak memory.

    Parameters
    ----------
    jobs
        Result of `job_costs`.
    """
    summed = jobs.groupby("rule", sort=True).agg(
        jobs=("job", "size"),
        seconds=("seconds", "sum"),
        core_seconds=("core_seconds", "sum"),
        longest_seconds=("seconds", "max"),
        peak_mib=("peak_mib", "max"),
    )
    return summed.sort_values("seconds", ascending=False, kind="stable").reset_index()


def cost_table(rules: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of a table to read.

    Parameters
    ----------
    rules
        Result of `rule_costs`.
    """
    columns = ["", "jobs", "minutes", "core minutes", "longest job, s", "most memory, MiB"]
    rows = [
        [
            str(r["rule"]),
            str(r["jobs"]),
            f"{r['seconds'] / 60:.1f}",
            f"{r['core_seconds'] / 60:.1f}",
            f"{r['longest_seconds']:.1f}",
            f"{r['peak_mib']:.0f}",
        ]
        for r in rules.to_dict("records")
    ]
    return columns, rows


def costs_so_far(folder: Path) -> tuple[list[str], list[list[str]]]:
    """Return the table of the jobs that have finished; without rows where there is none.

    Parameters
    ----------
    folder
        As of `job_costs`.
    """
    try:
        return cost_table(rule_costs(job_costs(folder)))
    except UserError:
        return [], []

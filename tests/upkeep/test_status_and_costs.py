"""What Snakemake says becomes states of jobs, and its records become costs."""

from pathlib import Path

import pytest

from transferscope.errors import UserError
from transferscope.runtime.locks import exclusive
from transferscope.upkeep.costs import job_costs, rule_costs
from transferscope.upkeep.status import status

HEADER = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("logs").mkdir()
    return tmp_path


def line(output: str, rule: str, how: str, plan: str) -> str:
    return f"{output}\t-\t{rule}\tlogs/{rule}.log\t{how}\t{plan}"


def test_states_and_sizes(root: Path) -> None:
    Path("a.parquet").write_bytes(bytes(1000))
    Path("b.parquet").write_bytes(bytes(10))
    Path("logs/knn.log").write_text("hm\ntransferscope: 2 problems found\n  1. x: y\n")
    lines = [
        HEADER,
        line("a.parquet", "splits", "ok", "no update"),
        line("b.parquet", "heads", "params have changed", "update pending"),
        line("c.parquet", "knn", "missing", "update pending"),
        line("d.parquet", "compare", "missing", "update pending"),
        line("d2.parquet", "compare", "missing", "update pending"),
        line("e.json", "embed", "missing", "update pending"),
    ]
    with exclusive(Path("logs/.embed.log.lock"), "a job"):
        found = status("\n".join(lines))
    states = {job.rule: job.state for job in found.jobs}
    assert states == {
        "splits": "done",
        "heads": "stale",
        "knn": "failed",
        "compare": "to do",
        "embed": "running",
    }
    assert found.rules()["splits"]["bytes"] == 1000
    assert [job.why for job in found.jobs if job.rule == "knn"] == ["see logs/knn.log"]
    after = status("\n".join(lines))
    assert {job.state for job in after.jobs if job.rule == "embed"} == {"to do"}


def test_jobs_that_never_finished_are_counted_and_seen_to_run_by_the_logs_of_the_plan(
    root: Path,
) -> None:
    # Snakemake names no log of a file that it has not made.
    outputs = {f"{name}{end}": name for name in "abcd" for end in (".parquet", ".csv")}
    lines = [HEADER, *(f"{one}\t-\theads\t-\tmissing\tupdate pending" for one in outputs)]
    logs = {one: Path(f"logs/{name}.log") for one, name in outputs.items()}
    with exclusive(Path("logs/.a.log.lock"), "a job"):
        found = status("\n".join(lines), logs)
    assert [job.state for job in found.jobs] == ["running", "to do", "to do", "to do"]
    assert list(found.unfinished()) == [
        "running: a.parquet (its job runs now)",
        "to do: 3 jobs of heads (missing)",
    ]
    assert found.seconds_left({"heads": 5.0}) == (20.0, [])
    assert found.seconds_left({}) == (0, ["heads"])


def test_costs_are_gathered_a_rule(tmp_path: Path) -> None:
    names = "s\th:m:s\tmax_rss\tmax_vms\tcpu_time\n"
    records = {
        "heads/cells/tiny/map.tsv": "10.0\t0:00:10\t500.0\t1\t8.0\n",
        "heads/cells/tiny/replicate.tsv": "30.0\t0:00:30\t700.0\t1\t20.0\n",
        "compare.tsv": "0.1\t0:00:00\t-\t-\tNA\n",
    }
    for name, values in records.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(names + values)
    rules = rule_costs(job_costs(tmp_path)).set_index("rule")
    assert list(rules.index) == ["heads", "compare"]
    heads = rules.loc["heads"]
    assert heads[["jobs", "seconds", "core_seconds", "longest_seconds", "peak_mib"]].tolist() == [
        2,
        40.0,
        28.0,
        30.0,
        700.0,
    ]


def test_costs_before_the_first_job(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no records of finished jobs"):
        job_costs(tmp_path)

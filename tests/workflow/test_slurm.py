"""A real Slurm runs a study through its profile, whatever happens to the jobs.

Clients and daemons are Debian's (`make slurm-packages`); the cluster is started and stopped here.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from factories import REPOSITORY, environment, kill_group, run_snakemake, write_study
from slurm_cluster import slurm_cluster, why_not

REASON = why_not()
if find_spec("snakemake_executor_plugin_slurm") is None:
    REASON = "snakemake-executor-plugin-slurm is not installed"
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(REASON is not None, reason=f"no Slurm: {REASON}"),
]
SCORES = "results/tiny/scores/heads/cells/tiny/map.parquet"
SECONDS = 280
# Quicker than what suits a real cluster, where the controller has more to do.
QUICK = {
    "slurm-status-command": "squeue",
    "slurm-init-seconds-before-status-checks": "1",
    "seconds-between-status-checks": "1",
    "latency-wait": "20",
}
# The first attempt has less than Python itself takes; each further one has ten times as much.
TOO_LITTLE = "heads:mem_mb=60 * 20 ** (attempt - 1)"


def write_small_study(folder: Path) -> Path:
    return write_study(
        folder,
        backbones=["cards/backbones/tiny.yaml"],
        channel_strategies=["map"],
        compute={"device": "auto", "threads": 1},
    )


@pytest.fixture
def cluster(tmp_path):
    with slurm_cluster(tmp_path / "slurm") as running:
        yield running


def start(cluster, folder: Path, log: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the workflow through the profile, with a log; no option but those of `QUICK`."""
    options = [text for name, value in QUICK.items() for text in (f"--{name}", value)]
    known = environment()
    with log.open("w") as out:
        return subprocess.Popen(
            [
                str(Path(sys.executable).parent / "snakemake"),
                "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder),
                "--configfile", str(folder / "study.yaml"),
                "--workflow-profile", str(REPOSITORY / "profiles/slurm"),
                *options, *arguments,
            ],
            env={**known, "PATH": f"{cluster.clients}{os.pathsep}{known['PATH']}"},
            stdout=out,
            stderr=out,
            start_new_session=True,
            text=True,
        )  # fmt: skip


def jobs_of(cluster, rule: str) -> list[dict[str, str]]:
    return [job for job in cluster.jobs() if job.get("Comment", "").startswith(f"rule_{rule}_")]


def test_cancelled_starved_and_lost_jobs_are_made_up_for(cluster, tmp_path):
    local, remote = (write_small_study(tmp_path / name) for name in ("local", "remote"))
    log = tmp_path / "snakemake.log"
    process = start(cluster, remote, log, "--set-resources", TOO_LITTLE, "--", SCORES)

    def running(rule: str) -> list[str]:
        if process.poll() is not None:
            raise AssertionError(f"it ended too early:\n{log.read_text()}")
        return [job["JobId"] for job in jobs_of(cluster, rule) if job["JobState"] == "RUNNING"]

    try:
        cluster.wait_for("tiles", lambda: running("tiles"), SECONDS)
        cluster.lose_node()
        cluster.start_node()
        cluster.wait_for("embed", lambda: running("embed"), SECONDS)
        (cancelled,) = running("embed")
        cluster.call("scancel", cancelled)
        assert process.wait(timeout=SECONDS) == 0, log.read_text()
    finally:
        if process.poll() is None:
            kill_group(process)
    tried = {rule: jobs_of(cluster, rule) for rule in ("tiles", "embed", "heads")}
    assert len(tried["tiles"]) > 1 or int(tried["tiles"][0]["Restarts"]) > 0
    assert [job["JobState"] for job in tried["embed"]] == ["CANCELLED", "COMPLETED"]
    assert len(tried["heads"]) > 1
    assert tried["heads"][-1]["JobState"] == "COMPLETED"
    logs = (remote / ".snakemake/slurm_logs/rule_heads").rglob("*.log")
    assert any("exceeded memory limit" in path.read_text() for path in logs)
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in tried["embed"])
    assert not any("TresPerJob" in job for job in tried["heads"])
    run_snakemake(local, SCORES)
    pd.testing.assert_frame_equal(*(pd.read_parquet(f / SCORES) for f in (local, remote)))

"""A real Slurm runs a study through its profile, whatever happens to the jobs.

Clients and daemons are Debian's (`make slurm-packages`); the cluster is started and stopped here.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml

from factories import (
    REPOSITORY,
    STUDY,
    TINY_NETWORK,
    environment,
    kill_group,
    planned_jobs,
    run_snakemake,
    write_study,
    write_yaml,
)
from slurm_cluster import slurm_cluster, why_not
from transferscope.backbones.embed import embed
from transferscope.cards import TimmCard
from transferscope.config.compute import ComputeSettings
from transferscope.config.model import read_model
from transferscope.runtime.locks import exclusive

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


# Large by what they may take, over before long: heads that a GPU would be asked for.
LARGE_HEADS = {**STUDY["heads"], "epochs": 10**7, "patience": 1, "learning_rate": 0.1}
COMPUTE = {"device": "auto", "threads": 1}
RESULTS = Path("results/tiny")


def write_small_study(folder: Path, **changes: object) -> Path:
    return write_study(
        folder,
        **{
            "backbones": ["cards/backbones/tiny.yaml"],
            "channel_strategies": ["map", "replicate"],
            "compute": COMPUTE,
            "heads": LARGE_HEADS,
            **changes,
        },
    )


def manifests(backbone: str, strategies: Sequence[str]) -> list[str]:
    return [str(RESULTS / f"embeddings/cells/{backbone}/{one}.json") for one in strategies]


def finished(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return time and content of what jobs have made, without locks and logs."""
    made = [folder / RESULTS / name for name in ("tiles", "splits", "embeddings", "scores")]
    files = [path for each in made for path in each.rglob("*")]
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in files
        if path.is_file() and not path.name.startswith(".")
    }


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


@contextmanager
def waiting(folder: Path, job: str) -> Iterator[None]:
    """Let a job wait once it runs, so that it is not over before something happens to it."""
    log = folder / RESULTS / "logs" / f"{job}.log"
    with exclusive(log.with_name(f".{log.name}.lock"), "a test"):
        yield


def jobs_of(cluster, rule: str) -> list[dict[str, str]]:
    return [job for job in cluster.jobs() if job.get("Comment", "").startswith(f"rule_{rule}_")]


def test_cancelled_starved_and_lost_jobs_are_made_up_for(cluster, tmp_path):
    local, remote = (write_small_study(tmp_path / name) for name in ("local", "remote"))
    log = tmp_path / "snakemake.log"
    both = [SCORES, *manifests("tiny", ["map", "replicate"])]
    process = start(cluster, remote, log, "--set-resources", TOO_LITTLE, "--", *both)

    def running(rule: str) -> list[str]:
        if process.poll() is not None:
            raise AssertionError(f"it ended too early:\n{log.read_text()}")
        return [job["JobId"] for job in jobs_of(cluster, rule) if job["JobState"] == "RUNNING"]

    try:
        with waiting(remote, "tiles/cells"):
            cluster.wait_for("tiles", lambda: running("tiles"), SECONDS)
            cluster.lose_node()
        cluster.start_node()
        # The jobs of two strategies, each of which fills the stores of both.
        with waiting(remote, "embed/cells/tiny/map"), waiting(remote, "embed/cells/tiny/replicate"):
            cluster.wait_for("embed", lambda: running("embed"), SECONDS)
            cluster.call("scancel", running("embed")[0])
        assert process.wait(timeout=SECONDS) == 0, log.read_text()
    finally:
        if process.poll() is None:
            kill_group(process)
    tried = {rule: jobs_of(cluster, rule) for rule in ("tiles", "embed", "heads")}
    assert len(tried["tiles"]) > 1 or int(tried["tiles"][0]["Restarts"]) > 0
    ended = sorted(job["JobState"] for job in tried["embed"])
    assert ended == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert len(tried["heads"]) > 1
    assert tried["heads"][-1]["JobState"] == "COMPLETED"
    logs = (remote / ".snakemake/slurm_logs/rule_heads").rglob("*.log")
    assert any("exceeded memory limit" in path.read_text() for path in logs)
    # The node of this machine has GPUs, where this machine itself may have none.
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in tried["embed"] + tried["heads"])
    assert not any("TresPerJob" in job for job in tried["tiles"])
    run_snakemake(local, SCORES)
    pd.testing.assert_frame_equal(*(pd.read_parquet(f / SCORES) for f in (local, remote)))
    made = add_strategy_and_backbone(cluster, remote, both)
    same_as_separate_jobs(remote, made)


def add_strategy_and_backbone(cluster, folder: Path, old: list[str]) -> list[str]:
    """Make more stores: no finished file is touched, and nothing is left to be planned."""
    before = finished(folder)
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study["channel_strategies"] = ["map", "replicate", "adapt"]
    write_yaml(folder / "study.yaml", study)
    wanted = [*old, *manifests("tiny", ["adapt"])]
    assert planned_jobs(folder, *wanted) == {"embed": 1}
    study["backbones"] = [*study["backbones"], "cards/backbones/other.yaml"]
    write_yaml(folder / "study.yaml", study)
    write_yaml(folder / "cards/backbones/other.yaml", {"name": "other", **TINY_NETWORK, "seed": 1})
    wanted += manifests("other", ["map"])
    log = folder / "added.log"
    process = start(cluster, folder, log, "--", *wanted)
    try:
        assert process.wait(timeout=SECONDS) == 0, log.read_text()
    finally:
        if process.poll() is None:
            kill_group(process)
    after = finished(folder)
    assert {path: after[path] for path in before} == before
    assert planned_jobs(folder, *wanted) == {}
    return [path for path in wanted if "embeddings" in path]


def same_as_separate_jobs(folder: Path, made: list[str]) -> None:
    """Compare each store, to the byte, with that of a job that knows of no other strategy."""
    stored, alone = folder / RESULTS / "embeddings/cells", folder / "alone"
    for path in made:
        manifest = (folder / path).relative_to(stored)
        card_path = folder / f"cards/backbones/{manifest.parent}.yaml"
        card, settings = read_model(card_path, TimmCard), ComputeSettings(**COMPUTE)
        tiles, own = folder / RESULTS / "tiles/cells.json", alone / manifest
        embed(tiles, card, manifest.stem, own, settings, card_path=card_path)
    files = [path for path in alone.rglob("*") if path.is_file() and path.name[0] != "."]
    assert len(files) > 10 * len(made)
    for path in files:
        assert path.read_bytes() == (stored / path.relative_to(alone)).read_bytes(), path

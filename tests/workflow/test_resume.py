"""A run that is killed goes on where it stopped and ends with the same bytes."""

import shutil
import subprocess
import time

import pytest

from factories import (
    TINY_NETWORK,
    environment,
    kill_group,
    run_snakemake,
    snakemake_command,
    write_raw,
    write_study,
    write_yaml,
)

pytestmark = pytest.mark.workflow
STORE = "results/tiny/embeddings/cells/slow/map"
TARGET = f"{STORE}.json"


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flags_of(done):
    """Return the flags of finished blocks; others have a temporary name while they are written."""
    return [path for path in done.glob("*") if path.name.isdigit()]


@pytest.fixture(scope="module")
def slow_study(tmp_path_factory):
    """Return a study whose tiles are made and whose backbone takes seconds to embed them."""
    folder = write_study(
        tmp_path_factory.mktemp("slow") / "study",
        backbones=["cards/backbones/slow.yaml"],
        channel_strategies=["map"],
        compute={"device": "cpu", "threads": 1, "batch_size": 4, "block_rows": 8},
    )
    write_raw(folder / "raw", n_groups=40)
    slow = {**TINY_NETWORK, "name": "slow", "input_size": 224, "arguments": {}}
    write_yaml(folder / "cards/backbones/slow.yaml", slow)
    run_snakemake(folder, "results/tiny/tiles/cells.json")
    return folder


def test_a_killed_embedding_resumes_to_the_same_bytes(slow_study, tmp_path):
    whole = shutil.copytree(slow_study, tmp_path / "whole")
    killed = shutil.copytree(slow_study, tmp_path / "killed")
    run_snakemake(whole, TARGET)
    process = subprocess.Popen(
        snakemake_command(killed, TARGET),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    done = killed / f"{STORE}.zarr" / "done" / "c"
    while len(flags_of(done)) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    kill_group(process)
    assert not (killed / TARGET).exists()
    finished_before = {p: p.stat().st_mtime_ns for p in flags_of(done)}
    run_snakemake(killed, "--unlock")
    run_snakemake(killed, TARGET)
    assert files_of(killed / f"{STORE}.zarr") == files_of(whole / f"{STORE}.zarr")
    assert (killed / TARGET).read_bytes() == (whole / TARGET).read_bytes()
    for flag, time_ns in finished_before.items():
        assert flag.stat().st_mtime_ns == time_ns, "a finished block was computed again"

"""Pipes, sockets and links among the results: named, never waited for, never left out silently."""

import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from command_tree import run
from factories import write_study
from transferscope.runtime.job_records import JobRecord

NAMES = [
    "summary.md", "config.yaml", "versions.json", "splits/cells.parquet", "tiles/cells.json",
    "tiles/cells.zarr/zarr.json", "tiles/cells.zarr/images/c/0/0", "checksums/run.sha256",
    "checksums/tiles/cells.sha256", "benchmarks/tiles/cells.tsv", "compare/scores.parquet",
]  # fmt: skip
COMMANDS = [
    ["verify"], ["verify", "--repair"], ["verify", "--json"], ["status"], ["export"],
    ["export", "--stores"], ["convert"], ["costs"],
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a study with some results."""
    monkeypatch.chdir(write_study(tmp_path))
    folder = tmp_path / "results/tiny"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return Path("results/tiny")


@pytest.mark.parametrize("seed", range(8))
def test_what_would_be_read_for_ever_is_named(root: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = root / chance.choice(NAMES)
    path.unlink()
    kind = chance.choice(["pipe", "socket", "link to a pipe"])
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    else:
        os.mkfifo("elsewhere")
        path.symlink_to(Path("elsewhere").absolute())
    for words in [*COMMANDS, ["publish", "study.yaml", "--to", "made"]]:
        given = words if words[0] == "publish" else [words[0], "study.yaml", *words[1:]]
        ended = run(given)
        assert ended.code == 1
        assert f"{path}: is a {kind.rpartition(' ')[2]}, not a file" in ended.err
        assert f"-> Remove it: rm {path}" in ended.err


def test_a_run_says_so_as_well(root: Path, repository: Path) -> None:
    (root / "checksums/run.sha256").unlink()
    os.mkfifo(root / "checksums/run.sha256")
    words = ["snakemake", "--snakefile", str(repository / "Snakefile"), "--dry-run"]
    done = subprocess.run(
        [*words, "--configfile", "study.yaml"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "run.sha256: is a pipe, not a file" in done.stdout + done.stderr


@pytest.mark.parametrize("linked", ["summary.md", "compare", "compare/scores.parquet"])
def test_links_are_not_left_out_silently(root: Path, linked: str, tmp_path: Path) -> None:
    """The printed command puts the file in the place of the link, and then it is exported."""
    for name in ("checksums", "tiles", "splits", "config.yaml", "versions.json"):
        subprocess.run(["rm", "-r", str(root / name)], check=True)
    sums = {
        name: subprocess.run(
            ["sha256sum", str(root / name)], capture_output=True, text=True, check=True
        ).stdout.split()[0]
        for name in ("summary.md", "compare/scores.parquet")
    }
    JobRecord("compare/all", {}, tuple(sums), sums).write(root / "checksums/compare/all.sha256")
    there = tmp_path / "other disk'"
    there.mkdir()
    (root / linked).rename(there / "moved")
    (root / linked).symlink_to(there / "moved")
    ended = run(["export", "study.yaml"])
    assert ended.code == 1
    assert f"{root / linked}: is a link, and what it leads to would be left out" in ended.err
    [command] = [
        line.partition("in its place: ")[2]
        for line in ended.err.splitlines()
        if "in its place" in line
    ]
    subprocess.run(["bash", "-c", command], check=True)
    assert not (root / linked).is_symlink()
    assert run(["export", "study.yaml"]).code == 0

"""A power cut at any moment of a study: the same command ends with the same results."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from disturbances import assert_equal_results
from factories import environment, run_command, snakemake_command, write_study

pytestmark = pytest.mark.workflow
SLOW = "TRANSFERSCOPE_SLOW_TESTS"
CUTS = 30 if SLOW in os.environ else 2
MIB = 1 << 20


@pytest.fixture
def mount() -> Iterator[Callable[[Path, Path], None]]:
    """Return a function that mounts an image of a file system."""
    places: list[Path] = []

    def do(image: Path, place: Path) -> None:
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-o", "loop", str(image), str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("this machine lets no test mount a file system")
        places.append(place)

    yield do
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def test_the_same_command_gives_the_same_results_after_a_power_cut(
    tmp_path: Path, mount: Callable[[Path, Path], None]
) -> None:
    """The file that holds the file system is copied while the study runs in it."""
    image, place = tmp_path / "disk", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(96 * MIB)
    if shutil.which("mkfs.ext4") is None or os.geteuid() != 0:
        pytest.skip("only root can make and mount a file system")
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount(image, place)
    folder = write_study(place / "study")
    root = folder / "results/tiny"
    os.sync()
    command = snakemake_command(folder)
    run = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    copies: list[Path] = []
    began: set[Path] = set()
    while run.poll() is None:
        time.sleep(0.05)
        # Cuts come with the beginning of jobs, evenly over all of them.
        began |= set((root / "checksums").rglob("*.sha256"))
        if len(began) * CUTS // 21 > len(copies) and len(copies) < CUTS:
            copies.append(tmp_path / f"cut{len(copies)}")
            subprocess.run(["cp", "--sparse=always", str(image), str(copies[-1])], check=True)
    assert run.returncode == 0
    assert len(copies) == CUTS
    quiet = Path(shutil.copytree(root, tmp_path / "quiet"))
    subprocess.run(["umount", str(place)], check=True)
    for copy in copies:
        # In the same place, whose paths are those of the study.
        mount(copy, place)
        run_command([*command, "--unlock"], folder)
        run_command(command, folder)
        assert_equal_results(root, quiet)
        told = run_command(["transferscope", "verify", "study.yaml"], folder, check=False)
        assert told.stdout.startswith("Sound"), told.stdout
        subprocess.run(["umount", str(place)], check=True)

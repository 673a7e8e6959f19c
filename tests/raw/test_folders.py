"""Folders of any shape are walked to an end: each file once, and what is left out is named."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from command_tree import run
from transferscope.raw.folders import files_below


def random_tree(folder: Path, chance: random.Random) -> Path:
    """Make two trees whose folders hold files, and links to folders of either; return the first."""
    folders = [folder / "one", folder / "two"]
    for made in folders:
        made.mkdir()
    for number in range(chance.randrange(1, 9)):
        folders.append(chance.choice(folders) / f"f{number}")
        folders[-1].mkdir()
    for number in range(chance.randrange(1, 9)):
        (chance.choice(folders) / f"file{number}.tif").touch()
    for number in range(chance.randrange(6)):
        place, aim = chance.choice(folders), chance.choice(folders)
        text = os.path.relpath(aim, place) if chance.random() < 0.5 else str(aim)
        (place / f"{chance.choice('aglz')}{number}").symlink_to(text)
    return folders[0]


def reachable(top: Path) -> set[str]:
    """Return the real paths of all files that can be reached by folders and links."""
    seen: set[str] = set()
    files: set[str] = set()
    waiting = [os.path.realpath(top)]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        for entry in os.scandir(here):
            if entry.is_dir():
                waiting.append(os.path.realpath(entry.path))
            elif entry.is_file():
                files.add(os.path.realpath(entry.path))
    return files


@pytest.mark.parametrize("seed", range(60))
def test_each_file_is_found_once(tmp_path: Path, seed: int) -> None:
    top = random_tree(tmp_path, random.Random(seed))
    found = files_below(top)
    reals = [os.path.realpath(top / path) for path in found.paths]
    files = [real for real in reals if Path(real).is_file()]
    assert len(files) == len(set(files))
    assert set(files) == reachable(top)
    assert found.paths == sorted(found.paths, key=lambda path: (path.parent.parts, path.name))


def test_a_folder_around_a_linked_one_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "plates/p1").mkdir(parents=True)
    (tmp_path / "plates/p1/a.tif").touch()
    (tmp_path / "plates/b.tif").touch()
    top = tmp_path / "images"
    top.mkdir()
    (top / "1").symlink_to(tmp_path / "plates/p1")
    (top / "2").symlink_to(tmp_path / "plates")
    found = files_below(top)
    assert found.paths == [Path("1/a.tif"), Path("2/b.tif")]
    assert found.skipped == ['the folder "2/p1" is found in "1", too']


def test_a_folder_may_be_deeper_than_python_calls(tmp_path: Path) -> None:
    before = Path.cwd()
    top = tmp_path / "deep"
    top.mkdir()
    try:
        os.chdir(top)
        for _ in range(1400):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(before)
    (top / "A_1.tif").touch()
    ended = run(["sheet", str(top), "--pattern", "{group}_{fov}.tif"])
    # Too deep for Python to remove.
    subprocess.run(["rm", "-r", str(top / "d")], check=True)
    assert ended.code == 0, ended.err


def test_hidden_folders_are_named(tmp_path: Path) -> None:
    """Snapshots and checkpoints hold the same files once more."""
    for folder in ("", ".snapshot", "plate/.ipynb_checkpoints"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / f"A_{len(folder)}.tif").touch()
    ended = run(["sheet", str(tmp_path), "--regex", r"(.*/)?(?P<group>A)_(?P<fov>\d+).tif"])
    assert ended.code == 0
    assert len((tmp_path / "samples.tsv").read_text().splitlines()) == 2
    assert 'the folder ".snapshot" is hidden: skipped' in ended.err
    assert 'the folder "plate/.ipynb_checkpoints" is hidden: skipped' in ended.err

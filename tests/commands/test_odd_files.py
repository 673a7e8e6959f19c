"""What is neither a file nor a folder is named wherever an image is expected, and never opened."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from factories import write_yaml
from table_commands import invoke, message

CARD = {"name": "d", "sheet": "samples.tsv", "channels": ["nucleus"], "labels": ["er", "golgi"]}
CELLS = {"segmentation": {"method": "provided"}, "crop": {"size": 16}, "overlays": 0}
SECONDS = 20


def pipe(path: Path) -> None:
    os.mkfifo(path)


def linked_pipe(path: Path) -> None:
    os.mkfifo(path.with_suffix(".fifo"))
    path.symlink_to(path.with_suffix(".fifo"))


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))


def linked_device(path: Path) -> None:
    path.symlink_to("/dev/null")


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "pipe": (pipe, "a pipe"),
    "link to a pipe": (linked_pipe, "a pipe"),
    "socket": (listening, "a socket"),
    "link to a device": (linked_device, "a device"),
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Fail where a command waits for a pipe."""
    monkeypatch.chdir(tmp_path)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)


def image(path: Path) -> None:
    tifffile.imwrite(path, np.random.default_rng(0).integers(1, 99, (16, 16)).astype("uint16"))


def refusal(folder: Path, command: str, columns: dict[str, str]) -> str:
    """Return the message of a step on a sheet of one row."""
    row = {"tile_id": "t", "path": "a.tif", "group": "g", "labels": "er", **columns}
    (folder / "samples.tsv").write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    card = write_yaml(
        folder / "card.yaml", {**CARD, **({"cells": CELLS} if command == "cells" else {})}
    )
    outputs = {"manifest": "t.json", "table": "t.parquet", "quality": "q.csv", "skipped": "s.tsv"}
    if command == "cells":
        outputs |= {"plausibility": "p.csv", "overlays": "o"}
    options = [f"--{name}={folder / file}" for name, file in outputs.items()]
    return message(invoke(command, f"--sheet={folder / 'samples.tsv'}", f"--card={card}", *options))


@pytest.mark.parametrize("command", ["tiles", "cells"])
@pytest.mark.parametrize("column", ["path", "mask", "nucleus_mask"])
@pytest.mark.parametrize("kind", ODD)
def test_a_sheet_that_names_one(tmp_path: Path, command: str, column: str, kind: str) -> None:
    make, said = ODD[kind]
    image(tmp_path / "a.tif")
    image(tmp_path / "m.tif")
    make(tmp_path / "odd.tif")
    text = refusal(tmp_path, command, {"mask": "m.tif", column: "odd.tif"})
    assert f'row 2, column {column}: "odd.tif" is {said}, not a file' in text


@pytest.mark.parametrize("name", ["0/c/9", "zarr.json", "0/zarr.json"])
def test_an_image_in_a_folder_that_holds_one(tmp_path: Path, name: str) -> None:
    array = zarr.open_group(tmp_path / "a.zarr", mode="w").create_array("0", data=np.ones((8, 8)))
    assert array.shape == (8, 8)
    (tmp_path / "a.zarr" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "a.zarr" / name)
    assert f"holds a pipe, {name}" in refusal(tmp_path, "tiles", {"path": "a.zarr"})


@pytest.mark.parametrize("kind", ODD)
def test_a_folder_of_images_that_holds_one(tmp_path: Path, kind: str) -> None:
    make, said = ODD[kind]
    folder = tmp_path / "images"
    folder.mkdir()
    image(folder / "a.tif")
    make(folder / "odd.tif")
    sheet = tmp_path / "samples.tsv"
    done = invoke("sheet", folder, "--pattern", "{group}.tif", "--output", sheet)
    assert done.exit_code == 0, done.exception
    assert f'"odd.tif" is {said}: skipped' in done.output
    assert sheet.read_text().splitlines()[1:] == ["a\timages/a.tif\ta\t"]

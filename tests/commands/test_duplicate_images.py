"""An image is in one place: files and pixels that are in two are found by `transferscope tiles`."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import Result

from factories import write_yaml
from table_commands import invoke, message
from transferscope.errors import UserError
from transferscope.stores.parquet import read_parquet

CHANNELS = ["nucleus", "protein"]
CARD = {"name": "d", "sheet": "samples.tsv", "channels": CHANNELS, "labels": ["a", "b"]}
WATERSHED = {"segmentation": {"method": "watershed"}}


def field(seed: int) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 4000, (2, 16, 16)).astype(np.uint16)


def write(path: Path, image: npt.NDArray[np.generic], **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, photometric="minisblack", **options)


def tiles(folder: Path, rows: list[dict[str, str]], step: str = "tiles", **card: object) -> Result:
    """Run the tile step on a sheet of some rows; each needs a group and its paths."""
    lines = ["\t".join(["tile_id", "labels", *rows[0]])]
    lines += ["\t".join([f"t{n}", "a", *row.values()]) for n, row in enumerate(rows)]
    (folder / "samples.tsv").write_text("\n".join(lines) + "\n")
    path = write_yaml(folder / "card.yaml", {**CARD, **card})
    names = {"manifest": "json", "table": "parquet", "quality": "csv", "skipped": "tsv"}
    options = [o for name, end in names.items() for o in (f"--{name}", folder / f"out/d.{end}")]
    if step == "cells":
        options += ["--plausibility", folder / "out/p.csv", "--overlays", folder / "out/overlays"]
    return invoke(step, "--sheet", folder / "samples.tsv", "--card", path, *options)


def same_path(folder: Path) -> str:
    return "first.tif"


def other_spelling(folder: Path) -> str:
    (folder / "inner").mkdir(exist_ok=True)
    return "inner/.././first.tif"


def absolute(folder: Path) -> str:
    return str(folder / "first.tif")


def linked(folder: Path) -> str:
    (folder / "link.tif").symlink_to("first.tif")
    return "link.tif"


def hard_linked(folder: Path) -> str:
    os.link(folder / "first.tif", folder / "hard.tif")
    return "hard.tif"


def linked_folder(folder: Path) -> str:
    (folder / "elsewhere").symlink_to(folder)
    return "elsewhere/first.tif"


FILES = [same_path, other_spelling, absolute, linked, hard_linked, linked_folder]


@pytest.mark.parametrize("way", FILES)
def test_one_file_of_two_groups_is_a_leak(tmp_path: Path, way) -> None:
    write(tmp_path / "first.tif", field(0))
    write(tmp_path / "other.tif", field(1))
    rows = [{"path": "other.tif", "group": "G0"}, {"path": "first.tif", "group": "G1"}]
    rows += [{"path": way(tmp_path), "group": "G2"}]
    done = tiles(tmp_path, rows, roots=[str(tmp_path)])
    assert done.exit_code == 1
    said = message(done)
    assert "row 4, column path: has the same file as row 3" in said
    assert 'of group "G1", though this row is of group "G2": a leak' in said
    assert "`duplicates: warn`" in said
    done = tiles(tmp_path, rows, roots=[str(tmp_path)], duplicates="warn")
    assert done.exit_code == 0, done.exception
    assert "has the same file as row 3" in done.output
    assert "WARNING" in done.output


def test_one_file_twice_in_a_group_and_as_two_channels(tmp_path: Path) -> None:
    for name in "abcdef":
        write(tmp_path / f"{name}.tif", field(ord(name))[0])
    (tmp_path / "link.tif").symlink_to("e.tif")
    columns = ("path_nucleus", "path_protein", "group")

    def run(*rows: str, **card: object) -> Result:
        named = [dict(zip(columns, row.split(), strict=True)) for row in rows]
        return tiles(tmp_path, named, **card)

    said = message(run("a.tif b.tif G", "c.tif d.tif G", "a.tif b.tif G"))
    assert "row 4, column path_nucleus: has the same file as row 2 of the same group" in said
    said = message(run("a.tif b.tif G", "e.tif link.tif G"))
    assert "the channels nucleus and protein have the same file" in said
    said = message(run("a.tif b.tif G", "c.tif a.tif G"))
    assert "the same file in channel protein (there nucleus) as row 2" in said
    said = message(run("a.tif b.tif G", "a.tif c.tif H"))
    assert "the same file in channel nucleus as row 2" in said
    assert "a leak" in said
    # An image of the nuclei that several stainings of one field share.
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    done = run("a.tif b.tif G", "a.tif c.tif G")
    assert done.exit_code == 0, done.exception
    assert "WARNING" in done.output
    assert "has the same file in channel nucleus as row 2 of the same group" in done.output


COPIES = st.fixed_dictionaries(
    {
        "copy_of": st.integers(0, 3),
        "same_group": st.booleans(),
        "compression": st.sampled_from([None, "zlib", "lzw"]),
        "planes": st.sampled_from(["all", "nucleus", "protein"]),
    }
)


# Each example is a sheet with several copies: a run takes a while.
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    copies=st.lists(COPIES, min_size=2, max_size=6),
    mode=st.sampled_from(["as it is", "cut", "resize"]),
    known=st.booleans(),
)
def test_copied_pixels_are_found_whatever_the_file(
    tmp_path: Path, copies: list[dict[str, Any]], mode: str, known: bool
) -> None:
    shutil.rmtree(tmp_path)
    images = [field(seed) for seed in range(4)]
    for n, image in enumerate(images):
        write(tmp_path / f"{n}.tif", image)
    rows = [{"path": f"{n}.tif", "group": f"G{n}"} for n in range(4)]
    for n, copy in enumerate(copies):
        image = field(100 + n)
        planes = [0, 1] if copy["planes"] == "all" else [CHANNELS.index(copy["planes"])]
        image[planes] = images[copy["copy_of"]][planes]
        write(tmp_path / f"copy{n}.tif", image, compression=copy["compression"])
        group = f"G{copy['copy_of']}" if copy["same_group"] else f"other{n}"
        rows.append({"path": f"copy{n}.tif", "group": group})
    card: dict[str, object] = {"duplicates": "warn"} if known else {}
    if mode != "as it is":
        card["tiles"] = {"size": 8, "mode": mode}
    done = tiles(tmp_path, rows, **card)
    leaks = not known and not all(copy["same_group"] for copy in copies)
    said = f"{done.output}{message(done) if leaks else ''}"
    assert done.exit_code == leaks, done.exception
    assert (tmp_path / "out/d.json").exists() != leaks
    shown = 0
    for n, copy in enumerate(copies):
        subject = "pixels" if copy["planes"] == "all" else f"pixels in channel {copy['planes']}"
        where = f"column path: has the same {subject} as row {copy['copy_of'] + 2} of"
        found = [line for line in said.splitlines() if f"row {n + 6}, {where}" in line]
        assert len(found) <= 1
        assert all(("a leak" in line) != copy["same_group"] for line in found)
        assert found or copy["same_group"] or known, "a leak is always shown"
        shown += len(found)
    assert shown or f"{len(copies)} rows or more" in said or "same group" in said


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(blank=st.sampled_from([0, 7, 4000]), channel=st.sampled_from([0, 1]), n=st.integers(2, 4))
def test_blank_planes_are_equal_by_nature(tmp_path: Path, blank: int, channel: int, n: int) -> None:
    shutil.rmtree(tmp_path)
    for number in range(n):
        image = field(number)
        image[channel] = blank
        write(tmp_path / f"{number}.tif", image)
    rows = [{"path": f"{number}.tif", "group": f"G{number}"} for number in range(n)]
    done = tiles(tmp_path, rows)
    assert done.exit_code == 0, done.exception
    assert "same pixels" not in done.output


def test_a_killed_job_still_knows_what_it_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferscope.tiles.store.MOST_BLOCK_ROWS", 2)
    for number in range(6):
        write(tmp_path / f"{number}.tif", field(number % 5))
    rows = [{"path": f"{number}.tif", "group": f"G{number}"} for number in range(6)]
    from transferscope.tiles import decoding

    decode, decoded = decoding._decode, []

    def killed(plan, planned, files):
        decoded.append(planned.position)
        if planned.position == 5 and len(decoded) < 7:
            raise KeyboardInterrupt
        return decode(plan, planned, files)

    monkeypatch.setattr(decoding, "_decode", killed)
    assert not isinstance(tiles(tmp_path, rows).exception, UserError)
    done = tiles(tmp_path, rows)
    assert 0 not in decoded[6:]
    assert "row 7, column path: has the same pixels as row 2" in message(done)
    # Once it is known, nothing is decoded again.
    before = len(decoded)
    assert tiles(tmp_path, rows, duplicates="warn").exit_code == 0
    assert len(decoded) == before
    assert read_parquet(tmp_path / "out/d.parquet")["group"].tolist() == [f"G{n}" for n in range(6)]


def test_cells_of_copied_fields(tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :64]
    for number in range(3):
        rng = np.random.default_rng(number % 2)
        nucleus = 2000 * (np.hypot(y - 30, x - 30) < 9) + rng.integers(0, 50, (64, 64))
        image = np.stack([nucleus, rng.integers(0, 900, (64, 64))]).astype(np.uint16)
        write(tmp_path / f"{number}.tif", image)
    rows = [{"path": f"{number}.tif", "group": f"G{number}"} for number in range(3)]
    cells = {**WATERSHED, "crop": {"size": 24}}
    done = tiles(tmp_path, rows, "cells", cells=cells)
    assert "row 4, column path: has the same pixels as row 2" in message(done)
    done = tiles(tmp_path, rows, "cells", cells=cells, duplicates="warn")
    assert done.exit_code == 0, done.exception


def test_channels_with_the_same_pixels_are_warned_of(tmp_path: Path) -> None:
    for number in range(2):
        plane = field(number)[0]
        write(tmp_path / f"{number}.tif", np.stack([plane, plane]))
    rows = [{"path": f"{number}.tif", "group": f"G{number}"} for number in range(2)]
    done = tiles(tmp_path, rows)
    assert done.exit_code == 0, done.exception
    assert "rows 2, 3, column path: the channels nucleus and protein have the same pixels" in (
        done.output
    )

"""The images of OME-Zarr plates and of OME-Zarrs with several series."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from transferscope.proposal.folder import look_into
from transferscope.proposal.names import propose_pattern
from transferscope.raw.folders import files_below
from transferscope.raw.image_formats import read_header, read_pixels
from transferscope.raw.sheet_builder import build_sheet
from transferscope.raw.zarr_fields import images_in

WELLS = ("A/1", "A/2", "B/12")


def write_image(folder: Path, pixels: np.ndarray, version: str) -> None:
    group = zarr.open_group(folder, mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array("0", data=pixels)
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    level = {"path": "0", "coordinateTransformations": scale}
    describe(group, {"multiscales": [{"axes": axes, "datasets": [level]}]}, version)


def describe(group: zarr.Group, metadata: dict, version: str) -> None:
    group.attrs.update({"ome": metadata} if version == "0.5" else metadata)


def write_plate(folder: Path, version: str, fields: int = 2) -> dict[str, np.ndarray]:
    """Write a plate as NGFF describes it; return the pixels of each field by its path."""
    zarr_format = 3 if version == "0.5" else 2
    wells = [{"path": well, "rowIndex": 0, "columnIndex": 0} for well in WELLS]
    plate = zarr.open_group(folder, mode="w", zarr_format=zarr_format)
    describe(plate, {"plate": {"wells": wells, "name": "p"}}, version)
    rng, written = np.random.default_rng(0), {}
    for well in WELLS:
        group = zarr.open_group(folder / well, mode="w", zarr_format=zarr_format)
        images = [{"path": str(field)} for field in range(fields)]
        describe(group, {"well": {"images": images}}, version)
        for field in range(fields):
            pixels = rng.integers(0, 4000, (2, 32, 40)).astype(np.uint16)
            write_image(folder / well / str(field), pixels, version)
            written[f"{folder.name}/{well}/{field}"] = pixels
    return written


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_fields_of_a_plate_reach_the_sheet(tmp_path: Path, version: str) -> None:
    written = write_plate(tmp_path / "raw/p1.zarr", version)
    found = files_below(tmp_path / "raw")
    assert found.skipped == []
    assert [path.as_posix() for path in found.paths] == sorted(written)
    for path, pixels in written.items():
        np.testing.assert_array_equal(read_pixels(read_header(tmp_path / "raw" / path)), pixels)
    sheet = tmp_path / "sheet.tsv"
    built = build_sheet(tmp_path / "raw", r"(?P<plate>\w+).zarr/(?P<group>\w/\d+)/(?P<site>\d)",
                        sheet, regex=True)  # fmt: skip
    assert built.n_rows == len(written)
    assert built.n_unused == 0


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_wells_are_the_groups_that_are_proposed(tmp_path: Path, version: str) -> None:
    written = write_plate(tmp_path / "p1.zarr", version)
    folder = look_into(tmp_path)
    names = [path.as_posix() for path in folder.images]
    assert names == sorted(written)
    pattern = propose_pattern(names)
    values = [pattern.values(name) for name in names]
    assert [value["group"] for value in values if value] == [w for w in WELLS for _ in range(2)]
    assert pattern.left_over == []


def test_rows_of_wells_are_no_channels() -> None:
    names = [f"plate.zarr/{row}/{column}/0" for row in "ABC" for column in range(1, 5)]
    pattern = propose_pattern(names)
    assert pattern.channels == []
    assert {value["group"] for value in map(pattern.values, names) if value} == {
        name[len("plate.zarr/") : -len("/0")] for name in names
    }


def test_series_are_images(tmp_path: Path) -> None:
    folder = tmp_path / "converted.zarr"
    root = zarr.open_group(folder, mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for number in (0, 2, 10):
        write_image(folder / str(number), np.ones((1, 8, 8), np.uint8), "0.4")
    assert images_in(folder) == (["0", "2", "10"], [])
    named = zarr.open_group(folder / "OME", mode="w", zarr_format=2)
    named.attrs["series"] = ["10", "3"]
    assert images_in(folder) == (["10"], ['"converted.zarr/3" is not there'])


def test_an_image_is_itself(tmp_path: Path) -> None:
    write_image(tmp_path / "a.zarr", np.ones((1, 8, 8), np.uint8), "0.4")
    (tmp_path / "empty.zarr").mkdir()
    assert [path.as_posix() for path in files_below(tmp_path).paths] == ["a.zarr", "empty.zarr"]


@pytest.mark.parametrize(
    "metadata",
    [
        *([], "text", 7, {"plate": []}, {"plate": {"wells": 3}}, {"plate": {"wells": [3, {}]}}),
        *({"plate": {"wells": [{"path": well}]}} for well in ("../..", "/etc", "", ".")),
        {"plate": {"wells": [{"path": "A/1"}]}},
        {"bioformats2raw.layout": 3, "OME": 3},
    ],
)
def test_no_metadata_lead_elsewhere_or_end_the_walk(tmp_path: Path, metadata: object) -> None:
    folder = tmp_path / "p.zarr"
    folder.mkdir()
    (folder / ".zattrs").write_text(json.dumps(metadata))
    found = files_below(tmp_path)
    assert [path.as_posix() for path in found.paths] == ["p.zarr"]
    named = isinstance(metadata, dict) and "path" in json.dumps(metadata)
    assert len(found.skipped) == named


def test_a_well_may_lead_nowhere_else(tmp_path: Path) -> None:
    write_plate(tmp_path / "p.zarr", "0.4")
    well = zarr.open_group(tmp_path / "p.zarr/A/1")
    well.attrs["well"] = {"images": [{"path": "../../../other"}, {"path": "9"}, {"path": "1"}]}
    found = files_below(tmp_path)
    assert "p.zarr/A/1/1" in [path.as_posix() for path in found.paths]
    assert [text.rpartition('" ')[2] for text in found.skipped] == [
        "lies outside the OME-Zarr",
        "is not there",
    ]

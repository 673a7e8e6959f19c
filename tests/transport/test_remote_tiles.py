"""Tiles made from an object store: equal to those from disk, and every mistake named."""

import importlib
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from imagecodecs import png_encode

from factories import CLASSES, DATASET_CARD, sheet_problems, write_raw
from object_store import BUCKET, ObjectStore
from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UnreachableError, UserError
from transferscope.raw.file_checks import check_files
from transferscope.raw.places import Places
from transferscope.raw.raw_files import raw_digest
from transferscope.raw.sheets import read_sheet
from transferscope.runtime.shipped import install_hint
from transferscope.tiles.build import make_tiles
from transferscope.transport import access, files
from transferscope.transport.listing import list_folders

SHAPE = (2, 32, 32)


def card(**changes: object) -> DatasetCard:
    return DatasetCard.model_validate({**DATASET_CARD, "sheet": "samples.tsv", **changes})


def tiles_of(
    sheet: Path, dataset: DatasetCard, out: Path, bad_tiles: str = "stop"
) -> dict[str, object]:
    """Make tiles and return their manifest."""
    out.mkdir(parents=True)
    names = {"tile_table": "t.parquet", "quality": "q.csv", "skipped": "s.tsv"}
    paths = {key: out / name for key, name in names.items()}
    make_tiles(sheet, dataset, manifest=out / "tiles.json", bad_tiles=bad_tiles, **paths)
    manifest: dict[str, object] = json.loads((out / "tiles.json").read_text())
    return manifest


def sheet_of(folder: Path, cells: list[dict[str, str]]) -> Path:
    rows = [
        {"tile_id": f"t{n}", "group": f"g{n}", "labels": CLASSES[n % 3], **cell}
        for n, cell in enumerate(cells)
    ]
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    return folder / "samples.tsv"


def images(n: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 3000, SHAPE, dtype=np.uint16) for _ in range(n)]


def write_tiff(folder: Path) -> list[dict[str, str]]:
    for number, image in enumerate(images()):
        tifffile.imwrite(folder / f"{number}.ome.tif", image, metadata={"axes": "CYX"})
    return [{"path": f"{number}.ome.tif"} for number in range(3)]


def write_channels(folder: Path) -> list[dict[str, str]]:
    for number, image in enumerate(images()):
        (folder / f"{number}").mkdir()
        for channel, plane in zip(DATASET_CARD["channels"], image, strict=True):
            (folder / f"{number}/{channel}.png").write_bytes(png_encode(plane))
    named = DATASET_CARD["channels"]
    return [{f"path_{c}": f"{number}/{c}.png" for c in named} for number in range(3)]


def write_zarr(folder: Path) -> list[dict[str, str]]:
    for number, image in enumerate(images()):
        group = zarr.open_group(folder / f"{number}.zarr", mode="w", zarr_format=2)
        axes = [{"name": "c"}, {"name": "y"}, {"name": "x"}]
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
        group.create_array("0", data=image, chunks=(1, 32, 32))
    return [{"path": f"{number}.zarr"} for number in range(3)]


@pytest.mark.parametrize("write", [write_tiff, write_channels, write_zarr])
def test_tiles_are_those_of_the_same_files_on_disk(
    store: ObjectStore, tmp_path: Path, write: Callable[[Path], list[dict[str, str]]]
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    sheet = sheet_of(raw, write(raw))
    url = store.put(raw, write.__name__)
    local = tiles_of(sheet, card(), tmp_path / "local")
    (tmp_path / "alone").mkdir()
    moved = tmp_path / "alone/samples.tsv"
    sheet.rename(moved)
    assert tiles_of(moved, card(location=url), tmp_path / "remote") == local
    # By URLs, the tiles are the same; the sheet is another.
    table = pd.read_csv(moved, sep="\t")
    columns = [column for column in table if column.startswith("path")]
    table[columns] = f"{url}/" + table[columns]
    table.to_csv(moved, sep="\t", index=False)
    named = tiles_of(moved, card(roots=[f"s3://{BUCKET}"]), tmp_path / "named")
    assert named["content_sha256"] == local["content_sha256"]
    assert sorted(p.name for p in moved.parent.iterdir()) == ["samples.tsv"], "nothing is staged"


@pytest.fixture
def fields(store: ObjectStore, tmp_path: Path) -> tuple[Path, str]:
    """Return a sheet, alone in its folder, and the URL of its fields."""
    sheet = write_raw(tmp_path / "raw", n_groups=3, fovs_per_group=1)
    url = store.put(sheet.parent, tmp_path.name)
    (tmp_path / "alone").mkdir()
    return sheet.rename(tmp_path / "alone/samples.tsv"), url


def test_each_file_is_read_once_and_each_header_by_its_beginning(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    large = np.random.default_rng(0).integers(1, 3000, (2, 512, 512), dtype=np.uint16)
    tifffile.imwrite(raw / "a.tif", large, metadata={"axes": "CYX"})
    url = store.put(raw, "large")
    sheet = sheet_of(raw, [{"path": "a.tif"}])
    system, _ = access.located(f"{url}/a.tif")
    asked, cat_file = [], system.cat_file

    def counting(path: str, start: int | None = None, end: int | None = None) -> object:
        asked.append((start, end))
        return cat_file(path, start=start, end=end)

    monkeypatch.setattr(system, "cat_file", counting)
    assert check_files(read_sheet(sheet, card(location=url)), card(location=url)) == []
    header = list(asked)
    assert header[0] == (0, files.BLOCK_BYTES)
    assert len(header) == 2, "beginning, and the list of the second plane at the end"
    tiles_of(sheet, card(location=url), tmp_path / "out")
    assert asked == [*header, *header, (None, None)]


def test_a_replaced_object_is_noticed_and_a_copied_one_is_not(
    store: ObjectStore, fields: tuple[Path, str]
) -> None:
    sheet, url = fields
    dataset = card(location=url)
    before = raw_digest(read_sheet(sheet, dataset))
    key = f"{url.removeprefix(f's3://{BUCKET}/')}/P00_0.tif"
    content = store.read(key)
    store.write(key, content)
    assert raw_digest(read_sheet(sheet, dataset)) == before
    store.write(key, content[::-1])
    assert raw_digest(read_sheet(sheet, dataset)) != before


def test_a_replaced_chunk_of_an_ome_zarr_is_noticed(store: ObjectStore, tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path, write_zarr(tmp_path))
    url = store.put(tmp_path, "chunks")
    before = raw_digest(read_sheet(sheet, card(location=url)))
    store.write("chunks/1.zarr/0/0.0.0", b"other")
    assert raw_digest(read_sheet(sheet, card(location=url))) != before


def problems_of(sheet: Path, **changes: object) -> str:
    return "\n".join(map(str, sheet_problems(sheet, card(**changes), Path("my-card.yaml"))))


def test_a_missing_object_is_named_with_its_neighbour(
    store: ObjectStore, fields: tuple[Path, str]
) -> None:
    sheet, url = fields
    sheet.write_text(sheet.read_text().replace("P01_0.tif", "P01_O.tif"))
    said = problems_of(sheet, location=url)
    assert f'row 3, column path: "{url}/P01_O.tif" does not exist' in said
    assert 'Did you mean "P01_0.tif"?' in said
    assert "row 2" not in said


def test_an_ome_zarr_may_end_with_a_slash(store: ObjectStore, tmp_path: Path) -> None:
    cells = [{"path": f"{cell['path']}/"} for cell in write_zarr(tmp_path)]
    url = store.put(tmp_path, "slashes")
    sheet = sheet_of(tmp_path, cells)
    assert problems_of(sheet, location=url) == ""


def test_only_what_is_shown_is_searched_for_a_neighbour(
    store: ObjectStore, fields: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = sheet_of(fields[0].parent, [{"path": f"no{n}.tif"} for n in range(30)])
    asked = []
    neighbours = Places.neighbours

    def counting(self: Places, cell: str) -> list[str] | None:
        asked.append(cell)
        return neighbours(self, cell)

    monkeypatch.setattr(Places, "neighbours", counting)
    said = problems_of(sheet, location=fields[1])
    assert "10 more rows have the same kind of problem" in said
    assert len(asked) == 20


def test_a_wrong_folder_and_a_wrong_bucket(store: ObjectStore, fields: tuple[Path, str]) -> None:
    sheet, url = fields
    assert f"The folder {url}x does not exist either" in problems_of(sheet, location=f"{url}x")
    said = problems_of(sheet, location="s3://no-such-bucket/fields")
    assert "rows 2, 3, 4, column path: s3://no-such-bucket/fields: does not exist" in said
    assert "bucket" in said


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("s3://other/a.tif", "in none of the object stores"),
        ("s3://platesx/a.tif", "in none of the object stores"),
        ("s3://plates/../other/a.tif", '".."'),
        ("../other/a.tif", '".."'),
        ("file:///etc/passwd", "protocol file"),
        ("memory://a.tif", "protocol memory"),
        ("simplecache::s3://plates/a.tif", "chains"),
        ("/etc/passwd", "outside the folder"),
    ],
)
def test_what_lies_elsewhere_is_refused(
    store: ObjectStore, fields: tuple[Path, str], cell: str, said: str
) -> None:
    sheet, _ = fields
    sheet.write_text(sheet.read_text().replace("P01_0.tif", cell))
    found = problems_of(sheet, location=f"s3://{BUCKET}")
    assert "row 3, column path: " in found
    assert said in found
    assert "my-card.yaml" in found


def test_a_url_with_a_password_is_refused_before_anything_else(
    store: ObjectStore, fields: tuple[Path, str]
) -> None:
    sheet, _ = fields
    sheet.write_text(sheet.read_text().replace("P01_0.tif", "s3://key:sec/ret@plates/a.tif"))
    found = problems_of(sheet, location=f"s3://{BUCKET}")
    assert "row 3, column path: a URL may hold a password" in found
    assert "sec/ret" not in found


def test_a_url_needs_a_root(store: ObjectStore, fields: tuple[Path, str]) -> None:
    sheet, url = fields
    sheet.write_text(sheet.read_text().replace("P0", f"{url}/P0").replace(f"{url}/P00_0\t", "a\t"))
    assert "in none of the object stores" in problems_of(sheet)


@pytest.mark.parametrize("root", ["file:///data", "simplecache::s3://bucket", "s3://b/../c"])
@pytest.mark.parametrize("key", ["roots", "location"])
def test_a_card_cannot_allow_what_is_no_object_store(root: str, key: str) -> None:
    with pytest.raises(ValueError, match="the URL"):
        card(**{key: [root] if key == "roots" else root})


def test_a_location_is_one_of_a_sheet() -> None:
    simulated = {"simulate": {"domain": "hpa"}, "sheet": None}
    with pytest.raises(ValueError, match="location"):
        card(**simulated, location="s3://bucket/x")


@pytest.mark.parametrize("fault", ["denied", "no credentials", "no server", "not installed"])
def test_what_stands_between(
    store: ObjectStore,
    fields: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    sheet, url = fields
    said, fix = {
        "denied": ("access is denied", "AWS_PROFILE"),
        "no server": ("the server does not answer", "AWS_ENDPOINT_URL"),
        "not installed": ("what reads s3:// is not installed", install_hint("remote")),
        "no credentials": ("access is denied", "AWS_PROFILE"),
    }[fault]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        if fault == "no server":
            address = f"http://127.0.0.1:{free.getsockname()[1]}"
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        elif fault == "not installed":
            monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3")
            monkeypatch.setitem(sys.modules, "s3fs", None)
        else:
            raised = PermissionError("Access Denied")
            if fault == "no credentials":
                from botocore.exceptions import NoCredentialsError

                raised = NoCredentialsError()

            async def refuse(*_: object, **__: object) -> None:
                raise raised

            monkeypatch.setattr("s3fs.S3FileSystem._ls", refuse)
        monkeypatch.setattr(access, "_system", access._system.__wrapped__)
        found = problems_of(sheet, location=url)
    assert f"rows 2, 3, 4, column path: {url}: {said}" in found
    assert fix in found


def test_a_denied_folder_does_not_condemn_others(
    store: ObjectStore, fields: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = fields
    ls = importlib.import_module("s3fs").S3FileSystem._ls

    async def refuse(self: object, path: str, **how: object) -> object:
        if path.endswith("/closed"):
            raise PermissionError("Access Denied")
        return await ls(self, path, **how)

    monkeypatch.setattr("s3fs.S3FileSystem._ls", refuse)
    monkeypatch.setattr(access, "_system", access._system.__wrapped__)
    listing = list_folders([f"s3://{BUCKET}/closed", url])
    assert list(listing.failures) == [f"s3://{BUCKET}/closed"]
    assert f"{url}/P00_0.tif" in listing.entries


def test_a_silent_server_is_asked_once_and_says_nothing_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def silent(folder: str) -> object:
        asked.append(folder)
        if folder.startswith("s3:"):
            return access.SilentServerError(Problem(folder, "silent"))
        return {}

    monkeypatch.setattr("transferscope.transport.listing._listed", silent)
    listing = list_folders(["s3://a/1", "s3://a/2", "gs://a/1"])
    assert asked == ["s3://a/1", "gs://a/1"]
    assert set(listing.failures) == {"s3://a/1", "s3://a/2"}


def test_an_object_that_goes_away_meanwhile(store: ObjectStore, fields: tuple[Path, str]) -> None:
    sheet, url = fields
    dataset = card(location=url)
    read = read_sheet(sheet, dataset)
    key = f"{url.removeprefix(f's3://{BUCKET}/')}/P02_0.tif"
    store.delete(key)
    problem, *more = check_files(read, dataset)
    assert not more
    assert "row 4" in problem.where
    assert f"{url}/P02_0.tif" in problem.where
    assert "does not exist" in problem.what


@pytest.mark.parametrize("whole_files", [False, True])
def test_what_cannot_be_asked_for_is_never_left_out(
    fields: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, whole_files: bool
) -> None:
    sheet, url = fields
    system, _ = access.located(url)
    cat_file = system.cat_file

    def silent(path: str, start: int | None = None, end: int | None = None) -> object:
        if path.endswith("P01_0.tif") and (start is None) == whole_files:
            raise TimeoutError("read timeout")
        return cat_file(path, start=start, end=end)

    monkeypatch.setattr(system, "cat_file", silent)
    out = sheet.parent / "out"
    with pytest.raises(UnreachableError, match=r"row 3: s3://.*P01_0.tif: the server does not"):
        tiles_of(sheet, card(location=url), out, bad_tiles="skip")
    assert not (out / "tiles.json").exists()


def test_an_ome_zarr_that_cannot_be_asked_for_is_no_damaged_one(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = sheet_of(tmp_path, write_zarr(tmp_path))
    url = store.put(tmp_path, "denied")
    system, _ = access.located(url, asynchronous=True)

    async def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(system, "_cat_file", refuse)
    with pytest.raises(UnreachableError, match="access is denied"):
        check_files(read_sheet(sheet, card(location=url)), card(location=url))


def test_a_damaged_object_is_named(store: ObjectStore, fields: tuple[Path, str]) -> None:
    sheet, url = fields
    key = f"{url.removeprefix(f's3://{BUCKET}/')}/P01_0.tif"
    whole = store.read(key)
    store.write(key, whole[:-100])
    with pytest.raises(UserError, match=r"row 3: s3://.*P01_0.tif: .*cut short"):
        tiles_of(sheet, card(location=url), sheet.parent / "out")

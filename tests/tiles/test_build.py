"""Raw files to tile store: equal values, any number of workers, any interruption, any bad file."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
import zarr
from scipy import ndimage

from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.raw.file_checks import check_files
from transferscope.raw.sheets import read_sheet
from transferscope.runtime import ordered_map as ordered
from transferscope.stores.parquet import read_parquet
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.build import make_tiles
from transferscope.tiles.quality import measure

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data are not here")
Array = npt.NDArray[np.generic]


def card(**changes: object) -> DatasetCard:
    values: dict[str, object] = {
        "name": "demo",
        "sheet": "samples.tsv",
        "channels": ["nucleus", "protein"],
        "labels": ["golgi", "er"],
        "pixel_size_um": 0.5,
        "intensity_range": {"protein": [10, 3000]},
    }
    return DatasetCard.model_validate({**values, **changes})


def write_raw(folder: Path, n: int = 12, shape: tuple[int, ...] = (2, 24, 24)) -> list[Array]:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    fields = [rng.integers(0, 4000, shape).astype(np.uint16) for _ in range(n)]
    rows = ["tile_id\tpath\tgroup\tlabels\tplate"]
    for i, field in enumerate(fields):
        tifffile.imwrite(folder / f"f{i}.tif", field, photometric="minisblack")
        rows.append(f"t{i}\tf{i}.tif\tG{i // 3}\t{['golgi', 'er; golgi', ''][i % 3]}\tP1")
    (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
    return fields


def run(folder: Path, dataset: DatasetCard, output: Path | None = None, **options: object) -> Path:
    output = output or folder / "out"
    make_tiles(
        folder / "samples.tsv",
        dataset,
        manifest=output / "demo.json",
        tile_table=output / "demo.tiles.parquet",
        quality=output / "demo.quality.csv",
        skipped=output / "demo.skipped.tsv",
        **options,  # type: ignore[arg-type]
    )
    return output / "demo.json"


def content(output: Path) -> dict[str, bytes]:
    """Return every file of store and tables; the log holds file times and is left out."""
    return {
        str(p.relative_to(output)): p.read_bytes()
        for p in sorted(output.rglob("*"))
        if p.is_file() and ".blocks" not in str(p)
    }


def skipped_of(manifest: Path) -> pd.DataFrame:
    return pd.read_csv(manifest.with_name("demo.skipped.tsv"), sep="\t")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferscope.tiles.store.MOST_BLOCK_ROWS", 4)


def test_store_and_tables(tmp_path: Path) -> None:
    fields = write_raw(tmp_path)
    store = TileStore(run(tmp_path, card()))
    np.testing.assert_array_equal(store.read(0, len(store)), np.stack(fields))
    assert store.tile_ids == [f"t{i}" for i in range(12)]
    assert store.array.dtype == np.uint16
    assert store.array.chunks == (1, 2, 24, 24)
    assert store.array.shards == (12, 2, 24, 24)
    assert store.channels == ["nucleus", "protein"]
    assert store.attributes["pixel_size_um"] == 0.5
    np.testing.assert_array_equal(store.intensity_range, [[0, 65535], [10, 3000]])
    table = read_parquet(tmp_path / "out" / "demo.tiles.parquet")
    columns = ["tile_id", "group", "labels", "fov", "batch", "plate", "source", "y", "x"]
    assert list(table.columns) == columns
    assert table["tile_id"].tolist() == store.tile_ids
    assert table["labels"].tolist()[:3] == ["golgi", "er;golgi", ""]
    assert table["fov"].tolist() == store.tile_ids
    assert table["source"].tolist()[4] == "f4.tif"
    assert skipped_of(store.manifest_path).empty


def test_plain_zarr_reads_the_store(tmp_path: Path) -> None:
    fields = write_raw(tmp_path)
    manifest = run(tmp_path, card())
    group = zarr.open_group(manifest.with_suffix(".zarr"), mode="r")
    np.testing.assert_array_equal(group["images"][3], fields[3])
    assert group.attrs["format"] == "transferscope.tiles"


def test_quality_table_agrees_with_numpy_and_scipy(tmp_path: Path) -> None:
    fields = write_raw(tmp_path)
    run(tmp_path, card())
    quality = pd.read_csv(tmp_path / "out" / "demo.quality.csv")
    assert len(quality) == 24
    row = quality[(quality["tile_id"] == "t5") & (quality["channel"] == "protein")].iloc[0]
    plane = fields[5][1].astype(float)
    laplacian = ndimage.laplace(plane)[1:-1, 1:-1]
    assert row["saturated"] == pytest.approx((plane >= 3000).mean(), rel=1e-5)
    assert row["mean"] == pytest.approx(plane.mean(), rel=1e-5)
    assert row["focus"] == pytest.approx(laplacian.var() / plane.var(), rel=1e-5)
    for name, q in (("p0_1", 0.1), ("p1", 1), ("p50", 50), ("p99", 99), ("p99_9", 99.9)):
        assert row[name] == np.percentile(plane, q, method="inverted_cdf")
    assert not row["constant"]


def test_focus_falls_with_blur_and_ignores_gain_and_offset() -> None:
    plane = np.random.default_rng(0).integers(0, 200, (64, 64)).astype(np.uint16)
    sharp = measure(plane, 65535).focus
    assert measure(plane * 7 + 100, 65535).focus == pytest.approx(sharp, rel=1e-9)
    assert measure(ndimage.gaussian_filter(plane, 2), 65535).focus < sharp / 5


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_plane(value: int) -> None:
    quality = measure(np.full((10, 10), value, np.uint8), 255)
    assert quality.constant
    assert np.isnan(quality.focus)
    assert quality.saturated == (value == 255)
    assert quality.p0_1 == quality.p50 == quality.p99_9 == quality.mean == value


def test_cut_fields_carry_offsets_and_ids(tmp_path: Path) -> None:
    fields = write_raw(tmp_path, n=3, shape=(2, 50, 33))
    store = TileStore(run(tmp_path, card(tiles={"size": 16})))
    table = read_parquet(tmp_path / "out" / "demo.tiles.parquet")
    assert len(store) == 3 * 3 * 2
    assert store.tile_ids[:3] == ["t0_y1_x0", "t0_y1_x16", "t0_y17_x0"]
    assert table["fov"].tolist()[:7] == ["t0"] * 6 + ["t1"]
    for row in (0, 5, 13):
        y, x = table["y"][row], table["x"][row]
        expected = fields[row // 6][:, y : y + 16, x : x + 16]
        np.testing.assert_array_equal(store.read(row, row + 1)[0], expected)


def test_resize_sets_size_and_pixel_size(tmp_path: Path) -> None:
    write_raw(tmp_path, n=3, shape=(2, 48, 48))
    store = TileStore(run(tmp_path, card(tiles={"size": 16, "mode": "resize"})))
    assert store.array.shape == (3, 2, 16, 16)
    assert store.attributes["pixel_size_um"] == 1.5


@pytest.mark.parametrize("workers", [1, 3])
def test_number_of_workers_changes_nothing(
    tmp_path: Path, small_blocks: None, workers: int
) -> None:
    write_raw(tmp_path, n=10)
    tiles = {"size": 16, "pixel_size_um": 0.4}
    run(tmp_path, card(tiles=tiles), tmp_path / "a", workers=2)
    run(tmp_path, card(tiles=tiles), tmp_path / "b", workers=workers)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_memory_is_bounded_by_fields_ahead(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a block is being written, decoding stops a few fields ahead."""
    from transferscope.tiles import decoding as tile_decoding
    from transferscope.tiles import writer as tile_writer

    write_raw(tmp_path, n=30)
    decoded, ahead = [], []
    decode, write = tile_decoding._decode, tile_writer.TileWriter._write

    def counting(plan: object, planned: object, files: object) -> object:
        decoded.append(planned)
        return decode(plan, planned, files)  # type: ignore[arg-type]

    def slow(self: tile_writer.TileWriter) -> None:
        time.sleep(0.05)
        ahead.append(len(decoded) - 4 * (len(self._entries) + 1))
        write(self)

    monkeypatch.setattr(tile_decoding, "_decode", counting)
    monkeypatch.setattr(tile_writer.TileWriter, "_write", slow)
    run(tmp_path, card(), workers=2)
    assert len(decoded) == 30, "each field is decoded once"
    assert max(ahead) <= 2 + ordered.ITEMS_AHEAD


# Interruption

KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import transferscope.tiles.store, transferscope.tiles.writer
from test_build import card, run
transferscope.tiles.store.MOST_BLOCK_ROWS = 4
write = transferscope.tiles.writer.TileWriter._write
def slow(self):
    write(self)
    time.sleep(0.15)
transferscope.tiles.writer.TileWriter._write = slow
run(Path({folder!r}), card(), Path({output!r}), bad_tiles={bad_tiles!r})
"""


def run_until_killed(folder: Path, output: Path, blocks: int, bad_tiles: str) -> None:
    """Run in a process of its own, and kill it once so many blocks are done."""
    code = KILLED.format(
        tests=str(Path(__file__).parent),
        folder=str(folder),
        output=str(output),
        bad_tiles=bad_tiles,
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    log = output / "demo.blocks"
    while len(list(log.glob("*.json"))) < blocks:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "demo.json").exists()


@pytest.mark.parametrize("bad_tiles", ["stop", "skip"])
def test_killed_run_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path,
    small_blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    bad_tiles: str,
) -> None:
    from transferscope.tiles import decoding as tile_decoding

    write_raw(tmp_path, n=40)
    if bad_tiles == "skip":
        for i in (1, 2, 9, 30, 39):
            tifffile.imwrite(tmp_path / f"f{i}.tif", np.full((2, 24, 24), i, np.uint16))
    run_until_killed(tmp_path, tmp_path / "killed", 3, bad_tiles)
    run(tmp_path, card(), tmp_path / "whole", bad_tiles=bad_tiles)
    decoded = []
    decode = tile_decoding._decode
    monkeypatch.setattr(
        tile_decoding, "_decode", lambda *a: decoded.append(a[1].position) or decode(*a)
    )
    run(tmp_path, card(), tmp_path / "killed", bad_tiles=bad_tiles)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert min(decoded) >= 11, "finished blocks are not decoded again"


@pytest.mark.parametrize("bad_tiles", ["stop", "skip"])
def test_finished_run_decodes_nothing(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch, bad_tiles: str
) -> None:
    write_raw(tmp_path)
    if bad_tiles == "skip":
        tifffile.imwrite(tmp_path / "f4.tif", np.full((2, 24, 24), 4, np.uint16))
    manifest = run(tmp_path, card(), bad_tiles=bad_tiles)
    before = content(tmp_path / "out")
    monkeypatch.setattr("transferscope.tiles.decoding._decode", None)
    manifest.unlink()
    (tmp_path / "out" / "demo.quality.csv").unlink()
    run(tmp_path, card(), bad_tiles=bad_tiles)
    assert content(tmp_path / "out") == before


def test_replaced_file_starts_over(tmp_path: Path) -> None:
    fields = write_raw(tmp_path)
    first = json.loads(run(tmp_path, card()).read_text())
    replaced = fields[3][:, ::-1]
    tifffile.imwrite(tmp_path / "f3.tif", replaced, photometric="minisblack")
    store = TileStore(run(tmp_path, card()))
    np.testing.assert_array_equal(store.read(3, 4)[0], replaced)
    assert store.manifest.content_sha256 != first["content_sha256"]


def test_touched_files_and_new_labels_leave_the_manifest_as_it_was(tmp_path: Path) -> None:
    write_raw(tmp_path)
    first = run(tmp_path, card()).read_bytes()
    os.utime(tmp_path / "f3.tif", (1, 1))
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(sheet.read_text().replace("golgi", "er", 1))
    assert run(tmp_path, card()).read_bytes() == first
    table = read_parquet(tmp_path / "out" / "demo.tiles.parquet")
    assert table["labels"][0] == "er"


def test_changed_card_starts_over(tmp_path: Path) -> None:
    write_raw(tmp_path)
    run(tmp_path, card())
    store = TileStore(run(tmp_path, card(intensity_range={"protein": [0, 5]})))
    assert store.intensity_range[1].tolist() == [0, 5]
    quality = pd.read_csv(tmp_path / "out" / "demo.quality.csv")
    assert quality.loc[quality["channel"] == "protein", "saturated"].min() > 0.99


# Bad tiles


def spoil(folder: Path) -> None:
    """One field constant, one whose pixels are corrupt, one that is no image, one signed."""
    tifffile.imwrite(folder / "f1.tif", np.full((2, 24, 24), 7, np.uint16))
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 4000, (2, 24, 24)).astype(np.uint16)
    tifffile.imwrite(folder / "f4.tif", noise, compression="zlib")
    corrupt = bytearray((folder / "f4.tif").read_bytes())
    corrupt[-700:-600] = bytes(100)
    (folder / "f4.tif").write_bytes(corrupt)
    (folder / "f6.tif").write_bytes(b"no image")
    tifffile.imwrite(folder / "f8.tif", np.full((2, 24, 24), -1, np.int16))


def test_stop_names_all_bad_headers_with_their_rows(tmp_path: Path) -> None:
    write_raw(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError) as caught:
        run(tmp_path, card())
    rows = [p.where.partition("samples.tsv, ")[2].split(":")[0] for p in caught.value.problems]
    assert rows == ["row 8", "row 10"]
    assert "f6.tif" in str(caught.value)
    assert "int16" in str(caught.value)


def test_stop_names_all_bad_pixels_and_keeps_finished_blocks(
    tmp_path: Path, small_blocks: None
) -> None:
    write_raw(tmp_path)
    for i in (5, 9):
        tifffile.imwrite(tmp_path / f"f{i}.tif", np.full((2, 24, 24), i, np.uint16))
    with pytest.raises(UserError) as caught:
        run(tmp_path, card())
    assert [p.what for p in caught.value.problems] == ["every channel is constant"] * 2
    assert "samples.tsv, row 7: f5.tif" in caught.value.problems[0].where
    assert "bad_tiles: skip" in caught.value.problems[0].fix
    assert not (tmp_path / "out" / "demo.json").exists()
    assert len(list((tmp_path / "out" / "demo.blocks").glob("*.json"))) == 1
    assert len(TileStore(run(tmp_path, card(), bad_tiles="skip"))) == 10


def test_skip_leaves_bad_fields_out_and_lists_them(tmp_path: Path, small_blocks: None) -> None:
    fields = write_raw(tmp_path)
    spoil(tmp_path)
    manifest = run(tmp_path, card(), bad_tiles="skip")
    store = TileStore(manifest)
    good = [i for i in range(12) if i not in (1, 4, 6, 8)]
    assert store.tile_ids == [f"t{i}" for i in good]
    np.testing.assert_array_equal(store.read(0, 8), np.stack([fields[i] for i in good]))
    skipped = skipped_of(manifest)
    assert skipped["tile_id"].tolist() == ["t1", "t4", "t6", "t8"]
    assert skipped["row"].tolist() == [3, 6, 8, 10]
    assert skipped["source"].tolist() == ["f1.tif", "f4.tif", "f6.tif", "f8.tif"]
    for reason, part in zip(
        skipped["reason"], ("constant", "cannot be decoded", "not an image", "int16"), strict=True
    ):
        assert part in reason
    table = read_parquet(tmp_path / "out" / "demo.tiles.parquet")
    assert table["tile_id"].tolist() == store.tile_ids
    quality = pd.read_csv(tmp_path / "out" / "demo.quality.csv")
    assert quality["tile_id"].tolist() == [i for i in store.tile_ids for _ in range(2)]


def test_skip_equals_a_sheet_without_the_bad_rows(tmp_path: Path, small_blocks: None) -> None:
    write_raw(tmp_path)
    tifffile.imwrite(tmp_path / "f4.tif", np.full((2, 24, 24), 4, np.uint16))
    skipping = TileStore(run(tmp_path, card(), tmp_path / "a", bad_tiles="skip"))
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("".join(x for x in sheet.read_text().splitlines(True) if "f4.tif" not in x))
    without = TileStore(run(tmp_path, card(), tmp_path / "b"))
    assert skipping.manifest.content_sha256 == without.manifest.content_sha256
    assert skipping.manifest.ids_sha256 == without.manifest.ids_sha256


def test_stop_after_a_finished_skip_stops(tmp_path: Path) -> None:
    write_raw(tmp_path)
    tifffile.imwrite(tmp_path / "f4.tif", np.full((2, 24, 24), 4, np.uint16))
    run(tmp_path, card(), bad_tiles="skip")
    with pytest.raises(UserError, match=r"row 6: f4\.tif"):
        run(tmp_path, card())


def test_constant_tile_of_a_cut_field_is_skipped_alone(tmp_path: Path) -> None:
    fields = write_raw(tmp_path, n=3, shape=(2, 32, 32))
    fields[1][:, :16, 16:] = 9
    tifffile.imwrite(tmp_path / "f1.tif", fields[1], photometric="minisblack")
    dataset = card(tiles={"size": 16})
    with pytest.raises(UserError, match=r"row 3: f1\.tif, tile at y 0, x 16"):
        run(tmp_path, dataset)
    store = TileStore(run(tmp_path, dataset, bad_tiles="skip"))
    assert len(store) == 11
    assert skipped_of(store.manifest_path)["tile_id"].tolist() == ["t1_y0_x16"]


def test_one_constant_channel_is_only_noted(tmp_path: Path) -> None:
    fields = write_raw(tmp_path)
    fields[2][1] = 5
    tifffile.imwrite(tmp_path / "f2.tif", fields[2], photometric="minisblack")
    assert len(TileStore(run(tmp_path, card()))) == 12
    quality = pd.read_csv(tmp_path / "out" / "demo.quality.csv")
    noted = quality[quality["constant"]]
    assert noted[["tile_id", "channel"]].to_numpy().tolist() == [["t2", "protein"]]


def test_padding_does_not_hide_a_constant_field(tmp_path: Path) -> None:
    write_raw(tmp_path)
    tifffile.imwrite(tmp_path / "f2.tif", np.full((2, 24, 24), 9, np.uint16))
    with pytest.raises(UserError, match="constant"):
        run(tmp_path, card(tiles={"size": 40, "mode": "pad"}))


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    write_raw(tmp_path, n=2)
    for i in range(2):
        tifffile.imwrite(tmp_path / f"f{i}.tif", np.full((2, 24, 24), 9, np.uint16))
    with pytest.raises(UserError, match="no usable field is left"):
        run(tmp_path, card(), bad_tiles="skip")
    for i in range(2):
        (tmp_path / f"f{i}.tif").write_bytes(b"no image")
    with pytest.raises(UserError, match="no usable field is left"):
        run(tmp_path, card(), bad_tiles="skip")


@pytest.mark.parametrize("bad_tiles", ["stop", "skip"])
def test_mixed_types_and_sizes_name_both_files(tmp_path: Path, bad_tiles: str) -> None:
    write_raw(tmp_path)
    tifffile.imwrite(tmp_path / "f5.tif", np.zeros((2, 25, 24), np.uint8))
    with pytest.raises(UserError) as caught:
        run(tmp_path, card(), bad_tiles=bad_tiles)
    said = [str(p) for p in caught.value.problems]
    assert len(said) == 2
    assert all("f5.tif" in s and "f0.tif" in s and "row 7" in s for s in said)
    assert "differs in type" in said[0]
    assert "Set `tiles.size`" in said[1]


def test_ids_that_collide_once_cut(tmp_path: Path) -> None:
    write_raw(tmp_path, n=2, shape=(2, 32, 16))
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(sheet.read_text().replace("t1\t", "t0_y16_x0\t"))
    tifffile.imwrite(tmp_path / "f1.tif", np.ones((2, 16, 16), np.uint16))
    with pytest.raises(UserError, match='two tiles would have the id "t0_y16_x0"'):
        run(tmp_path, card(tiles={"size": 16}))


# Header checks before the run


def test_check_files_reports_every_bad_file_with_its_row(tmp_path: Path) -> None:
    write_raw(tmp_path)
    (tmp_path / "f1.tif").write_bytes(b"no image")
    whole = (tmp_path / "f2.tif").read_bytes()
    (tmp_path / "f2.tif").write_bytes(whole[:-100])
    three = np.zeros((3, 24, 24), np.uint16)
    tifffile.imwrite(tmp_path / "f3.tif", three, photometric="minisblack")
    problems = check_files(read_sheet(tmp_path / "samples.tsv", card()), card())
    said = [str(p) for p in problems]
    assert len(said) == 3
    for text, row, part in zip(
        said, (3, 4, 5), ("not an image", "cut short", "3 channels"), strict=True
    ):
        assert f"row {row}:" in text
        assert part in text


def test_check_files_caps_what_it_says_and_what_it_opens(tmp_path: Path) -> None:
    write_raw(tmp_path, n=40)
    sheet = read_sheet(tmp_path / "samples.tsv", card())
    assert check_files(sheet, card()) == []
    for i in range(40):
        (tmp_path / f"f{i}.tif").write_bytes(b"no image")
    problems = check_files(sheet, card())
    assert len(problems) == 21
    assert problems[-1].what == "20 more raw files have problems"
    assert len(check_files(sheet, card(), max_files=7)) == 7


# Real data


def real(folder: Path, rows: list[dict[str, str]], dataset: DatasetCard) -> TileStore:
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    return TileStore(run(folder, dataset))


@needs_data
def test_hpa_fields_are_cut(tmp_path: Path) -> None:
    table = pd.read_csv(DATA / "hpa_fov" / "labels.csv").head(2)
    names = {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"}
    images = DATA / "hpa_fov" / "images"
    rows = [
        {"tile_id": row.ID, "group": row.ID, "labels": row.Labels.replace("|", ";")}
        | {f"path_{name}": str(images / f"{row.ID}_{colour}.png") for name, colour in names.items()}
        for row in table.itertuples()
    ]
    labels = sorted({label for row in rows for label in row["labels"].split(";")})
    dataset = card(
        channels=list(names),
        labels=labels,
        roots=[str(DATA)],
        tiles={"size": 512},
        intensity_range={},
    )
    store = real(tmp_path, rows, dataset)
    assert store.array.shape == (2 * 16, 4, 512, 512)
    assert store.array.dtype == np.uint8
    first = imagecodecs.imread(rows[0]["path_protein"])
    np.testing.assert_array_equal(store.read(5, 6)[0, 1], first[512:1024, 512:1024])


@needs_data
@pytest.mark.parametrize("size", [64, 112])
def test_bbbc013_crops_are_resized(tmp_path: Path, size: int) -> None:
    cells = pd.read_csv(DATA / "bbbc013" / "cells.csv").head(60)
    rows = [
        {"tile_id": cell.file, "group": cell.well, "labels": "golgi"}
        | {"path": str(DATA / "bbbc013" / "crops" / cell.file)}
        for cell in cells.itertuples()
    ]
    dataset = card(
        channels=["protein", "nucleus"],
        ignore_channels=[2],
        roots=[str(DATA)],
        tiles={"size": size, "mode": "resize"},
        intensity_range={},
    )
    store = real(tmp_path, rows, dataset)
    assert store.array.shape == (60, 2, size, size)
    assert store.attributes["pixel_size_um"] is None
    crop = imagecodecs.imread(rows[0]["path"])
    ours = store.read(0, 1)[0].mean(axis=(1, 2))
    assert ours == pytest.approx(crop[..., :2].mean(axis=(0, 1)), rel=0.05)


@needs_data
def test_jump_and_nf1_layouts(tmp_path: Path) -> None:
    jump = DATA / "fields" / "jump"
    row = {"tile_id": "r01c01f01", "group": "A1", "labels": ""}
    paths = {
        f"path_{n}": str(jump / f"r01c01f01p01-ch{c}sk1fk1fl1.tiff")
        for n, c in (("nucleus", 5), ("er", 2), ("actin", 3))
    }
    dataset = card(
        channels=["nucleus", "er", "actin"],
        roots=[str(DATA)],
        intensity_range={},
        tiles={"size": 1024, "mode": "pad"},
    )
    store = real(tmp_path, [row | paths], dataset)
    expected = tifffile.imread(paths["path_er"])[28:1052, 28:1052]
    np.testing.assert_array_equal(store.read(0, 1)[0, 1], expected)

    images = DATA / "fields" / "nf1" / "images"
    fields = sorted(images.glob("*_DAPI_001.tif"))
    rows = []
    for path in fields:
        well, _, _, site = path.stem.split("_")[:4]
        others = {
            "nucleus": path,
            "er": next(images.glob(f"{well}_01_2_{site}_GFP_*")),
            "actin": next(images.glob(f"{well}_01_3_{site}_RFP_*")),
        }
        rows.append(
            {"tile_id": path.stem, "group": well, "labels": ""}
            | {f"path_{name}": str(other) for name, other in others.items()}
        )
    (tmp_path / "nf1").mkdir()
    dataset = card(channels=["nucleus", "er", "actin"], roots=[str(DATA)], intensity_range={})
    store = real(tmp_path / "nf1", rows, dataset)
    assert store.array.shape == (5, 3, 904, 1224)
    np.testing.assert_array_equal(store.read(2, 3)[0, 0], tifffile.imread(fields[2]))

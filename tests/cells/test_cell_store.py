"""Fields and masks to cell tiles: exact tiles, any interruption, any bad mask."""

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from transferscope.cards import DatasetCard
from transferscope.cells.build import make_cells
from transferscope.errors import UserError
from transferscope.raw.masks import check_mask_cells, mask_columns
from transferscope.raw.raw_files import raw_digest
from transferscope.raw.sheets import read_sheet
from transferscope.simulate import simulate_dataset
from transferscope.stores.parquet import read_parquet
from transferscope.stores.tile_store import TileStore

CHANNELS = ["nucleus", "protein"]
# Where the neighbourhoods of the tile pixels (1, 1), (1, 6), (6, 1) and (4, 3) begin, shrunk by 3.
CORNERS = [(2, 2), (2, 17), (17, 2), (11, 8)]


def card(crop: dict | None = None, segmentation: dict | None = None, **changes) -> DatasetCard:
    cells = {
        "segmentation": segmentation or {"method": "provided"},
        "crop": {"size": 24, "border_cells": "keep", **(crop or {})},
        "overlays": 2,
    }
    values = {
        "name": "demo",
        "sheet": "samples.tsv",
        "channels": CHANNELS,
        "labels": ["golgi", "er"],
        "cells": cells,
    }
    return DatasetCard.model_validate({**values, **changes})


def write_fields(folder: Path, n: int = 6, nuclei: bool = False) -> tuple[list, list]:
    """Write fields of several sizes with a grid of cells, numbered with gaps; return them."""
    rng = np.random.default_rng(0)
    fields, masks, rows = [], [], []
    for i in range(n):
        shape = (50 + 4 * i, 60)
        y, x = np.mgrid[: shape[0], : shape[1]]
        mask = np.where((y % 15 < 12) & (x % 15 < 13), 2 * (y // 15 * 10 + x // 15) + 3, 0)
        field = rng.integers(1, 4000, (2, *shape)).astype(np.uint16)
        tifffile.imwrite(folder / f"f{i}.tif", field, photometric="minisblack")
        tifffile.imwrite(folder / f"m{i}.tif", mask.astype(np.uint16))
        row = {"tile_id": f"t{i}", "path": f"f{i}.tif", "group": f"G{i // 2}", "labels": "er"}
        row |= {"plate": "P1", "mask": f"m{i}.tif"}
        if nuclei:
            inner = ((y % 15 < 6) & (x % 15 < 6)).astype(np.uint8) * 255
            tifffile.imwrite(folder / f"n{i}.tif", inner)
            row["nucleus_mask"] = f"n{i}.tif"
        fields.append(field)
        masks.append(mask)
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    return fields, masks


def run(folder: Path, dataset: DatasetCard, output: str = "out", **options: object) -> Path:
    made = folder / output
    make_cells(
        folder / "samples.tsv",
        dataset,
        manifest=made / "demo.json",
        tile_table=made / "demo.tiles.parquet",
        quality=made / "demo.quality.csv",
        skipped=made / "demo.skipped.tsv",
        plausibility=made / "demo.plausibility.csv",
        overlays=made / "overlays",
        **options,  # type: ignore[arg-type]
    )
    return made / "demo.json"


def content(output: Path) -> dict[str, bytes]:
    """Return every file but the inputs' stamp, which holds file times."""
    files = (p for p in sorted(output.rglob("*")) if p.is_file() and p.name != "inputs")
    return {str(p.relative_to(output)): p.read_bytes() for p in files}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferscope.tiles.store.MOST_BLOCK_ROWS", 7)


def test_each_tile_holds_its_cell_and_no_pixel_of_another(tmp_path: Path) -> None:
    fields, masks = write_fields(tmp_path)
    store = TileStore(run(tmp_path, card()))
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    assert store.tile_ids == table["tile_id"].tolist()
    assert len(table) == sum(len(np.unique(mask)) - 1 for mask in masks)
    for row, (tile_id, number) in enumerate(zip(table["tile_id"], table["cell"], strict=True)):
        index = int(tile_id[1])
        assert tile_id == f"t{index}_c{number:05d}"
        own = masks[index] == number
        tile = store.read(row, row + 1)[0]
        for channel in range(2):
            # Values are 1 and more in the field: sums and counts tell each pixel.
            assert tile[channel].sum() == fields[index][channel][own].sum()
            assert np.count_nonzero(tile[channel]) == own.sum() == table["area_px"][row]
    assert set(table["plate"]) == {"P1"}
    assert table["fov"].tolist() == [tile_id[:2] for tile_id in table["tile_id"]]
    assert store.channels == CHANNELS


def test_simulated_cells_come_back_whole(tmp_path: Path) -> None:
    simulate_dataset("opencell", tmp_path, 4, 2, 128, workers=1, masks=True)
    sheet = pd.read_csv(tmp_path / "samples.tsv", sep="\t")
    labels = sorted({label for cell in sheet["labels"].dropna() for label in cell.split(";")})
    channels = {"protein": 0, "nucleus": 1}
    dataset = card({"size": 128}, channels=list(channels), labels=[*labels, "none"])
    store = TileStore(run(tmp_path, dataset))
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    masks = {i: tifffile.imread(tmp_path / m) for i, m in zip(sheet.tile_id, sheet["mask"])}  # noqa: B905
    fields = {i: tifffile.imread(tmp_path / m) for i, m in zip(sheet.tile_id, sheet["path"])}  # noqa: B905
    assert len(table) == sum(int(mask.max()) for mask in masks.values())
    for row, (fov, number, y, x) in enumerate(table[["fov", "cell", "y", "x"]].to_numpy()):
        own = masks[fov] == number
        whole = np.zeros((2, 384, 384), np.uint16)
        whole[:, 128:256, 128:256] = np.where(own, fields[fov], 0)
        expected = whole[:, y + 128 : y + 256, x + 128 : x + 256]
        np.testing.assert_array_equal(store.read(row, row + 1)[0], expected)


def test_an_unmasked_tile_shows_the_neighbours(tmp_path: Path) -> None:
    fields, _ = write_fields(tmp_path)
    store = TileStore(run(tmp_path, card({"masked": False, "border_cells": "drop"})))
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    inside = table[(table["y"] >= 0) & (table["x"] >= 0) & (table["x"] <= 36) & (table["y"] <= 26)]
    assert len(inside)
    for row, (fov, y, x) in inside[["fov", "y", "x"]].iterrows():
        expected = fields[int(fov[1])][:, y : y + 24, x : x + 24]
        np.testing.assert_array_equal(store.read(row, row + 1)[0], expected)


def test_cells_are_dropped_by_border_and_area_and_counted(tmp_path: Path) -> None:
    _, masks = write_fields(tmp_path)
    run(tmp_path, card({"border_cells": "drop", "minimum_area": 100}))
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    assert not table["touches_border"].any()
    found = pd.read_csv(tmp_path / "out/demo.plausibility.csv", keep_default_na=False)
    for i, mask in enumerate(masks):
        numbers = set(np.unique(mask)) - {0}
        rim = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        at_border = set(np.unique(rim)) - {0}
        row = found.iloc[i]
        assert row["cells"] == len(numbers)
        assert row["touching_border"] == row["dropped_border"] == len(at_border)
        areas = np.array([(mask == number).sum() for number in numbers])
        assert row["median_area_px"] == np.median(areas)
        assert row["covered"] == pytest.approx((mask > 0).mean(), rel=1e-5)
        assert row["kept"] == (table["fov"] == f"t{i}").sum()
    assert (tmp_path / "out/overlays/000000_t0.png").is_file()
    assert len(list((tmp_path / "out/overlays").iterdir())) == 2


def test_tiles_may_be_centred_on_the_nucleus(tmp_path: Path) -> None:
    write_fields(tmp_path, nuclei=True)
    run(tmp_path, card({"centre": "nucleus"}))
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    whole = table[table["area_px"] == 12 * 13]
    # The nucleus fills the upper left 6 x 6 px of its cell: its middle is at 2.5.
    assert (whole["y"] == whole["box_top"] + 3 - 12).all()
    assert {"nucleus_mean_protein", "nucleus_to_cytoplasm_nucleus"} <= set(table.columns)


def test_fill_background_is_the_median_outside(tmp_path: Path) -> None:
    fields, masks = write_fields(tmp_path)
    store = TileStore(run(tmp_path, card({"fill": "background"})))
    expected = [int(np.median(plane[masks[0] == 0])) for plane in fields[0]]
    assert store.read(0, 1)[0][:, 0, 0].tolist() == expected


def test_any_number_of_workers_and_any_interruption_give_equal_bytes(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fields(tmp_path)
    whole = content(run(tmp_path, card(), workers=1).parent)
    assert content(run(tmp_path, card(), "parallel", workers=3).parent) == whole
    from transferscope.cells import cutting, field

    for module, name, last in ((field, "segment", 4), (cutting, "cut_cell", 20)):
        calls = 0
        function = getattr(module, name)

        def killed(*args, _function=function, _last=last, **kwargs):
            nonlocal calls
            calls += 1
            if calls > _last:
                raise KeyboardInterrupt
            return _function(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, card(), "resumed", workers=1)
        assert not (tmp_path / "resumed/demo.json").exists()
    segmented = []
    monkeypatch.setattr(field, "segment", lambda *a: segmented.append(a))
    assert content(run(tmp_path, card(), "resumed", workers=1).parent) == whole
    assert not segmented, "fields that were segmented are not segmented again"


def test_fields_and_masks_may_lie_in_an_object_store(store: Any, tmp_path: Path) -> None:
    write_fields(tmp_path, n=3, nuclei=True)
    crop = {"centre": "nucleus"}
    local = content(run(tmp_path, card(crop)).parent)
    url = store.put(tmp_path, "cells")
    for image in tmp_path.glob("*.tif"):
        image.unlink()
    assert content(run(tmp_path, card(crop, location=url), "far").parent) == local
    sheet = (tmp_path / "samples.tsv").read_text()
    (tmp_path / "samples.tsv").write_text(sheet.replace("m1.tif", ""))
    far = card(crop, location=url)
    unmasked = read_sheet(tmp_path / "samples.tsv", far)
    assert "row 3, column mask" in check_mask_cells(unmasked, far)[0].where
    assert raw_digest(unmasked, mask_columns(unmasked, far))
    (tmp_path / "samples.tsv").write_text(sheet)
    store.delete("cells/m1.tif")
    with pytest.raises(UserError, match=r"row 3, column mask: .*cells/m1.tif. does not exist"):
        run(tmp_path, card(crop, location=url), "far")


def test_a_new_mask_makes_the_cells_anew(tmp_path: Path) -> None:
    _, masks = write_fields(tmp_path)
    run(tmp_path, card())
    tifffile.imwrite(tmp_path / "m0.tif", (masks[0] > 0).astype(np.uint16) * 7)
    run(tmp_path, card())
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    assert table.loc[table["fov"] == "t0", "cell"].tolist() == [7]


BAD_MASKS = {
    "another shape": (np.ones((5, 6), np.uint16), "is 5 x 6 px, but its field 50 x 60"),
    "empty": (np.zeros((50, 60), np.uint16), "the mask is empty"),
    "several channels": (np.ones((3, 50, 60), np.uint16), "a mask has one channel"),
    "negative": (np.full((50, 60), -1, np.int32), "holds negative values"),
    "floats": (np.ones((50, 60), np.float32), "float32"),
}


@pytest.mark.parametrize("kind", BAD_MASKS)
def test_a_bad_mask_is_named_or_skipped(tmp_path: Path, kind: str) -> None:
    write_fields(tmp_path)
    mask, expected = BAD_MASKS[kind]
    tifffile.imwrite(tmp_path / "m0.tif", mask, photometric="minisblack")
    with pytest.raises(UserError, match=rf"row 2.*{expected}"):
        run(tmp_path, card())
    run(tmp_path, card(), bad_tiles="skip")
    skipped = pd.read_csv(tmp_path / "out/demo.skipped.tsv", sep="\t")
    assert skipped["tile_id"].tolist() == ["t0"]
    assert expected in skipped["reason"][0]
    assert "t0" not in set(read_parquet(tmp_path / "out/demo.tiles.parquet")["fov"])


def test_problems_of_the_mask_column_are_named_together(tmp_path: Path) -> None:
    write_fields(tmp_path)
    sheet = pd.read_csv(tmp_path / "samples.tsv", sep="\t")
    sheet["mask"] = ["m0.tif", "m0.tif", "f3.tif", "", "m4.tif", "m5.tif"]
    sheet.to_csv(tmp_path / "samples.tsv", sep="\t", index=False)
    problems = [
        str(p) for p in check_mask_cells(read_sheet(tmp_path / "samples.tsv", card()), card())
    ]
    assert len(problems) == 3
    assert "row 3" in problems[0]
    assert "is also that of row 2" in problems[0]
    assert "is a raw image" in problems[1]
    assert "row 5" in problems[2]
    assert "is empty" in problems[2]
    without = sheet.drop(columns="mask")
    without.to_csv(tmp_path / "samples.tsv", sep="\t", index=False)
    with pytest.raises(UserError, match='column "mask" is missing'):
        run(tmp_path, card())


def test_a_mask_of_100_000_cells_goes_through(tmp_path: Path) -> None:
    labels = np.arange(1, 100_001, dtype=np.uint32).reshape(250, 400).repeat(3, 0).repeat(3, 1)
    middles = labels[1::3, 1::3]
    middles[middles <= 99_000] = 0  # 8 px in place of 9
    field = np.random.default_rng(0).integers(1, 200, (2, *labels.shape)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "f.tif", field, photometric="minisblack")
    tifffile.imwrite(tmp_path / "m.tif", labels, compression="zlib")
    rows = "tile_id\tpath\tgroup\tlabels\tmask\nt\tf.tif\tG\ter\tm.tif\n"
    (tmp_path / "samples.tsv").write_text(rows)
    dataset = card({"size": 8, "minimum_area": 9})
    shown = dataset.cells.model_copy(update={"overlays": 0})
    run(tmp_path, dataset.model_copy(update={"cells": shown}))
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    found = pd.read_csv(tmp_path / "out/demo.plausibility.csv").iloc[0]
    assert (found["cells"], found["dropped_small"], found["kept"]) == (100_000, 99_000, 1000)
    assert len(table) == 1000
    assert table["tile_id"].iloc[-1] == "t_c100000"


def test_a_field_without_a_cell_is_left_out_and_said(tmp_path: Path) -> None:
    write_fields(tmp_path)
    flat = np.full((2, 50, 60), 9, np.uint16)
    tifffile.imwrite(tmp_path / "f0.tif", flat, photometric="minisblack")
    run(tmp_path, card(segmentation={"method": "watershed", "smoothing": 1}))
    skipped = pd.read_csv(tmp_path / "out/demo.skipped.tsv", sep="\t")
    assert skipped.loc[0, ["tile_id", "reason"]].tolist() == ["t0", "no cell was found"]
    found = pd.read_csv(tmp_path / "out/demo.plausibility.csv")
    assert found["remark"][0] == "no cell"


def test_no_cell_at_all_is_an_error(tmp_path: Path) -> None:
    write_fields(tmp_path)
    with pytest.raises(UserError, match=r"no cell is left of 6 fields.*small"):
        run(tmp_path, card({"minimum_area": 1e6}))


def test_whole_fields_are_cells(tmp_path: Path) -> None:
    fields, _ = write_fields(tmp_path)
    dataset = card({"size": 80, "border_cells": "drop"}, {"method": "whole"})
    store = TileStore(run(tmp_path, dataset))
    assert len(store) == len(fields)
    for row, field in enumerate(fields):
        tile = store.read(row, row + 1)[0]
        assert tile.sum() == field.sum()
    table = read_parquet(tmp_path / "out/demo.tiles.parquet")
    assert not table["touches_border"].any()


@pytest.mark.parametrize("masked", [True, False])
def test_a_crop_is_resampled_to_the_size_of_a_tile(tmp_path: Path, masked: bool) -> None:
    write_fields(tmp_path)
    settings = {"masked": masked, "size_um": 12.0, "size": None}
    scaled = {**settings, "tile_size_px": 8}
    cut = TileStore(run(tmp_path, card(settings, pixel_size_um=0.5)))
    small = TileStore(run(tmp_path, card(scaled, pixel_size_um=0.5), "small", workers=2))
    assert (small.tile_size, small.pixel_size_um) == ((8, 8), 1.5)
    assert small.tile_ids == cut.tile_ids
    # Shrunk by 3, a pixel weighs its neighbourhood of 5 x 5 px by a triangle that ends at 3.
    triangle = np.array([1, 2, 3, 2, 1])
    weights = np.outer(triangle, triangle) / 81
    for row in range(len(cut)):
        whole, tile = cut.read(row, row + 1)[0], small.read(row, row + 1)[0]
        inner = [(whole[:, y : y + 5, x : x + 5] * weights).sum((1, 2)) for y, x in CORNERS]
        np.testing.assert_allclose(tile[:, [1, 1, 6, 4], [1, 6, 1, 3]].T, inner, atol=0.51)
    first = read_parquet(tmp_path / "out/demo.tiles.parquet")
    pd.testing.assert_frame_equal(first, read_parquet(tmp_path / "small/demo.tiles.parquet"))


def test_the_reserved_columns_are_named(tmp_path: Path) -> None:
    write_fields(tmp_path)
    text = (tmp_path / "samples.tsv").read_text()
    (tmp_path / "samples.tsv").write_text(text.replace("plate", "cell", 1))
    with pytest.raises(UserError, match='column "cell" is filled by transferscope'):
        run(tmp_path, card())


def test_the_plan_reads_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transferscope.cells.plan import make_cell_plan

    write_fields(tmp_path)
    monkeypatch.setattr("transferscope.raw.masks.read_pixels", None)
    monkeypatch.setattr("transferscope.raw.images.read_pixels", None)
    plan = make_cell_plan(read_sheet(tmp_path / "samples.tsv", card()), card(), skip=False)
    assert plan.positions == list(range(6))
    assert dataclasses.is_dataclass(plan)


# A run that is killed from outside, in the middle of segmenting or of cutting.

KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import transferscope.tiles.store
from transferscope.cells import cutting, field
from test_cell_store import card, run
transferscope.tiles.store.MOST_BLOCK_ROWS = 7
def slowed(function):
    def slow(*arguments, **options):
        time.sleep({pause})
        return function(*arguments, **options)
    return slow
{module}.{name} = slowed({module}.{name})
run(Path({folder!r}), card(), "killed", workers=2)
"""


@pytest.mark.parametrize(
    ("module", "name", "pause", "done"),
    [
        ("field", "segment", 0.5, "demo.fields/*.npz"),
        ("cutting", "cut_cell", 0.05, "demo.zarr/done/c/[0-9]*"),
    ],
)
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, small_blocks: None, module: str, name: str, pause: float, done: str
) -> None:
    write_fields(tmp_path)
    places = {"tests": str(Path(__file__).parent), "folder": str(tmp_path)}
    code = KILLED.format(**places, module=module, name=name, pause=pause)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while len(list((tmp_path / "killed").glob(done))) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/demo.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob(done)}
    assert content(run(tmp_path, card(), "killed").parent) == content(
        run(tmp_path, card(), "whole").parent
    )
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what is done is kept"

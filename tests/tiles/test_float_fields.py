"""Fields of floats: stored as integers between black and white of the card, or refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.raw.file_checks import check_files
from transferscope.raw.float_values import as_stored
from transferscope.raw.sheets import read_sheet
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.build import make_tiles
from transferscope.tiles.contact_sheets import display_limits
from transferscope.tiles.doubts import suggested_float_range
from transferscope.tiles.finishing import doubts_of_store
from transferscope.tiles.looking import look_at_fields

RANGES = {"nucleus": [-0.5, 1.5], "protein": [0, 2000]}


def card(**changes: object) -> DatasetCard:
    given = {"name": "demo", "sheet": "samples.tsv", "channels": [*RANGES], "labels": ["er"]}
    return DatasetCard.model_validate({**given, "intensity_range": RANGES, **changes})


def written(folder: Path, dtype: str = "float32") -> np.ndarray:
    """Write six fields whose values are within `RANGES`; return them, [6, 2, 24, 24]."""
    folder.mkdir(parents=True, exist_ok=True)
    low, high = np.array([*RANGES.values()], np.float64).T[:, :, None, None]
    shares = np.random.default_rng(0).beta(2, 3, (6, 2, 24, 24))
    fields = (low + (high - low) * shares).astype(dtype)
    rows = ["tile_id\tpath\tgroup\tlabels"]
    for i, field in enumerate(fields):
        tifffile.imwrite(folder / f"f{i}.tif", field, photometric="minisblack")
        rows.append(f"t{i}\tf{i}.tif\tG{i}\ter")
    (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
    return fields


def store_of(folder: Path, dataset: DatasetCard) -> TileStore:
    out = folder / "out"
    tables = {"tile_table": "t.parquet", "quality": "q.csv", "skipped": "s.tsv"}
    make_tiles(
        folder / "samples.tsv",
        dataset,
        manifest=out / "demo.json",
        **{name: out / file for name, file in tables.items()},
    )
    return TileStore(out / "demo.json")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_pixels_reach_networks_as_they_were(tmp_path: Path, dtype: str) -> None:
    fields = written(tmp_path, dtype)
    store = store_of(tmp_path, card())
    assert store.array.dtype == np.uint16
    np.testing.assert_array_equal(store.intensity_range, [[0, 65535]] * 2)
    assert store.attributes["scaled_from"] == [*RANGES.values()]
    low, high = np.array([*RANGES.values()], np.float64).T[:, None, :, None, None]
    wanted = (fields.astype(np.float64) - low) / (high - low)
    np.testing.assert_allclose(store.read(0, 6) / 65535, wanted, rtol=0, atol=0.51 / 65535)
    assert doubts_of_store(store.manifest_path) == []
    np.testing.assert_array_equal(display_limits(store, card()), [[0, 65535]] * 2)


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    values=st.lists(FINITE, min_size=1, max_size=50),
    limits=st.tuples(st.floats(-1e20, 1e20), st.floats(1e-10, 1e20)),
)
def test_order_is_kept_and_all_values_are_within_the_type(values, limits) -> None:
    low, high = limits[0], limits[0] + limits[1]
    if not low < high:
        return
    dataset = card(channels=["protein"], intensity_range={"protein": [low, high]})
    field = np.sort(np.array(values, np.float32))[None, None]
    stored = as_stored(field, dataset)[0, 0].astype(int)
    assert (np.diff(stored) >= 0).all()
    assert (stored[field[0, 0] <= low] == 0).all()
    assert (stored[field[0, 0] >= high] == 65535).all()


def test_integers_are_stored_as_they_are() -> None:
    field = np.arange(32, dtype=np.uint16).reshape(2, 4, 4)
    assert as_stored(field, card()) is field


@pytest.mark.parametrize(
    ("ranges", "named"),
    [({}, "nucleus, protein"), ({"nucleus": [0, 1]}, "protein"), ("auto", "nucleus, protein")],
)
def test_a_range_is_asked_for_before_anything_runs(tmp_path: Path, ranges, named) -> None:
    written(tmp_path)
    dataset = card(intensity_range=ranges)
    sheet = read_sheet(tmp_path / "samples.tsv", dataset)
    [problem] = check_files(sheet, dataset)
    assert "row 2" in problem.where
    assert "float32 values, which have no black and white" in problem.what
    assert f"`intensity_range` of {named} in the card" in problem.fix
    assert look_at_fields(sheet, dataset) == []
    with pytest.raises(UserError, match="no black and white"):
        store_of(tmp_path, dataset)


def test_fields_of_floats_among_integers_are_named(tmp_path: Path) -> None:
    fields = written(tmp_path)
    tifffile.imwrite(tmp_path / "f3.tif", fields[3].astype(np.uint16), photometric="minisblack")
    sheet = read_sheet(tmp_path / "samples.tsv", card())
    [problem] = check_files(sheet, card())
    assert "differs in type" in problem.what
    assert "row 5" in problem.where


@pytest.mark.parametrize(
    ("limits", "doubt"),
    [
        ([0, 50], "[0, 50] of protein does not fit the images"),
        ([0, 1e6], "protein is nearly black in the intensity range [0, 1e+06]"),
        ([5000, 6000], "protein is constant in 6 of 6"),
    ],
)
def test_a_range_that_does_not_fit_is_doubted(tmp_path: Path, limits, doubt) -> None:
    written(tmp_path)
    dataset = card(intensity_range={**RANGES, "protein": limits})
    [found] = look_at_fields(read_sheet(tmp_path / "samples.tsv", dataset), dataset)
    assert doubt in found.what
    [text] = doubts_of_store(store_of(tmp_path, dataset).manifest_path)
    assert "intensity_range` of protein" in text


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_proposed_ranges_hold_the_values_and_little_more(low: float, extent: float) -> None:
    black, white = suggested_float_range(low, low + extent)
    grain = max(1, abs(low), abs(low + extent)) * 1e-12
    assert black <= low + grain
    assert white >= low + extent - grain
    assert white - black <= 1.25 * (low + extent - low) + grain

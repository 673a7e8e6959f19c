"""Contact sheets show every class, many groups, and colours scaled alike."""

from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

from transferscope.cards import DatasetCard
from transferscope.tiles.build import make_tiles
from transferscope.tiles.contact_sheets import (
    BLUE,
    PURPLE,
    YELLOW,
    bar_length_um,
    choose_rows,
    composite,
    draw_contact_sheets,
    drawn_channels,
)


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[DatasetCard, Path, Path]:
    rng = np.random.default_rng(0)
    lines = ["tile_id,path,group,labels"]
    for i in range(20):
        path = tmp_path / f"{i}.tif"
        tifffile.imwrite(path, rng.integers(0, 900, (2, 32, 32)).astype(np.uint16))
        lines.append(f"t{i},{i}.tif,g{i % 7},{['golgi/er; a', 'a', ''][i % 3]}")
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    card = DatasetCard(
        name="demo",
        sheet="s.csv",
        channels=["nucleus", "protein"],
        labels=["a", "golgi/er", "absent"],
        pixel_size_um=0.3,
    )
    out = tmp_path / "out"
    make_tiles(
        tmp_path / "s.csv",
        card,
        manifest=out / "d.json",
        tile_table=out / "d.parquet",
        quality=out / "d.csv",
        skipped=out / "d.tsv",
    )
    return card, out / "d.json", out / "d.parquet"


def test_one_figure_for_each_class_that_has_tiles(
    dataset: tuple[DatasetCard, Path, Path], tmp_path: Path
) -> None:
    card, manifest, table = dataset
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "old.png").write_bytes(b"")
    figures = draw_contact_sheets(manifest, table, card, tmp_path / "sheets")
    assert [f.name for f in figures] == ["00_a.png", "01_golgi_er.png", "02_unlabelled.png"]
    assert sorted((tmp_path / "sheets").iterdir()) == figures
    for figure in figures:
        assert imagecodecs.imread(figure)[..., :3].std() > 10
    again = draw_contact_sheets(manifest, table, card, tmp_path / "again")
    assert [f.read_bytes() for f in again] == [f.read_bytes() for f in figures]


def test_groups_come_before_second_tiles_of_a_group() -> None:
    table = pd.DataFrame(
        {"group": ["big"] * 90 + [f"g{i}" for i in range(10)], "tile_id": map(str, range(100))}
    )
    chosen = choose_rows(table, 16)
    assert len(set(chosen)) == 16
    assert table["group"].iloc[chosen].nunique() == 11
    assert table["group"].iloc[chosen[:11]].nunique() == 11
    assert choose_rows(table.head(3), 16) != []


def test_colours_are_by_meaning_and_scaled() -> None:
    assert drawn_channels(["protein", "nucleus"]) == {"protein": YELLOW, "nucleus": BLUE}
    four = drawn_channels(["microtubules", "protein", "nucleus", "er"])
    assert four == {"protein": YELLOW, "nucleus": BLUE, "microtubules": PURPLE}
    assert drawn_channels(["er"]) == {"er": (1.0, 1.0, 1.0)}
    tile = np.array([[[100, 300, 500]], [[0, 0, 0]]], np.uint16)
    limits = np.array([[100.0, 300.0], [0.0, 1.0]])
    shown = composite(tile, limits, ["nucleus", "protein"])
    np.testing.assert_allclose(shown[0], [(0, 0, 0), BLUE, BLUE], atol=1e-6)


def test_a_colour_image_is_drawn_in_its_own_colours() -> None:
    channels = ["red", "green", "blue"]
    tile = np.random.default_rng(0).integers(0, 256, (3, 5, 4)).astype(np.uint8)
    shown = composite(tile, np.array([[0.0, 255.0]] * 3), channels)
    np.testing.assert_allclose(shown, np.moveaxis(tile, 0, -1) / 255, atol=1e-6)
    order = [2, 0, 1]
    others = [channels[i] for i in order]
    again = composite(tile[order], np.array([[0.0, 255.0]] * 3), others)
    np.testing.assert_allclose(again, shown)


@pytest.mark.parametrize(("width", "bar"), [(120, 20), (60, 20), (59, 10), (4, 1), (2.9, 0.5)])
def test_scale_bars_are_round(width: float, bar: float) -> None:
    assert bar_length_um(width) == pytest.approx(bar)

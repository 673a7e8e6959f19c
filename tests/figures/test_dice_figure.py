"""The figure of Dice coefficients against training groups."""

import re

from segmented_tables import simulated_tables
from transferscope.compare.masks import MaskTables, judge
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.figures.dice import draw_dice
from transferscope.segmentation.table_names import MASK_TABLES
from transferscope.stores.parquet import write_parquet


def test_each_decoder_has_a_panel_and_each_store_a_line(tmp_path):
    settings = CompareSettings(bootstrap=100)
    scores, images = simulated_tables({"mae": (0.7, 0.8, 0.9), "random <net>": (0.5, 0.6, 0.9)})
    tables = MaskTables(*judge(scores, images, settings))
    for name, table in zip(MASK_TABLES, vars(tables).values(), strict=False):
        write_parquet(table, tmp_path / f"{name}.parquet", {})
    for name in ("one", "two"):
        outputs = [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"]
        draw_dice(tmp_path, settings, FigureSettings(dpi=60), outputs)
    text = (tmp_path / "one.svg").read_text()
    shown = set(re.findall(r">([^<>]+)</text>", text))
    assert {"glands, conv", "mae / map", "floor: all foreground"} <= shown
    assert "Training groups (mean per fold)" in shown
    for ending in ("svg", "png"):
        one, two = (tmp_path / f"{name}.{ending}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()

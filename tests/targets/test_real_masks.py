"""Masks of others: numbers and areas are those that their own tables give."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from masked_fields import build_targets, build_tiles
from transferscope.cards import DatasetCard
from transferscope.stores.target_store import TargetStore


def targets_of(folder: Path, data: Path, rows: list[dict[str, str]], **card: Any) -> TargetStore:
    sheet = folder / "samples.tsv"
    pd.DataFrame(rows).assign(labels="a").to_csv(sheet, sep="\t", index=False)
    described = DatasetCard.model_validate(
        {"name": "d", "sheet": "samples.tsv", "roots": [str(data)], "labels": ["a", "b"], **card}
    )
    return TargetStore(build_targets(sheet, described, build_tiles(sheet, described)))


def test_nuclei_of_bbbc039_are_as_many_as_its_table_says(shared_data, tmp_path):
    data = shared_data / "bbbc039"
    index = pd.read_csv(data / "index.csv").iloc[:8]
    rows = [
        {
            "tile_id": name, "group": name, "path": str(data / "images" / f"{name}.png"),
            "mask": str(next((data / "masks").glob(f"{name}.*"))),
        }
        for name in index["name"]
    ]  # fmt: skip
    card = {"channels": ["nucleus"], "masks": {"kind": "instances"}}
    store = targets_of(tmp_path, data, rows, **card)
    counts = [len(np.unique(mask[mask > 0])) for mask in store.read(np.arange(len(store)))]
    assert counts == index["nuclei"].tolist()


def test_glands_of_ebhi_seg_cover_what_its_table_says(shared_data, tmp_path):
    data = shared_data / "ebhi_seg"
    index = pd.read_csv(data / "index.csv").iloc[::20]
    rows = [
        {
            "tile_id": one.name, "group": one.specimen,
            "path": str(data / "images" / f"{one.name}.png"),
            "mask": str(data / "masks" / f"{one.name}.png"),
        }
        for one in index.itertuples(index=False)
    ]  # fmt: skip
    card = {"channels": ["red", "green", "blue"], "masks": {"kind": "binary"}}
    store = targets_of(tmp_path, data, rows, **card)
    shares = store.read(np.arange(len(store))).mean(axis=(1, 2))
    np.testing.assert_allclose(shares, index["gland_fraction"], atol=6e-5)
    table = pd.read_csv(tmp_path / "targets/d.csv")
    np.testing.assert_allclose(table["foreground"], index["gland_fraction"], atol=6e-5)
    assert pytest.approx(table["unknown"].max()) == 0

"""`transferscope masks predict`: masks of whole fields of any size, by a decoder on tiles."""

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile

import masked_fields
from command_tree import run
from factories import TINY_NETWORK, write_yaml
from transferscope.cards import DatasetCard
from transferscope.segmentation.semantic_metrics import dice

CARD = {
    "name": "d",
    "sheet": "samples.tsv",
    "channels": ["stain"],
    "labels": ["a"],
    "pixel_size_um": 0.5,
    "intensity_range": {"stain": [0, 1000]},
    "tiles": {"size": 32},
    "masks": {"kind": "instances"},
}


def discs(rng, shape, n):
    """Return numbered discs and a noisy image of them, uint16."""
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.uint16)
    for number in range(1, n + 1):
        middle = rng.uniform(0, shape)
        labels[np.hypot(y - middle[0], x - middle[1]) < 7] = number
    image = 200 + 500 * (labels > 0) + rng.normal(0, 40, shape)
    return labels, image.clip(0, 1000).astype(np.uint16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with tiles and targets of six fields, and two other fields to predict."""
    folder = tmp_path_factory.mktemp("fields")
    rng = np.random.default_rng(0)
    for name, shapes in {"samples": [(64, 64)] * 6, "new": [(75, 100), (20, 50)]}.items():
        rows = []
        for number, shape in enumerate(shapes):
            labels, image = discs(rng, shape, max(2, shape[0] * shape[1] // 400))
            tifffile.imwrite(folder / f"{name}{number}.tif", image)
            tifffile.imwrite(folder / f"{name}{number}_mask.tif", labels)
            rows.append(
                {
                    "tile_id": f"{name}{number}",
                    "path": f"{name}{number}.tif",
                    "group": f"g{number}",
                    "labels": "a",
                    "mask": f"{name}{number}_mask.tif",
                }
            )
        pd.DataFrame(rows).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    write_yaml(folder / "d.yaml", CARD)
    finer = {**TINY_NETWORK["arguments"], "patch_size": 4}
    tiny = {**TINY_NETWORK, "arguments": finer, "slots": [{"name": "grey", "accepts": ["stain"]}]}
    write_yaml(folder / "tiny.yaml", {"name": "tiny", **tiny})
    card = DatasetCard.model_validate(CARD)
    tiles = masked_fields.build_tiles(folder / "samples.tsv", card)
    masked_fields.build_targets(folder / "samples.tsv", card, tiles, workers=1)
    return folder


def words(**changes):
    given = {
        "sheet": "new.tsv",
        "card": "d.yaml",
        "tiles": "tiles/d.json",
        "targets": "targets/d.json",
        "table": "tiles/d.parquet",
        "backbone": "tiny.yaml",
        "output": "out",
        "compute": '{"device": "cpu"}',
        **changes,
    }
    return [
        "masks",
        "predict",
        *[word for key, value in given.items() for word in (f"--{key}", value)],
    ]


def test_masks_of_fields_of_any_size_are_written(place, monkeypatch):
    monkeypatch.chdir(place)
    ended = run(words())
    assert ended.code == 0, ended.err
    assert "wrote 2 masks to out; trained on" in ended.out
    for number in range(2):
        found = imagecodecs.png_decode((place / f"out/new{number}.png").read_bytes())
        true = tifffile.imread(place / f"new{number}_mask.tif")
        assert found.shape == true.shape
        print(dice(found[None] > 0, true[None] > 0)[0], found.max(), true.max())
        assert dice(found[None] > 0, true[None] > 0)[0] > 0.7
        assert found.max() > 1
    again = run(words(output="again", format="tiff"))
    assert again.code == 0, again.err
    for number in range(2):
        with tifffile.TiffFile(place / f"again/new{number}.ome.tif") as file:
            assert file.is_ome
            other = file.asarray()
        found = imagecodecs.png_decode((place / f"out/new{number}.png").read_bytes())
        np.testing.assert_array_equal(found, other)
    assert run(["masks", "compare", "out", "again"]).code == 0

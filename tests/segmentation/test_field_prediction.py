"""`transferscope masks predict`: masks of whole fields of any size, by decoders on tiles."""

import re

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch

import masked_fields
from command_tree import run
from factories import TINY_NETWORK, write_yaml
from target_stores import write_targets
from transferscope.cards import DatasetCard, MaskSettings
from transferscope.config.segmentation import SegmentationSettings
from transferscope.errors import UserError
from transferscope.raw.sheets import read_sheet
from transferscope.segmentation.field_prediction import (
    TrainedPredictor,
    field_mask,
    learned_masks,
    windows_of,
)
from transferscope.segmentation.instance_metrics import instance_scores
from transferscope.segmentation.instances import instance_maps
from transferscope.segmentation.mask_files import write_mask
from transferscope.segmentation.semantic_metrics import dice
from transferscope.segmentation.tiled_inference import predict_field
from transferscope.stores.target_store import IGNORE, TargetStore

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
SIZES = {"samples": [(64, 64)] * 6, "new": [(75, 100), (20, 50)]}


def discs(rng, shape):
    """Return numbered discs that touch no other, and a noisy image of them, uint16."""
    y, x = np.indices(shape)
    labels = np.zeros(shape, np.uint16)
    for number, (row, column) in enumerate(np.ndindex(shape[0] // 20, shape[1] // 20), start=1):
        middle = np.array([row, column]) * 20 + 10 + rng.uniform(-2, 2, 2)
        labels[np.hypot(y - middle[0], x - middle[1]) < 7] = number
    image = 200 + 500 * (labels > 0) + rng.normal(0, 40, shape)
    return labels, image.clip(0, 1000).astype(np.uint16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with tiles and targets of six fields, and two other fields to predict."""
    folder = tmp_path_factory.mktemp("fields")
    rng = np.random.default_rng(0)
    for name, shapes in SIZES.items():
        rows = []
        for number, shape in enumerate(shapes):
            labels, image = discs(rng, shape)
            file, mask = f"{name}{number}.tif", f"{name}{number}_mask.tif"
            tifffile.imwrite(folder / file, image)
            tifffile.imwrite(folder / mask, labels)
            rows.append([f"{name}{number}", file, f"g{number}", "a", mask])
        table = pd.DataFrame(rows, columns=["tile_id", "path", "group", "labels", "mask"])
        table.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    write_yaml(folder / "d.yaml", CARD)
    write_yaml(folder / "without.yaml", {k: v for k, v in CARD.items() if k != "masks"})
    finer = {**TINY_NETWORK["arguments"], "patch_size": 4}
    tiny = {**TINY_NETWORK, "arguments": finer, "slots": [{"name": "grey", "accepts": ["stain"]}]}
    write_yaml(folder / "tiny.yaml", {"name": "tiny", **tiny})
    card = DatasetCard.model_validate(CARD)
    tiles = masked_fields.build_tiles(folder / "samples.tsv", card)
    masked_fields.build_targets(folder / "samples.tsv", card, tiles, workers=1)
    return folder


def predict(**changes):
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
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    ended = run(["masks", "predict", *words])
    assert "Traceback" not in ended.err
    return ended


def test_masks_of_fields_of_any_size_are_written(place, monkeypatch):
    monkeypatch.chdir(place)
    ended = predict(steps=120, views=4)
    assert ended.code == 0, ended.err
    assert re.search(r"wrote 2 masks to out; trained on 20 tiles, loss on 4 others", ended.out)
    for number, shape in enumerate(SIZES["new"]):
        found = imagecodecs.png_decode((place / f"out/new{number}.png").read_bytes())
        true = tifffile.imread(place / f"new{number}_mask.tif")
        assert found.shape == shape
        assert dice(found[None] > 0, true[None] > 0)[0] > 0.9
        assert instance_scores(found, true).pq > 0.75


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"card": "without.yaml"}, "has no `masks`"),
        ({"decoder": "unet"}, "unet needs maps of several resolutions"),
        ({"margin": 16}, "nothing is left of a window"),
        ({"sheet": "odd.tsv"}, "odd.tsv, row 2: .*float32"),
        ({"sheet": "bytes.tsv"}, "holds uint8 values, but the tiles uint16"),
        ({"sheet": "over.tsv"}, "over.png is a file of the sheet, and would be lost"),
        ({"sheet": "twice.tsv"}, '"a_b" and "a b" would both be written to a_b.png'),
    ],
)
def test_what_cannot_be_predicted_is_a_sentence(place, monkeypatch, changes, message):
    monkeypatch.chdir(place)
    tifffile.imwrite("odd.tif", np.ones((40, 40), np.float32))
    tifffile.imwrite("bytes.tif", np.ones((40, 40), np.uint8))
    (place / "out").mkdir(exist_ok=True)
    (place / "out/over.png").write_bytes(imagecodecs.png_encode(np.ones((9, 9), np.uint16)))
    for sheet, rows in {
        "odd": [("a", "odd.tif")],
        "bytes": [("a", "bytes.tif")],
        "over": [("over", "out/over.png")],
        "twice": [("a b", "new0.tif"), ("a_b", "new1.tif")],
    }.items():
        lines = [f"{name}\t{path}\tg\ta" for name, path in rows]
        (place / f"{sheet}.tsv").write_text("\n".join(["tile_id\tpath\tgroup\tlabels", *lines, ""]))
    ended = predict(**changes)
    assert ended.code == 1, ended.out
    assert re.search(message, ended.err), ended.err


class Bright:
    """Stands for a predictor: what is bright is of class 1, what is very bright of class 2."""

    def __init__(self, limits):
        self.limits = limits
        self.n_out = 1 if len(limits) == 1 else 1 + len(limits)

    def __call__(self, raw):
        levels = np.stack([raw[:, 0] > limit for limit in self.limits], axis=1)
        number = levels.sum(axis=1, keepdims=True)
        if self.n_out == 1:
            return levels.astype(np.float32)
        return (number == np.arange(self.n_out)[:, None, None]).astype(np.float32)


@pytest.mark.parametrize(
    ("masks", "limits", "values"),
    [
        ({"kind": "binary"}, [400], {0, 255}),
        ({"kind": "classes", "classes": {7: "a", 300: "b"}}, [400, 690], {0, 7, 300}),
    ],
)
@pytest.mark.parametrize("pixel_size", [None, 1.0])
def test_values_and_size_are_those_of_the_masks_of_the_dataset(
    place, masks, limits, values, pixel_size
):
    tiles = {"size": 32} if pixel_size is None else {"size": 32, "pixel_size_um": pixel_size}
    card = DatasetCard.model_validate({**CARD, "tiles": tiles, "masks": masks})
    sheet = read_sheet(place / "new.tsv", card)
    trained = TrainedPredictor(Bright(limits), "")
    settings = MaskSettings.model_validate(masks)
    found = field_mask(trained, windows_of((32, 32), None, None), sheet, card, settings, 0)
    assert found.shape == SIZES["new"][0]
    assert set(np.unique(found).tolist()) == values
    image, true = tifffile.imread(place / "new0.tif"), tifffile.imread(place / "new0_mask.tif")
    if pixel_size is None:
        np.testing.assert_array_equal(found > 0, image > 400)
    assert dice(found[None] > 0, true[None] > 0)[0] > 0.9


def test_masks_are_written_as_png_or_ome_tiff(tmp_path):
    mask = np.arange(12, dtype=np.uint32).reshape(3, 4)
    write_mask(tmp_path / "a.png", mask.astype(np.uint16), 0.5)
    np.testing.assert_array_equal(imagecodecs.png_decode((tmp_path / "a.png").read_bytes()), mask)
    write_mask(tmp_path / "a.ome.tif", mask, 0.5)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert 'PhysicalSizeX="0.5"' in file.ome_metadata
        np.testing.assert_array_equal(file.asarray(), mask)
    with pytest.raises(UserError, match="do not fit into a PNG"):
        write_mask(tmp_path / "b.png", mask, None)
    assert not (tmp_path / "b.png").exists()


def test_objects_that_the_edge_cuts_are_no_example_of_centre_and_depth(tmp_path):
    masks = np.zeros((2, 24, 24), np.uint32)
    masks[0, 4:13, 4:13] = 5
    masks[0, 16:, 3:9] = 6
    masks[1, 8:14, 8:14] = 1
    masks[1, 20:22, 20:22] = IGNORE
    store = TargetStore.open(write_targets(tmp_path / "d.json", masks))
    settings = SegmentationSettings(size=None)
    (foreground, first), (centre, second), (depth, third) = learned_masks(
        store, np.arange(2), settings
    )
    assert (first.loss, second.loss, third.loss) == ("dice+ce", "ce", "ce")
    np.testing.assert_array_equal(foreground.shares[0, 0] > 0, masks[0] > 0)
    np.testing.assert_array_equal(centre.known[0] == 0, masks[0] == 6)
    np.testing.assert_array_equal(depth.known[1] == 0, masks[1] == IGNORE)
    expected = instance_maps(np.where(masks[0] == 5, 1, 0))
    np.testing.assert_allclose(centre.shares[0, 0] / 255, expected[1], atol=1 / 255)
    np.testing.assert_allclose(depth.shares[0, 0] / 255, expected[2], atol=1 / 255)


def test_a_network_with_global_context_leaves_no_seam():
    # Each window has an offset of its own, as if the network had judged the window's brightness.
    rng = np.random.default_rng(0)
    field = rng.normal(size=(1, 512, 1024)).astype(np.float32)

    def predict(batch):
        smooth = torch.nn.functional.avg_pool2d(torch.from_numpy(batch), 9, 1, 4).numpy()
        return smooth + 0.05 * rng.normal(size=(len(batch), 1, 1, 1)).astype(np.float32)

    windows = windows_of((64, 64), None, None)
    output = np.zeros_like(field)
    predict_field(lambda rows, columns: field[:, rows, columns], predict, output, windows)
    steps = np.abs(np.diff(output[0], axis=1)).mean(axis=0)
    borders = np.zeros(1023, bool)
    for start in windows.along(1, 1024).starts:
        borders[[at for at in (start - 1, start + 63) if 0 <= at < 1023]] = True
    assert steps[borders].mean() <= 1.1 * steps[~borders].mean()

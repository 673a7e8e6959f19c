"""Segmentation of real fields against the masks that came with them."""

from pathlib import Path

import numpy as np
import pytest

from transferscope.cards import ProvidedMasks, WatershedSegmentation
from transferscope.cells.segmentation.provided import cells_of_mask
from transferscope.cells.segmentation.watershed import grow_cells
from transferscope.raw.image_formats import read_header, read_pixels

# Fields of the Human Protein Atlas are 2,048 px and more at 0.08 um: a quarter of that is enough.
STEP = 4
PIXEL_SIZE_UM = 0.08


def pixels(path: Path) -> np.ndarray:
    return read_pixels(read_header(path))


def matched(truth: np.ndarray, found: np.ndarray) -> tuple[int, int, int]:
    """Return the true cells found at an IoU of 0.5, the true ones and the found ones."""
    true_ids, found_ids = np.unique(truth[truth > 0]), np.unique(found[found > 0])
    hits = 0
    for number in true_ids:
        own = truth == number
        for other in np.unique(found[own]):
            union = (own | (found == other)).sum()
            hits += other > 0 and (own & (found == other)).sum() > 0.5 * union
    return int(hits), len(true_ids), len(found_ids)


@pytest.fixture(scope="module")
def atlas(shared_data):
    """Return [(field [3, H, W], mask)] of the Human Protein Atlas, shrunk."""
    folder = shared_data / "hpa_fov"
    fields = []
    for path in sorted((folder / "cell_masks").glob("*.png")):
        names = [path.name.replace("predictedmask", c) for c in ("blue", "yellow", "red")]
        field = np.stack([pixels(folder / "images" / name) for name in names])
        height, width = (side // STEP for side in field.shape[1:])
        blocks = field[:, : height * STEP, : width * STEP].reshape(3, height, STEP, width, STEP)
        small = blocks.mean((2, 4)).round().astype(np.uint8)
        fields.append((small, pixels(path)[: height * STEP : STEP, : width * STEP : STEP]))
    return fields


def test_the_given_masks_of_the_atlas_hold_128_cells(shared_data):
    masks = sorted((shared_data / "hpa_fov/cell_masks").glob("*.png"))
    settings = ProvidedMasks(method="provided")
    assert sum(cells_of_mask(pixels(path), settings).count for path in masks) == 128


def test_watershed_recovers_the_cells_of_the_atlas(atlas):
    settings = WatershedSegmentation(method="watershed", cytoplasm=["er", "microtubules"])
    channels = ["nucleus", "er", "microtubules"]
    counts = [
        matched(mask, grow_cells(field, channels, settings, PIXEL_SIZE_UM * STEP).cells)
        for field, mask in atlas
    ]
    hits, true, found = np.sum(counts, axis=0)
    print(f"recall at IoU 0.5: {hits} of {true} cells, {found} found")
    assert true == 128
    assert hits / true >= 0.8


def test_white_masks_are_split_into_instances(shared_data):
    folder = shared_data / "fields/nf1/masks"
    plain = ProvidedMasks(method="provided")
    split = ProvidedMasks(method="provided", split=True)
    for path in sorted(folder.glob("*MaskCells.tiff")):
        mask = pixels(path)
        assert set(np.unique(mask)) == {0, 255}
        whole, parts = cells_of_mask(mask, plain), cells_of_mask(mask, split)
        print(f"{path.name}: {whole.count} pieces, {parts.count} after splitting")
        assert whole.count >= 1
        assert parts.count >= whole.count
        np.testing.assert_array_equal(parts.cells > 0, mask > 0)


def test_watershed_finds_the_nuclei_of_160_fields(shared_data):
    settings = WatershedSegmentation(method="watershed")
    counts = []
    for path in sorted((shared_data / "dsb2018/fluorescence").glob("*_mask.png")):
        image = pixels(path.with_name(path.name.replace("_mask", "")))
        plane = image if image.ndim == 2 else image[..., 0]
        found = grow_cells(plane[None], ["nucleus"], settings, None)
        counts.append(matched(pixels(path), found.cells))
    hits, true, found_count = np.sum(counts, axis=0)
    f1 = 2 * hits / (true + found_count)
    print(f"F1 at IoU 0.5: {f1:.3f} ({hits} hits, {true} nuclei, {found_count} found)")
    assert len(counts) == 160
    assert f1 >= 0.80

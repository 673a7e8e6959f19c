"""Masks become targets where their tiles were cut, whole or not at all."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from masked_fields import build_targets, build_tiles, card, write_fields
from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.manifest import store_of
from transferscope.stores.target_store import IGNORE, TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.targets import build
from transferscope.targets.values import target_values
from transferscope.tiles.tiling import nearest

RNG = np.random.default_rng(3)


def blobs(*shape, top=60_000):
    return RNG.integers(0, top, shape).astype(np.uint16)


def made(folder, masks, described, **options):
    sheet = write_fields(folder, masks)
    tiles = build_tiles(sheet, described, **options)
    manifest = build_targets(sheet, described, tiles)
    return TileStore(tiles), TargetStore(manifest), manifest


def every_row(store):
    return store.read(np.arange(len(store)))


def test_one_mask_per_tile_is_kept_value_by_value(tmp_path):
    masks = [blobs(24, 24) for _ in range(5)]
    tiles, store, _ = made(tmp_path, masks, card())
    np.testing.assert_array_equal(every_row(store), np.stack(masks))
    assert store.tile_ids == tiles.tile_ids
    assert store.attributes["tiles_sha256"] == tiles.content_sha256


@settings(max_examples=20, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.integers(5, 60), st.integers(5, 60)), min_size=1, max_size=4),
    size=st.integers(8, 32),
    mode=st.sampled_from(["cut", "pad"]),
)
def test_masks_are_cut_where_the_tiles_are(tmp_path_factory, shapes, size, mode):
    folder = tmp_path_factory.mktemp("cut")
    masks = [blobs(*shape) for shape in shapes]
    tiles, store, _ = made(folder, masks, card(tiles={"size": size, "mode": mode}))
    # Each pixel of a field is that of its mask plus 1; outside the field tiles are 0.
    images = tiles.read(0, len(tiles))[:, 0].astype(np.int64)
    targets = every_row(store)
    np.testing.assert_array_equal(images == 0, targets == IGNORE)
    inside = images > 0
    np.testing.assert_array_equal(images[inside] - 1, targets[inside])


def test_tiles_that_are_left_out_have_no_target(tmp_path):
    masks = [blobs(48, 48), blobs(48, 48)]
    sheet = write_fields(tmp_path, masks)
    field = tifffile.imread(tmp_path / "f0.tif")
    field[:24, 24:] = 7  # the second of four tiles
    tifffile.imwrite(tmp_path / "f0.tif", field)
    described = card(tiles={"size": 24})
    tiles = build_tiles(sheet, described, skip=True)
    store = TargetStore(build_targets(sheet, described, tiles))
    assert store.tile_ids == TileStore(tiles).tile_ids
    assert len(store) == 7
    np.testing.assert_array_equal(every_row(store)[1], masks[0][24:, :24])


def test_masks_are_resampled_to_the_nearest_value(tmp_path):
    masks = [blobs(40, 60), blobs(31, 31)]
    described = card(tiles={"size": 16, "mode": "resize"})
    _, store, _ = made(tmp_path, masks, described)
    for target, mask in zip(every_row(store), masks, strict=True):
        assert set(np.unique(target)) <= set(np.unique(mask))
        np.testing.assert_array_equal(target, nearest(mask, (16, 16)))


@settings(max_examples=40, deadline=None)
@given(
    old=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    new=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_nearest_is_that_of_torch_with_the_centres_of_bilinear(old, new):
    mask = np.arange(np.prod(old), dtype=np.float32).reshape(old)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(mask)[None, None], size=new, mode="nearest-exact"
    )[0, 0].numpy()
    found = nearest(mask, new)
    # Where a centre lies between two pixels, rounding decides.
    ties = found != expected
    y = (np.arange(new[0]) + 0.5) * old[0] / new[0]
    x = (np.arange(new[1]) + 0.5) * old[1] / new[1]
    between = np.isclose(y, np.rint(y))[:, None] | np.isclose(x, np.rint(x))[None]
    assert not (ties & ~between).any()


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]), (9, 7),
        elements=st.sampled_from([0, 10, 20, 250]),
    ),
    ignore=st.booleans(),
)  # fmt: skip
def test_classes_are_counted_in_the_order_of_the_card(values, ignore):
    classes = {20: "stroma", 10: "gland"} | ({} if ignore else {250: "other"})
    described = card("classes", classes=classes, ignore=250 if ignore else None).masks
    assert described.names[:2] == ("stroma", "gland")
    expected = np.zeros((9, 7), np.uint32)
    expected[values == 20], expected[values == 10] = 1, 2
    expected[values == 250] = IGNORE if ignore else 3
    found = target_values(values, described, Path("mask.tif"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("white", [1, 255, 65535, True])
def test_binary_masks_may_be_written_in_any_usual_way(tmp_path, white):
    foreground = RNG.random((24, 24)) > 0.5
    kind = np.bool_ if white is True else np.uint16 if white > 255 else np.uint8
    _, store, _ = made(tmp_path, [foreground.astype(kind) * kind(white)], card("binary"))
    np.testing.assert_array_equal(every_row(store)[0], foreground)
    assert (store.kind, store.classes) == ("binary", ("object",))


def test_png_masks_of_a_palette_or_one_bit_keep_their_numbers(tmp_path):
    numbers = RNG.integers(0, 3, (2, 24, 24)).astype(np.uint8)
    sheet = write_fields(tmp_path, list(numbers))
    for index, plane in enumerate(numbers):
        palette = Image.fromarray(plane, mode="L").convert("P", palette=Image.Palette.WEB)
        palette.putdata(plane.ravel().tolist())
        palette.save(tmp_path / f"f{index}_mask.png")
    sheet.write_text(sheet.read_text().replace("_mask.tif", "_mask.png"))
    described = card("classes", classes={1: "x", 2: "y"})
    store = TargetStore(build_targets(sheet, described, build_tiles(sheet, described)))
    np.testing.assert_array_equal(every_row(store), numbers)


def test_a_field_may_hold_100_000_objects(tmp_path):
    mask = np.arange(400 * 300, dtype=np.uint32).reshape(400, 300)
    described = card(tiles={"size": 100})
    _, store, _ = made(tmp_path, [mask], described)
    assert len(store) == 12
    assert len(np.unique(every_row(store))) == 120_000


def test_empty_and_missing_masks_are_counted_and_said(tmp_path, caplog):
    masks = [np.zeros((24, 24), np.uint8), blobs(24, 24), None, None, blobs(24, 24), None]
    _, store, manifest = made(tmp_path, masks, card())
    assert store.has_mask.tolist() == [True, True, False, False, True, False]
    assert store.attributes["without_mask"] == [[2, 4], [5, 6]]
    assert (every_row(store)[~store.has_mask] == IGNORE).all()
    assert "d: 3 of 6 tiles have no mask: they are neither trained on nor scored" in caplog.text
    assert "d: 1 of 3 tiles with a mask show no foreground" in caplog.text
    table = pd.read_csv(manifest.with_suffix(".csv"))
    assert table["ids"].tolist()[:3] == [0, len(np.unique(masks[1][masks[1] > 0])), 0]
    assert table["foreground"].tolist()[0] == 0
    assert table["unknown"].tolist()[2] == 1


def test_numbers_that_look_like_white_are_doubted(tmp_path, caplog):
    white = (RNG.random((2, 24, 24)) > 0.5).astype(np.uint8) * 255
    made(tmp_path, list(white), card())
    assert "set `masks.kind: binary` in the card" in caplog.text


def test_numbers_that_are_classes_or_cut_to_8_bits_are_doubted(tmp_path, caplog):
    squares = np.zeros((96, 96), np.uint16)
    for number in range(12 * 12):
        y, x = divmod(number, 12)
        squares[8 * y : 8 * y + 5, 8 * x : 8 * x + 5] = number + 1
    of_two = np.where(squares > 0, squares % 2 + 1, 0).astype(np.uint8)
    made(tmp_path / "classes", [of_two, of_two.T], card())
    assert "samples.tsv, row 2: the mask " in caplog.text
    assert "2 of 2 objects are in pieces far apart" in caplog.text
    assert "are its numbers classes, or cut to 8 bits? (and 1 more masks)" in caplog.text
    caplog.clear()
    made(tmp_path / "right", [squares, squares.T], card())
    made(tmp_path / "as-classes", [of_two], card("classes", classes={1: "a", 2: "b"}))
    assert "odd" not in caplog.text


def test_masks_stay_in_place_when_fields_are_resampled(tmp_path):
    """Of a field and its mask in other pixels, each object lies where its light does."""
    y, x = np.mgrid[:90, :70]
    disc = (np.hypot(y - 31, x - 42) < 17).astype(np.uint16)
    for size_um, size in ((0.5, 50), (2.0, 30), (0.8, 40)):
        described = card("binary", tiles={"pixel_size_um": size_um, "size": size})
        folder = tmp_path / str(size_um)
        sheet = write_fields(folder, [disc * 255])
        tifffile.imwrite(folder / "f0.tif", disc * 40_000 + 500)
        tiles = build_tiles(sheet, described, skip=True)
        targets = every_row(TargetStore(build_targets(sheet, described, tiles)))
        light = TileStore(tiles).read(0, len(targets))[:, 0] > 20_000
        known = targets != IGNORE
        assert ((targets == 1) == light)[known].mean() > 0.985
        assert (targets == 1).any()


# What is wrong is said with file and row, all of it at once. ----------------------------------


def soft(mask):
    return np.clip(mask.astype(np.int64) + np.arange(24), 0, 255).astype(np.uint8)


WHITE = ((RNG.random((24, 24)) > 0.5) * 255).astype(np.uint8)
BAD = {
    "other shape": (WHITE[:20], "the mask is 20 x 24 px, but its field 24 x 24"),
    "turned": (np.zeros((30, 24), np.uint8), "the mask is 30 x 24 px"),
    "float": (WHITE.astype(np.float32), "holds float32 values, not"),
    "double": (WHITE.astype(np.float64), "holds float64 values, not"),
    "rgb": (np.stack([WHITE] * 3, axis=-1), "a mask has one channel"),
    "soft": (soft(WHITE), "`kind: binary` allows 0 and one of 1, 255 and 65535"),
    "two whites": (np.minimum(WHITE, np.arange(24, dtype=np.uint8) * 0 + 255) // 255 +
                   np.eye(24, dtype=np.uint8) * 254, None),
    "negative": (WHITE.astype(np.int32) - 5, "holds negative values"),
    "empty file": (b"", "f{}_mask.tif"),
    "text": (b"not an image at all", "f{}_mask.tif"),
    "cut short": ("cut", "f{}_mask.tif"),
}  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(kinds=st.lists(st.sampled_from(sorted(BAD)), min_size=1, max_size=5))
def test_every_bad_mask_is_named_with_its_row(tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("bad")
    sheet = write_fields(folder, [WHITE] * (len(kinds) + 1))
    rng = np.random.default_rng(0)
    for index in range(len(kinds) + 1):  # fields differ
        field = rng.integers(0, 60_000, (24, 24)).astype(np.uint16)
        tifffile.imwrite(folder / f"f{index}.tif", field)
    tiles = build_tiles(sheet, card("binary"))
    for index, kind in enumerate(kinds):
        path, (bad, _) = folder / f"f{index}_mask.tif", BAD[kind]
        if isinstance(bad, bytes):
            path.write_bytes(bad)
        elif isinstance(bad, str):
            path.write_bytes(path.read_bytes()[:200])
        else:
            tifffile.imwrite(path, bad, photometric="rgb" if bad.ndim == 3 else "minisblack")
    with pytest.raises(UserError) as raised:
        build_targets(sheet, card("binary"), tiles)
    problems = raised.value.problems
    by_header = [k not in {"soft", "two whites", "negative"} for k in kinds]
    # Headers are read first, then pixels.
    expected = [i for i, early in enumerate(by_header) if early == any(by_header)]
    assert len(problems) == len(expected)
    for index, problem in zip(expected, problems, strict=True):
        assert f"samples.tsv, row {index + 2}: " in problem.where
        assert f"f{index}_mask.tif" in problem.where
        assert problem.fix
        if said := BAD[kinds[index]][1]:
            assert said.format(index) in f"{problem.where} {problem.what}"
    assert not (folder / "targets/d.json").exists()


def test_a_class_that_the_card_does_not_name_is_named_with_a_fix(tmp_path):
    mask = RNG.integers(0, 200, (24, 24)).astype(np.uint8)
    with pytest.raises(UserError) as raised:
        made(tmp_path, [mask], card("classes", classes={1: "gland"}))
    [problem] = raised.value.problems
    assert "holds the values 2, 3, 4, 5, 6 and " in problem.what
    assert "masks.classes" in problem.what
    assert "{1: gland}" in problem.fix


def test_white_of_two_kinds_in_one_mask_needs_a_meaning(tmp_path):
    mask = RNG.choice(np.array([0, 1, 255], np.uint8), (24, 24))
    with pytest.raises(UserError, match="which of them is the foreground"):
        made(tmp_path, [mask], card("binary"))
    _, store, _ = made(tmp_path / "told", [mask], card("binary", ignore=255))
    np.testing.assert_array_equal(every_row(store)[0] == IGNORE, mask == 255)
    np.testing.assert_array_equal(every_row(store)[0] == 1, mask == 1)


def test_sheets_without_any_mask_are_refused(tmp_path):
    with pytest.raises(UserError, match="names no mask in any row"):
        made(tmp_path, [None, None], card())
    sheet = tmp_path / "samples.tsv"
    table = pd.read_csv(sheet, sep="\t").drop(columns="mask")
    table.to_csv(sheet, sep="\t", index=False)
    with pytest.raises(UserError, match='the column "mask" is missing'):
        build_targets(sheet, card(), tmp_path / "tiles/d.json")


def test_one_mask_for_two_fields_and_an_image_as_a_mask_are_refused(tmp_path):
    sheet = write_fields(tmp_path, [blobs(24, 24) for _ in range(3)])
    described = card()
    tiles = build_tiles(sheet, described)
    table = pd.read_csv(sheet, sep="\t")
    table["mask"] = ["f0_mask.tif", "f0_mask.tif", "f2.tif"]
    table.to_csv(sheet, sep="\t", index=False)
    with pytest.raises(UserError) as raised:
        build_targets(sheet, described, tiles)
    whats = [problem.what for problem in raised.value.problems]
    assert whats[0] == 'the mask "f0_mask.tif" is also that of row 2'
    assert whats[1] == '"f2.tif" is a raw image of this sheet, not a mask'


def test_tiles_of_another_sheet_are_refused(tmp_path):
    sheet = write_fields(tmp_path, [blobs(24, 24) for _ in range(3)])
    tiles = build_tiles(sheet, card())
    sheet.write_text(sheet.read_text().replace("f1\t", "other\t", 1))
    with pytest.raises(UserError, match=r"its tiles are not those of .*samples\.tsv: first f1"):
        build_targets(sheet, card(), tiles)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "classes"}, "needs `classes`"),
        ({"kind": "binary", "classes": {1: "a"}}, "take it out"),
        ({"kind": "classes", "classes": {0: "a"}}, "greater than or equal to 1"),
        ({"kind": "classes", "classes": {1: "a", 2: "a"}}, "given to several values: a"),
        ({"kind": "classes", "classes": {1: "a"}, "ignore": 1}, "is a class, too"),
        ({"kind": "binary", "ignore": 0}, "greater than or equal to 1"),
        ({"kind": "masks"}, "'instances', 'binary' or 'classes'"),
    ],
)
def test_cards_that_contradict_themselves_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        DatasetCard.model_validate({**card().model_dump(exclude_defaults=True), "masks": changes})


# A killed job goes on where it was. ---------------------------------------------------------


def contents(manifest):
    files = [manifest, *(path for path in store_of(manifest).rglob("*") if path.is_file())]
    return {str(path): path.read_bytes() for path in files}


def test_a_job_that_was_cut_short_writes_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "rows_per_block", lambda *_: 3)
    masks = [blobs(48, 48) for _ in range(4)]
    described = card(tiles={"size": 24})
    sheet = write_fields(tmp_path, masks)
    tiles = build_tiles(sheet, described)
    whole = build_targets(sheet, described, tiles)
    expected = contents(whole)
    shutil.rmtree(tmp_path / "targets")
    write, written = BlockStore.write_block, []

    def killed(self, block, values, source=None):
        if len(written) in {1, 2, 4}:
            written.append(None)
            raise KeyboardInterrupt
        write(self, block, values, source)
        written.append(block)

    monkeypatch.setattr(BlockStore, "write_block", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            build_targets(sheet, described, tiles)
        assert not whole.exists()
    assert build_targets(sheet, described, tiles, workers=4) == whole
    assert [block for block in written if block is not None] == [0, 1, 2, 3, 4, 5]
    assert contents(whole) == expected


def test_a_mask_that_changes_in_between_starts_over(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "rows_per_block", lambda *_: 1)
    masks = [blobs(24, 24) for _ in range(3)]
    sheet = write_fields(tmp_path, masks)
    tiles = build_tiles(sheet, card())
    build_targets(sheet, card(), tiles)
    tifffile.imwrite(tmp_path / "f1_mask.tif", np.zeros((24, 24), np.uint16))
    store = TargetStore(build_targets(sheet, card(), tiles))
    assert not every_row(store)[1].any()

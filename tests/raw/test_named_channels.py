"""Names of channels and pixel sizes: any disagreement between fields is refused or warned of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import DATASET_CARD
from transferscope.cards import DatasetCard
from transferscope.raw.file_checks import Uniformity
from transferscope.raw.headers import Header, Metadata, in_um
from transferscope.raw.images import FieldHeader, out_of_place
from transferscope.raw.sheets import read_sheet

NAMES = st.permutations(["DAPI", "GFP", "mCherry", "Cy5"])
CARD = DatasetCard.model_validate({**DATASET_CARD, "sheet": "samples.tsv"})


@given(one=NAMES, other=NAMES)
def test_names_in_another_order_are_out_of_place(one: list[str], other: list[str]) -> None:
    assert out_of_place(one, other) == (one != other)
    assert not out_of_place([name.lower() + " " for name in one], one)


@given(value=st.floats(0.001, 1000), unit=st.sampled_from(["nm", "um", "µm", "mm", "micrometer"]))
def test_lengths_in_any_unit(value: float, unit: str) -> None:
    factor = {"nm": 1e-3, "mm": 1e3}.get(unit, 1.0)
    assert in_um(value, unit) == value * factor
    assert in_um(value, "pixel") is None
    assert in_um(-value, unit) is None


def header(path: Path, size: float | None, names: tuple[str, ...] = ()) -> FieldHeader:
    metadata = Metadata(pixel_size_um=None if size is None else (size, size))
    file = Header(path, "CYX", (2, 8, 8), np.dtype(np.uint16), metadata=metadata)
    return FieldHeader((file,), (8, 8), file.dtype, names)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.sampled_from([None, 0.1, 0.1005, 0.2]), min_size=2, max_size=5))
def test_pixel_sizes_of_fields(tmp_path_factory, sizes: list[float | None]) -> None:
    folder = tmp_path_factory.mktemp("sizes")
    rows = [f"t{i}\tf{i}.tif\tg\t" for i in range(len(sizes))]
    (folder / "samples.tsv").write_text("\n".join(["tile_id\tpath\tgroup\tlabels", *rows]) + "\n")
    for i in range(len(sizes)):
        tifffile.imwrite(folder / f"f{i}.tif", np.zeros((2, 8, 8), np.uint16))
    uniformity = Uniformity(read_sheet(folder / "samples.tsv", CARD), CARD)
    for i, size in enumerate(sizes):
        uniformity.add(i, header(folder / f"f{i}.tif", size))
    known = {round(size, 2) for size in sizes if size is not None}
    problems = uniformity.problems()
    assert len(problems) == (len(known) > 1)
    assert all("pixel size" in problem.what for problem in problems)

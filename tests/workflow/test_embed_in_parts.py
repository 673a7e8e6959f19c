"""A store that several jobs fill: the same bytes, and only the new blocks of a longer sheet."""

import pandas as pd
import pytest
import tifffile

from factories import planned_jobs, run_snakemake, write_study

pytestmark = pytest.mark.workflow
# Networks in parts are tested without the workflow (tests/backbones): each part loads its own.
STORE = "results/tiny/embeddings/cells/handcrafted/features"
COMPUTE = {"device": "cpu", "threads": 1, "block_rows": 8}


def study_of(folder, **compute):
    return write_study(
        folder,
        backbones=["handcrafted"],
        compute={**COMPUTE, **compute},
    )


def files_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_parts_make_the_same_store_and_a_longer_sheet_costs_its_new_blocks(tmp_path):
    whole, divided = study_of(tmp_path / "whole"), study_of(tmp_path / "divided", jobs_per_store=3)
    target = f"{STORE}.json"
    run_snakemake(whole, target)
    run_snakemake(divided, target)
    notes = divided / "results/tiny/parts/cells/handcrafted/features"
    assert sorted(p.name for p in notes.glob("[0-9]*.json")) == ["0.json", "1.json", "2.json"]
    assert (whole / target).read_bytes() == (divided / target).read_bytes()
    assert files_of(whole / f"{STORE}.zarr") == files_of(divided / f"{STORE}.zarr")
    assert not planned_jobs(divided, "--", target)

    sheet = divided / "raw/samples.tsv"
    table = pd.read_csv(sheet, sep="\t")
    tifffile.imwrite(divided / "raw/new.tif", tifffile.imread(divided / "raw/P00_0.tif"))
    new = {"tile_id": "new", "path": "new.tif", "group": "P00", "labels": table["labels"][0]}
    pd.concat([table, pd.DataFrame([new])]).to_csv(sheet, sep="\t", index=False)
    blocks = divided / f"{STORE}.zarr/embeddings/c"

    def times():
        return {int(path.parent.name): path.stat().st_mtime_ns for path in blocks.glob("*/0")}

    before = times()
    run_snakemake(divided, target)
    # The last of the five blocks was not full, and takes the new tile.
    assert [block for block, time in times().items() if time != before[block]] == [4]

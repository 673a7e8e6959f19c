"""A study of single cells from end to end, beside one of fields."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from factories import DATASET_CARD, planned_jobs, run_snakemake, write_study, write_yaml
from transferscope.stores.parquet import read_parquet

pytestmark = pytest.mark.workflow
CELLS = {
    "segmentation": {"method": "watershed", "cytoplasm": ["protein"]},
    "crop": {"size": 48, "border_cells": "keep"},
    "overlays": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    changes = {"backbones": ["handcrafted"], "channel_strategies": ["replicate"]}
    folder = write_study(
        tmp_path_factory.mktemp("cells"),
        datasets=["fields.yaml", "cells.yaml"],
        heads={"kinds": ["logreg"]},
        aggregate={"levels": ["group"], "fields": {"cells": "fields"}},
        figures={"dpi": 60, "map_points": 100, "gallery": 4},
        **changes,
    )
    card = {**DATASET_CARD, "sheet": "raw/samples.tsv"}
    write_yaml(folder / "fields.yaml", {**card, "name": "fields"})
    write_yaml(folder / "cells.yaml", {**card, "cells": CELLS})
    run_snakemake(folder)
    return folder


def test_cells_go_through_every_probe_as_fields_do(folder):
    results = folder / "results/tiny"
    summary = pd.read_csv(results / "summary.csv", keep_default_na=False)
    counted = summary.groupby("dataset").size()
    assert counted["cells"] == counted["fields"]
    table = read_parquet(results / "tiles/cells.tiles.parquet")
    sheet = pd.read_csv(folder / "raw/samples.tsv", sep="\t")
    assert set(table["fov"]) <= set(sheet["tile_id"])
    found = pd.read_csv(results / "cells/cells.plausibility.csv")
    assert found["kept"].sum() == len(table)
    assert len(list((results / "figures/segmentation/cells").glob("*.png"))) == 3
    assert not (results / "cells/fields.plausibility.csv").exists()
    assert planned_jobs(folder) == {}


def test_proteins_put_together_of_cells_are_scored_beside_their_fields(folder):
    results = folder / "results/tiny"
    table = pd.read_parquet(results / "compare/aggregate.parquet")
    assert set(table["dataset"]) == {"cells"}
    by_group = table[table["scheme"] == "group"]
    pairs = set(by_group[["source", "level"]].itertuples(index=False, name=None))
    assert {("tiles", "tile"), ("tiles", "group"), ("fields", "group")} <= pairs
    for name in ("aggregation", "gallery/cells", "gallery/fields"):
        assert (results / f"figures/{name}.png").stat().st_size > 1000


def test_another_number_of_overlays_reruns_the_cells(folder):
    card = {**DATASET_CARD, "sheet": "raw/samples.tsv"}
    write_yaml(folder / "cells.yaml", {**card, "cells": {**CELLS, "overlays": 2}})
    assert planned_jobs(folder)["cells"] == 1


def test_a_mask_of_another_shape_is_reported_before_any_job(tmp_path):
    folder = write_study(tmp_path, backbones=["handcrafted"])
    sheet = pd.read_csv(folder / "raw/samples.tsv", sep="\t")
    sheet["mask"] = [f"{name}_mask.tif" for name in sheet["tile_id"]]
    sheet.to_csv(folder / "raw/samples.tsv", sep="\t", index=False)
    write_masks(folder, sheet)
    cells = {**CELLS, "segmentation": {"method": "provided"}}
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", "cells": cells}
    write_yaml(folder / "cards/datasets/cells.yaml", card)
    done = run_snakemake(folder, "--dry-run", check=False)
    assert done.returncode != 0
    assert "the mask is 63 x 64 px, but its field 64 x 64" in done.stdout + done.stderr
    assert "row 4" in done.stdout + done.stderr


def test_fields_without_any_label_are_cut_so_that_cells_can_be_labelled(tmp_path):
    folder = write_study(tmp_path, backbones=["handcrafted"])
    sheet = pd.read_csv(folder / "raw/samples.tsv", sep="\t").assign(labels="")
    sheet.to_csv(folder / "raw/samples.tsv", sep="\t", index=False)
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", "cells": CELLS}
    write_yaml(folder / "cards/datasets/cells.yaml", card)
    assert planned_jobs(folder, "--until", "cells") == {"cells": 1}
    refused = run_snakemake(folder, "--dry-run", check=False)
    assert refused.returncode != 0
    assert "--until cells" in refused.stdout + refused.stderr


def write_masks(folder, sheet):
    for i, name in enumerate(sheet["mask"]):
        mask = np.zeros((63 if i == 2 else 64, 64), np.uint8)
        mask[20:40, 20:40] = 1
        tifffile.imwrite(folder / "raw" / name, mask)

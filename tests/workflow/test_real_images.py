"""The main job on real microscopy images."""

import json

import numpy as np
import pandas as pd
import pytest
import safetensors
import tifffile
import zarr
from PIL import Image

from factories import STUDY, run_command, run_snakemake, write_yaml
from real_cells import cell_sheet

pytestmark = pytest.mark.workflow
LABELS = ["CytoplasmicGFP", "NuclearGFP", "NoGFP"]


@pytest.fixture(scope="module")
def cells_study(shared_data, tmp_path_factory):
    """Run the three human labels of 794 real cells; return the folder."""
    folder = tmp_path_factory.mktemp("bbbc013")
    crops = shared_data / "bbbc013/crops"
    cell_sheet(shared_data).to_csv(folder / "samples.tsv", sep="\t", index=False)
    card = {
        "name": "bbbc013",
        "sheet": "samples.tsv",
        "roots": [str(crops)],
        "channels": ["protein", "nucleus"],
        "ignore_channels": [0],
        "task": "single-label",
        "labels": LABELS,
        "tiles": {"size": 112, "mode": "resize"},
    }
    write_yaml(folder / "bbbc013.yaml", card)
    study = {
        **STUDY,
        "datasets": ["bbbc013.yaml"],
        "backbones": ["handcrafted", "vit-small-random", "vit-small-random@mean"],
        "channel_strategies": ["map"],
        "splits": {
            "schemes": ["group", "image"],
            "folds": {"group": 2, "image": 5},
            "halves": 1,
            "seeds": [0],
            "fractions": [1.0],
        },
        "heads": {"kinds": ["linear", "logreg", "mlp"], "epochs": 20},
        "knn": {"k": [1, 5, 10, 20]},
        "compute": {"device": "cpu", "threads": 2},
    }
    write_yaml(folder / "study.yaml", study)
    run_snakemake(folder, "results/tiny/summary.csv")
    return folder


@pytest.fixture(scope="module")
def bbbc013(cells_study):
    """Return the summary."""
    return pd.read_csv(cells_study / "results/tiny/summary.csv", keep_default_na=False)


def best(summary, scheme, heads):
    chosen = summary[
        (summary["metric"] == "macro_f1")
        & (summary["scheme"] == scheme)
        & summary["head"].isin(heads)
    ]
    return chosen["mean"].astype(float).max()


def test_heads_recognise_the_three_human_labels(bbbc013):
    assert best(bbbc013, "image", ["linear", "logreg", "mlp"]) >= 0.90


def test_neighbours_recognise_the_three_human_labels(bbbc013):
    assert best(bbbc013, "image", ["knn"]) >= 0.84


def test_the_floor_and_the_split_by_plate_row_are_reported(bbbc013):
    # Three classes.
    assert best(bbbc013, "image", ["floor"]) == pytest.approx(1 / 3, abs=0.1)
    across_rows = best(bbbc013, "group", ["linear", "logreg", "mlp", "knn"])
    assert 0.33 < across_rows < best(bbbc013, "image", ["linear", "logreg", "mlp", "knn"])


def test_the_unlabelled_cells_get_labels(cells_study):
    words = ["transferscope", "predict", "study.yaml", "--all", "--json"]
    files = ["--output", "labels.csv", "--save-head", "head.safetensors"]
    said = json.loads(run_command([*words, *files], cells_study).stdout)
    assert said["difference"] == 0, "the heads of the folds say what they said in the study"
    assert said["n_tiles"] == 198
    assert 0 < said["error_low"] <= said["error"] <= said["error_high"] < 1
    table = pd.read_csv(cells_study / "labels.csv", keep_default_na=False)
    new = table[table["said_by"] == "deployed"]
    assert len(new) == 596
    assert set(new["given"]) == {""}
    assert set(new["predicted"]) <= set(LABELS)
    known = table[table["said_by"] == "out of fold"]
    assert (known["given"] != known["predicted"]).mean() == pytest.approx(said["error"])
    # The head as it was kept, on the store that it knows by its digest.
    store = "results/tiny/embeddings/bbbc013"
    about = json.loads(read_about(cells_study / "head.safetensors"))
    manifest = f"{store}/{about['representation'].partition('@')[0]}/{about['channels']}.json"
    kept = ["--head", "head.safetensors", "--embeddings", manifest]
    words = ["transferscope", "predict", "study.yaml", *kept]
    run_command(
        [*words, "--table", "results/tiny/tiles/bbbc013.tiles.parquet", "--output", "again.csv"],
        cells_study,
    )
    again = pd.read_csv(cells_study / "again.csv", keep_default_na=False).set_index("tile_id")
    same = again.loc[new["tile_id"], "predicted"].to_numpy() == new["predicted"].to_numpy()
    assert same.all()


def read_about(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata()["transferscope"]


def write_hpa_fov(data, folder):
    """Write sheet and card of seven Human Protein Atlas fields, four colour files each."""
    colours = {"red": "microtubules", "green": "protein", "blue": "nucleus", "yellow": "er"}
    images = data / "hpa_fov/images"
    fields = pd.read_csv(data / "hpa_fov/labels.csv").set_index("ID")
    # Seven fields are too few for the localizations: their density stands in for a label.
    labels = (fields["n_cells"] > fields["n_cells"].median()).map({True: "dense", False: "sparse"})
    sheet = pd.DataFrame(
        {
            "tile_id": labels.index,
            "group": labels.index,
            "labels": labels.to_numpy(),
            **{
                f"path_{channel}": [str(images / f"{i}_{colour}.png") for i in labels.index]
                for colour, channel in colours.items()
            },
        }
    )
    sheet.to_csv(folder / "hpa-fov.tsv", sep="\t", index=False)
    card = {
        "name": "hpa-fov",
        "sheet": "hpa-fov.tsv",
        "roots": [str(images)],
        "channels": list(colours.values()),
        "labels": ["dense", "sparse"],
        "tiles": {"size": 512, "mode": "cut"},
    }
    write_yaml(folder / "hpa-fov.yaml", card)


def write_opencell(data, folder):
    """Write images, sheet and card of fifteen OpenCell thumbnails, taken apart into channels."""
    annotations = pd.read_csv(data / "opencell/localization_annotations.csv")
    prominent = annotations[annotations["annotation_grade"] == 3]
    nuclear = "nucle|chromatin"
    inside = prominent[prominent["annotation_name"].str.contains(nuclear)]["target_name"]
    rows = []
    for path in sorted((data / "opencell/thumbnails").glob("*.png")):
        # A composite shows the protein in grey over a blue nucleus.
        red, _, blue = np.moveaxis(np.asarray(Image.open(path), dtype=np.int16), -1, 0)
        image = np.stack([np.clip(blue - red, 0, 255), red]).astype(np.uint8)
        tifffile.imwrite(folder / f"{path.stem}.tif", image, metadata={"axes": "CYX"})
        label = "nuclear" if path.stem in set(inside) else "elsewhere"
        rows.append((path.stem, f"{path.stem}.tif", path.stem, label))
    sheet = pd.DataFrame(rows, columns=["tile_id", "path", "group", "labels"])
    sheet.to_csv(folder / "opencell.tsv", sep="\t", index=False)
    card = {
        "name": "opencell",
        "sheet": "opencell.tsv",
        "channels": ["nucleus", "protein"],
        "labels": ["nuclear", "elsewhere"],
        "tiles": {"size": 150, "mode": "resize"},
    }
    write_yaml(folder / "opencell.yaml", card)


def test_two_and_four_channel_fields_meet_their_natural_slots_in_one_backbone(
    shared_data, tmp_path
):
    write_hpa_fov(shared_data, tmp_path)
    write_opencell(shared_data, tmp_path)
    study = {
        **STUDY,
        "datasets": ["hpa-fov.yaml", "opencell.yaml"],
        "backbones": ["vit-tiny-hpa-random"],
    }
    write_yaml(tmp_path / "study.yaml", study)
    stores = {
        name: f"results/tiny/embeddings/{name}/vit-tiny-hpa-random/map"
        for name in ("hpa-fov", "opencell")
    }
    run_snakemake(tmp_path, *(f"{store}.json" for store in stores.values()))
    hpa, opencell = (zarr.open(tmp_path / f"{store}.zarr", mode="r") for store in stores.values())
    natural = {"microtubules": "microtubules", "protein": "protein", "nucleus": "nucleus"}
    assert hpa.attrs["slots"] == [{**natural, "er": "er"}]
    assert opencell.attrs["slots"] == [{**natural, "microtubules": None, "er": None}]
    assert hpa.attrs["weights_sha256"] == opencell.attrs["weights_sha256"]
    tiles = pd.read_parquet(tmp_path / "results/tiny/tiles/hpa-fov.tiles.parquet")
    assert hpa["embeddings"].shape[0] == len(tiles) == 6 * 16 + 36
    assert tiles.groupby("fov").size().tolist().count(36) == 1
    values = opencell["embeddings"][:]
    assert values.shape[0] == 15
    assert np.isfinite(values).all()
    # Every protein has an embedding of its own.
    assert len(np.unique(values, axis=0)) == 15

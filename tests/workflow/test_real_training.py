"""What pretraining on unlabelled real images is worth for labelled real cells."""

import os

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from factories import run_snakemake, write_yaml

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        "TRANSFERSCOPE_SLOW_TESTS" not in os.environ,
        reason="takes ten minutes: set TRANSFERSCOPE_SLOW_TESTS=1",
    ),
]
CLASSES = ["CytoplasmicGFP", "NuclearGFP", "NoGFP"]
SIDE = 48
DRAWS = 2000
NETWORK = {
    "architecture": "vit_tiny_patch16_224",
    "arguments": {"patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4},
    "slots": [
        {"name": "microtubules", "accepts": ["actin"]},
        {"name": "protein"},
        {"name": "nucleus"},
        {"name": "er"},
    ],
    "input_size": SIDE,
    "normalization": {"intensity": "range", "kind": "self"},
    "outputs": [{"name": "cls"}, {"name": "both", "pooling": "cls+mean"}],
    "seed": 0,
}
TRAINING = {
    "objective": {
        "method": "mae",
        "crop_scale": [0.5, 1.0],
        "normalize_targets": False,
        "fourier_weight": 0.01,
        "decoder_width": 96,
        "decoder_depth": 2,
        "decoder_heads": 4,
    },
    "epochs": 60,
    "batch_size": 60,
    "optimiser": {"learning_rate": 0.004, "weight_decay": 0.05, "betas": [0.9, 0.95]},
    "augmentation": {"channel_dropout": 0.5, "dropped_channels": 2},
}


def write_dataset(folder, name, sheet, root, channels, labels, **card):
    """Write a sheet and a card."""
    sheet.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    card = {"name": name, "sheet": f"{name}.tsv", "roots": [str(root)], "labels": labels, **card}
    return write_yaml(folder / f"{name}.yaml", {**card, "channels": channels}).name


def write_cells(data, folder):
    """Write cells with a human label, whose group is the row of the plate, and those without."""
    crops, cells = data / "bbbc013/crops", pd.read_csv(data / "bbbc013/cells.csv")
    sheet = pd.DataFrame(
        {
            "tile_id": cells["file"].str.removesuffix(".png"),
            "path": str(crops) + "/" + cells["file"],
            "group": cells["well"].str[0],
            "labels": cells["human_label"].where(cells["human_label"] != "Unknown", ""),
        }
    )
    known = sheet["labels"] != ""
    shared = {
        "channels": ["protein", "nucleus"],
        # The first plane is empty.
        "ignore_channels": [0],
        "task": "single-label",
        "cells": {"segmentation": {"method": "whole"}, "crop": {"size": SIDE}, "overlays": 0},
    }
    return (
        write_dataset(folder, "known", sheet[known], crops, labels=CLASSES, **shared),
        write_dataset(folder, "unknown", sheet[~known], crops, labels=[], **shared),
    )


def write_fields(data, folder):
    """Write the fields of two laboratories: translocation to the nucleus, and fibroblasts."""
    sets = {
        "bbbc014": ({"protein": "Channel 1-*", "nucleus": "Channel 2-*"}, "fields/bbbc014"),
        "nf1": (
            {"nucleus": "*_DAPI_*", "protein": "*_GFP_*", "actin": "*_RFP_*"},
            "fields/nf1/images",
        ),
        "hpa-fov": (
            {"microtubules": "*_red*", "protein": "*_green*", "nucleus": "*_blue*", "er": "*_yel*"},
            "hpa_fov/images",
        ),
    }
    # Physical sizes are known roughly: cells come to be of about the size that they have in crops.
    scale = {"bbbc014": (1.0, 2.0), "nf1": (1.0, 4.0), "hpa-fov": (0.08, 0.64)}
    names = []
    for name, (patterns, place) in sets.items():
        files = {f"path_{c}": sorted((data / place).glob(p)) for c, p in patterns.items()}
        sheet = pd.DataFrame(files).astype(str)
        sheet.insert(0, "tile_id", [f"{name}{number}" for number in range(len(sheet))])
        sheet["group"], sheet["labels"] = sheet["tile_id"], ""
        before, after = scale[name]
        tiles = {"size": 64, "mode": "cut", "pixel_size_um": after}
        card = {"pixel_size_um": before, "tiles": tiles, "labels": []}
        channels = list(patterns)
        names.append(write_dataset(folder, name, sheet, data / place, channels=channels, **card))
    return names


@pytest.fixture(scope="module")
def predictions(shared_data, tmp_path_factory):
    """Return what k-NN says of the labelled cells across rows, by backbone; trained and not."""
    folder = tmp_path_factory.mktemp("training")
    known, unknown = write_cells(shared_data, folder)
    more = write_fields(shared_data, folder)
    write_yaml(
        folder / "start.yaml", {"source": "timm", "name": "start", "pretrained": False, **NETWORK}
    )
    datasets = ["unknown", *(name.removesuffix(".yaml") for name in more)]
    trained = {"source": "train", "name": "trained", **NETWORK, **TRAINING, "datasets": datasets}
    write_yaml(folder / "trained.yaml", trained)
    study = {
        "study": "real",
        "datasets": [known],
        "training_datasets": [unknown, *more],
        "backbones": ["start.yaml@both", "trained.yaml@both"],
        "channel_strategies": ["map"],
        "splits": {
            "schemes": ["group"],
            "folds": {"group": 2},
            "seeds": [0],
            "fractions": [1.0],
        },
        "heads": {"kinds": []},
        "knn": {"k": [1, 5, 10], "exclude": "group"},
        "compute": {"device": "cpu", "threads": 2},
    }
    write_yaml(folder / "study.yaml", study)
    tables = {
        name: f"results/real/scores/knn/known/{name}@both/map.predictions.parquet"
        for name in ("start", "trained")
    }
    run_snakemake(folder, *tables.values())
    return {name: pd.read_parquet(folder / table) for name, table in tables.items()}


def gains(start, trained):
    """Return the gain in macro F1, and its 95 % interval over cells, drawn for both alike."""
    pairs = start.merge(trained, on=["tile_id", "fold"], suffixes=("", "_trained"))
    columns = [f"_{number}" for number in range(len(CLASSES))]
    truth = pairs[[f"true{c}" for c in columns]].to_numpy().argmax(axis=1)
    before = pairs[[f"predicted{c}" for c in columns]].to_numpy().argmax(axis=1)
    after = pairs[[f"predicted{c}_trained" for c in columns]].to_numpy().argmax(axis=1)

    def gain(rows):
        chosen = truth[rows]
        return f1_score(chosen, after[rows], average="macro") - f1_score(
            chosen, before[rows], average="macro"
        )

    rng = np.random.default_rng(0)
    drawn = [gain(rng.integers(0, len(truth), len(truth))) for _ in range(DRAWS)]
    return gain(slice(None)), *np.percentile(drawn, [2.5, 97.5])


def test_pretraining_on_unlabelled_images_helps_neighbours_across_the_plate(predictions):
    found = {}
    for k in (1, 5, 10):
        start, trained = (table[table["k"] == k] for table in predictions.values())
        found[k] = gains(start, trained)
        print(f"k = {k}: {found[k][0]:+.3f} [{found[k][1]:.3f}, {found[k][2]:.3f}]")
    assert found[1][1] > 0

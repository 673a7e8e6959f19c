"""What pretraining on unlabelled real images is worth for labelled real cells.

By default one seed is trained, in two to three minutes. With TRANSFERSCOPE_SLOW_TESTS=1 and `-rP`
the table of docs/evidence/training.md is printed: more seeds, fewer epochs, another normalisation.
"""

import os

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from factories import run_snakemake, write_yaml
from real_cells import cell_sheet
from transferscope.compare.bootstrap import draw_weights
from transferscope.probes.metrics import count_by_group, metrics_of_counts
from transferscope.stores.embedding_store import EmbeddingStore

pytestmark = pytest.mark.workflow
SLOW = "TRANSFERSCOPE_SLOW_TESTS" in os.environ
CLASSES = ["CytoplasmicGFP", "NuclearGFP", "NoGFP"]
SEEDS = range(6) if SLOW else range(1)
OUTPUTS = ["both", "cls", "mean"]
KS = [1, 5, 10]
# Random folds; each row of the plate by the other; each well by the other three.
SCHEMES = ["image", "group", "well"]
SIDE = 48
DRAWS = 1000
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
    # How bright the protein is beside the nucleus tells the cells that lack it.
    "normalization": {"intensity": "joint", "kind": "mean-std"},
    "outputs": [
        {"name": "both", "pooling": "cls+mean"},
        {"name": "cls"},
        {"name": "mean", "pooling": "mean"},
    ],
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
}
SELF = {"normalization": {"intensity": "range", "kind": "self"}}
# What else is trained with the first three seeds: changes of the network and of its training.
VARIANTS = {"-25-epochs": ({}, {"epochs": 25}), "-self": (SELF, {})}
# Files of each channel, and the pixel size that is given and the one that is asked for: nuclei come
# to be of about the size that they have in the cells.
FIELDS = {
    "bbbc014": ("fields/bbbc014", {"protein": "Channel 1-*", "nucleus": "Channel 2-*"}, (1.0, 1.0)),
    "nf1": (
        "fields/nf1/images",
        {"nucleus": "*_DAPI_*", "protein": "*_GFP_*", "actin": "*_RFP_*"},
        (1.0, 4.0),
    ),
    "hpa-fov": (
        "hpa_fov/images",
        {"microtubules": "*_red*", "protein": "*_green*", "nucleus": "*_blue*", "er": "*_yel*"},
        (0.08, 1.0),
    ),
}


def write_dataset(folder, name, sheet, root, **card):
    """Write a sheet and a card."""
    sheet.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    write_yaml(
        folder / f"{name}.yaml",
        {"name": name, "sheet": f"{name}.tsv", "roots": [str(root)], **card},
    )


def write_cells(data, folder):
    """Write cells with a human label, whose group is the row of the plate, and those without."""
    sheet, crops = cell_sheet(data), data / "bbbc013/crops"
    known = sheet["labels"] != ""
    shared = {
        "channels": ["protein", "nucleus"],
        # The first plane is empty.
        "ignore_channels": [0],
        "task": "single-label",
        "cells": {"segmentation": {"method": "whole"}, "crop": {"size": SIDE}, "overlays": 0},
    }
    write_dataset(folder, "known", sheet[known], crops, labels=CLASSES, **shared)
    write_dataset(folder, "unknown", sheet[~known], crops, labels=[], **shared)


def write_fields(data, folder):
    """Write the fields of three laboratories, cut into tiles."""
    for name, (place, patterns, (before, after)) in FIELDS.items():
        files = {f"path_{c}": sorted((data / place).glob(p)) for c, p in patterns.items()}
        sheet = pd.DataFrame(files).astype(str)
        sheet.insert(0, "tile_id", [f"{name}{number}" for number in range(len(sheet))])
        sheet["group"], sheet["labels"] = sheet["tile_id"], ""
        tiles = {"size": 64, "mode": "cut", "pixel_size_um": after}
        card = {"channels": list(patterns), "labels": [], "pixel_size_um": before, "tiles": tiles}
        write_dataset(folder, name, sheet, data / place, **card)


def write_backbones(folder):
    """Write a start and a trained network for each seed and variant; return their pairs."""
    pairs = []
    datasets = ["unknown", *FIELDS]
    for seed in SEEDS:
        variants = VARIANTS if SLOW and seed < 3 else {}
        for suffix, (of_network, of_training) in {"": ({}, {}), **variants}.items():
            network = {**NETWORK, **of_network, "seed": seed}
            start = f"start{seed}{suffix if of_network else ''}"
            trained = f"trained{seed}{suffix}"
            training = {**TRAINING, **of_training, "datasets": datasets}
            for card in (
                {"name": start, "source": "timm", "pretrained": False, **network},
                {"name": trained, "source": "train", **network, **training},
            ):
                write_yaml(folder / f"{card['name']}.yaml", card)
            pairs.append((start, trained))
    return pairs


@pytest.fixture(scope="module")
def predictions(shared_data, tmp_path_factory):
    """Return what k-NN says of the labelled cells, from starting and from trained weights."""
    folder = tmp_path_factory.mktemp("training")
    write_cells(shared_data, folder)
    write_fields(shared_data, folder)
    pairs = write_backbones(folder)
    names = dict.fromkeys(name for pair in pairs for name in pair)
    study = {
        "study": "real",
        "datasets": ["known.yaml"],
        "training_datasets": ["unknown.yaml", *(f"{name}.yaml" for name in FIELDS)],
        "backbones": [f"{name}.yaml@{output}" for name in names for output in OUTPUTS],
        "channel_strategies": ["map"],
        "splits": {
            "schemes": ["image", "group"],
            "folds": {"image": 5, "group": 2},
            "halves": 1,
            "seeds": [0, 1, 2],
            "fractions": [1.0],
        },
        "heads": {"kinds": []},
        "knn": {"k": KS},
        "compute": {"device": "cpu", "threads": 1},
    }
    write_yaml(folder / "study.yaml", study)
    run_snakemake(folder, *(scores_of(name, output) for name in names for output in OUTPUTS))
    return {
        (trained, output): [predicted(folder, name, output) for name in (start, trained)]
        for start, trained in pairs
        for output in OUTPUTS
    }


def scores_of(name, output):
    return f"results/real/scores/knn/known/{name}@{output}/map.predictions.parquet"


def predicted(folder, name, output):
    """Return class and predicted class of each cell, by scheme, seed and k."""
    table = pd.read_parquet(folder / scores_of(name, output))
    classes = {
        kind: table[[f"{kind}_{n}" for n in range(len(CLASSES))]].to_numpy().argmax(axis=1)
        for kind in ("true", "predicted")
    }
    table = table[["scheme", "seed", "k", "tile_id"]].assign(**classes)
    return pd.concat([table, across_wells(folder, name, output)], ignore_index=True)


def across_wells(folder, name, output):
    """Return the same for each well by the other three, as scikit-learn says it.

    The workflow asks that each class be in as many groups as there are folds. Here it is not: cells
    with the protein in the nucleus were labelled in two wells.
    """
    store = EmbeddingStore(folder / f"results/real/embeddings/known/{name}/map.json")
    embeddings = store.read(output)
    cells = pd.read_parquet(folder / "results/real/tiles/known.tiles.parquet")
    truth = pd.Categorical(cells["labels"], CLASSES).codes.astype(int)
    parts = []
    for k in KS:
        nearest = KNeighborsClassifier(k, metric="cosine")
        found = cross_val_predict(
            nearest, embeddings, truth, groups=cells["well"], cv=LeaveOneGroupOut()
        )
        columns = {"tile_id": cells["tile_id"], "true": truth, "predicted": found}
        parts.append(pd.DataFrame({"scheme": "well", "seed": 0, "k": k, **columns}))
    return pd.concat(parts, ignore_index=True)


def macro_f1(weights, cells, truth, predicted):
    """Return the macro F1 of cells that count as often as each row of weights says."""
    indicators = np.eye(len(CLASSES), dtype=bool)
    counts = count_by_group(indicators[truth], indicators[predicted], cells, weights.shape[1])
    return metrics_of_counts(weights @ counts)["macro_f1"]


def gain(tables, scheme, k):
    """Return the start's macro F1, the gain, and its 95 % interval over cells.

    Averages over the seeds of the division, in each of which every cell is tested once.
    """
    start, trained = (t[(t["scheme"] == scheme) & (t["k"] == k)] for t in tables)
    keys = ["seed", "tile_id"]
    pairs = start.merge(trained, on=keys, suffixes=("_before", "_after"), validate="one_to_one")
    assert len(pairs) == len(start) == len(trained)
    pairs["cell"], names = pd.factorize(pairs["tile_id"], sort=True)
    weights = draw_weights(len(names), DRAWS)
    scores = []
    for _, once in pairs.groupby("seed"):
        truth, before, after, cell = (
            once[name].to_numpy()
            for name in ("true_before", "predicted_before", "predicted_after", "cell")
        )
        scores.append([macro_f1(weights, cell, truth, found) for found in (before, after)])
        assert scores[-1][1][0] == pytest.approx(f1_score(truth, after, average="macro"))
    old, new = np.mean(scores, axis=0)
    difference = new - old
    return old[0], difference[0], *np.percentile(difference[1:], [2.5, 97.5])


def test_pretraining_on_unlabelled_images_helps_the_neighbours_of_labelled_cells(predictions):
    found = {}
    for (trained, output), tables in predictions.items():
        for scheme in SCHEMES:
            for k in KS:
                start, more, low, high = gain(tables, scheme, k)
                found[trained, output, scheme, k] = low
                print(
                    f"{trained} {output}, {scheme}, k = {k}: {start:.3f} "
                    f"{more:+.3f} [{low:.3f}, {high:.3f}]"
                )
    # Across the rows of the plate, one of which has 40 labelled cells, it depends on the seed.
    for seed in SEEDS:
        for scheme in ("image", "well"):
            for k in KS:
                assert found[f"trained{seed}", "both", scheme, k] > 0

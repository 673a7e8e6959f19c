"""Write two studies of grids: masked autoencoders on simulated fields and on real cells.

Every combination of three widths and three parts of the images is trained, several times;
`docs/evidence/scaling.md` has what was found. The real cells are those of the test data.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

WIDTHS, FRACTIONS = [32, 64, 128], [0.0625, 0.25, 1.0]
LABELS = ["CytoplasmicGFP", "NuclearGFP", "NoGFP"]
TILE_PX = 48
# The colours of a field of the Human Protein Atlas, and of one of NF1.
ATLAS = {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"}
NF1 = {"nucleus": "DAPI", "protein": "GFP", "actin": "RFP"}
STUDY: dict[str, Any] = {
    "channel_strategies": ["map"],
    "heads": {"kinds": ["logreg"], "epochs": 40, "patience": 10, "batch_size": 64},
    "knn": {"k": []},
    "compute": {"threads": 1, "device": "cpu"},
}
SPLITS: dict[str, Any] = {"schemes": ["group"], "seeds": [0], "fractions": [1.0]}
MAE: dict[str, Any] = {
    "method": "mae",
    "normalize_targets": False,
    "fourier_weight": 0.01,
    "decoder_width": 48,
    "decoder_depth": 1,
    "decoder_heads": 4,
}


def grid(name: str, patch: int, seeds: int, **keys: Any) -> dict[str, Any]:
    """Return a card of a training with a grid; the network that the rate is for is 64 wide."""
    return {
        "name": name,
        "source": "train",
        "architecture": "vit_tiny_patch16_224",
        "arguments": {"patch_size": patch, "embed_dim": 64, "depth": 4, "num_heads": 4},
        "batch_size": 60,
        "grid": {"width": WIDTHS, "fraction": FRACTIONS, "seeds": seeds},
        "optimiser": {"learning_rate": 4e-3, "final_learning_rate": 4e-5, "warmup": 0.1},
        "outputs": [{"name": "cls-inner", "pooling": "cls", "layer": -2}],
        "licence": "as the images",
        **keys,
    }


def of_fields(mae_seeds: int, weak_seeds: int) -> Iterator[dict[str, Any]]:
    """Yield cards and study on simulated fields, where MAE is compared with weak supervision."""
    atlas = Path(__file__).parents[1] / "resources/datasets/hpa-demo.yaml"
    simulated = {"domain": "hpa", "n_groups": 120, "fovs_per_group": 4, "fov_size": 128, "seed": 0}
    yield {**yaml.safe_load(atlas.read_text()), "name": "hpa-large", "simulate": simulated}
    crops = {"crop_size": 48, "crop_scale": [0.08, 0.22]}
    shared = {
        "slots": [{"name": "microtubules", "accepts": ["cytoskeleton"]}]
        + [{"name": name} for name in ("protein", "nucleus", "er")],
        "input_size": 128,
        "normalization": {"intensity": "range", "kind": "self"},
        "datasets": ["hpa-large"],
        "augmentation": {"channel_dropout": 0.8, "dropped_channels": 3},
        "steps": 100,
    }
    yield grid("mae-fields", 8, mae_seeds, objective={**MAE, **crops}, **shared)
    yield grid("weak-fields", 8, weak_seeds, objective={"method": "weak", **crops}, **shared)
    yield {
        "study": "fields",
        "datasets": ["opencell-demo"],
        "training_datasets": ["hpa-large.yaml"],
        "backbones": ["mae-fields.yaml", "weak-fields.yaml"],
        "splits": {**SPLITS, "folds": {"group": 3, "image": 3}, "halves": 4},
        **STUDY,
    }


def of_cells(data: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield cards and study on real cells; those that people labelled are never trained on."""
    table = pd.read_csv(data / "bbbc013/cells.csv")
    crops = pd.DataFrame(
        {
            "tile_id": table["file"].str.removesuffix(".png"),
            "path": [str(data / "bbbc013/crops" / name) for name in table["file"]],
            "group": table["well"].str[0],
            "labels": table["human_label"],
        }
    )
    known = crops["labels"] != "Unknown"
    shape = {"channels": ["protein", "nucleus"], "ignore_channels": [0]}
    shape |= {"tiles": {"size": TILE_PX, "mode": "pad"}}
    yield _dataset("bbbc013", crops[known], data, [0, 130], **shape)
    rest = crops[~known].assign(group=crops["tile_id"], labels="")
    yield _dataset("bbbc013-unlabelled", rest, data, [0, 130], **shape)
    fields = []
    for mask in sorted((data / "fields/nf1/masks").glob("*MaskCells.tiff")):
        well = mask.name.split("_")[0]
        found = {
            c: _only(mask.parents[1] / "images", f"{well}_*_{k}_001.tif") for c, k in NF1.items()
        }
        fields.append(_field(well, mask, found))
    yield _dataset("nf1", fields, data, [3000, 50_000], **_cells(480, *NF1, split=True))
    fields = []
    for mask in sorted((data / "hpa_fov/cell_masks").glob("*.png")):
        name = mask.name.removesuffix("_predictedmask.png")
        found = {c: data / f"hpa_fov/images/{name}_{colour}.png" for c, colour in ATLAS.items()}
        fields.append(_field(name, mask, found))
    yield _dataset("hpa", fields, data, [0, 160], **_cells(512, *ATLAS))
    fields = []
    for name in pd.read_csv(data / "bbbc039/index.csv")["name"][::2]:
        mask = _only(data / "bbbc039/masks", f"{name}.*")
        fields.append(_field(name, mask, {"nucleus": _only(data / "bbbc039/images", f"{name}.*")}))
    yield _dataset("bbbc039", fields, data, [120, 2000], **_cells(TILE_PX, "nucleus"))
    trained = ["bbbc013-unlabelled", "nf1", "hpa", "bbbc039"]
    yield grid(
        "mae-cells",
        6,
        seeds,
        slots=[{"name": "nucleus"}, {"name": "protein"}],
        input_size=TILE_PX,
        normalization={"intensity": "range", "kind": "mean-std", "mean": [0.15], "std": [0.2]},
        objective={**MAE, "crop_size": TILE_PX, "crop_scale": [0.5, 1.0]},
        datasets=trained,
        steps=150,
    )
    yield {
        "study": "cells",
        "datasets": ["bbbc013.yaml"],
        "training_datasets": [f"{name}.yaml" for name in trained],
        "backbones": ["mae-cells.yaml"],
        "splits": {**SPLITS, "folds": {"group": 2, "image": 2}, "halves": 1},
        **STUDY,
    }


def _only(folder: Path, pattern: str) -> Path:
    [path] = folder.glob(pattern)
    return path


def _field(name: str, mask: Path, channels: dict[str, Path]) -> dict[str, str]:
    paths = {f"path_{channel}": str(path) for channel, path in channels.items()}
    return {"tile_id": name, "group": name, "labels": "", "mask": str(mask), **paths}


def _cells(side: int, *channels: str, split: bool = False) -> dict[str, Any]:
    """Return the keys of a dataset of cells: the crop's side in px of the field."""
    crop = {"size": side, "tile_size_px": TILE_PX, "masked": False, "border_cells": "keep"}
    crop |= {"minimum_area": 100}
    masks = {"method": "provided", "split": split}
    return {"channels": list(channels), "cells": {"segmentation": masks, "crop": crop}}


def _dataset(
    name: str, rows: Any, data: Path, intensities: list[int], *, channels: list[str], **keys: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "sheet": pd.DataFrame(rows),
        "roots": [str(data)],
        "channels": channels,
        "intensity_range": dict.fromkeys(channels, intensities),
        "task": "single-label",
        "labels": LABELS,
        **keys,
    }


def write(folder: Path, files: Iterator[dict[str, Any]]) -> None:
    """Write cards, sheets and a study, and print how it is run."""
    folder.mkdir(parents=True, exist_ok=True)
    for card in files:
        name = card.get("study") or card["name"]
        if isinstance(sheet := card.get("sheet"), pd.DataFrame):
            sheet.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
            card["sheet"] = f"{name}.tsv"
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    print(f"snakemake --cores 2 --directory {folder} --configfile {folder / name}.yaml")


def main() -> None:
    """Write both studies."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="Folder to write to.")
    parser.add_argument("--data", type=Path, help="Folder of the real cells; none: fields only.")
    arguments = parser.parse_args()
    write(arguments.folder / "fields", of_fields(mae_seeds=2, weak_seeds=1))
    if arguments.data is not None:
        write(arguments.folder / "cells", of_cells(arguments.data.resolve(), seeds=3))


if __name__ == "__main__":
    main()

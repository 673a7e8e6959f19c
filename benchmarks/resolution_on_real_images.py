"""Write a study of how much resolution real cells need: a network at several input sizes.

`docs/scaling.md` has what was found. The cells are those of the test data: 198 that people
labelled, in three classes, and those of seven fields of the Human Protein Atlas, of which the
network has to say the field. Each cell is a group of its own: neither set has groups to hold out,
so that scores tell sizes apart, and not how well other cells would be recognised.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from scipy import ndimage

LITE0 = Path(__file__).parents[1] / "resources/backbones/efficientnet-lite0.yaml"
COLOURS = {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"}
LABELS = ["CytoplasmicGFP", "NuclearGFP", "NoGFP"]
# Sides in px of what is cut out of a field, and of what is kept of it: about a cell.
CUT, KEPT, SMALL = 640, 256, 64


def of_crops(data: Path) -> dict[str, Any]:
    """Return the card of the cells that people labelled; most are 40 to 60 px wide."""
    table = pd.read_csv(data / "bbbc013/cells.csv")
    known = table[table["human_label"] != "Unknown"]
    names = known["file"].str.removesuffix(".png")
    paths = [str(data / "bbbc013/crops" / name) for name in known["file"]]
    sheet = {"tile_id": names, "path": paths, "group": names, "labels": known["human_label"]}
    return {
        "name": "bbbc013",
        "sheet": pd.DataFrame(sheet),
        "roots": [str(data)],
        "channels": ["protein", "nucleus"],
        "ignore_channels": [0],
        "intensity_range": {"protein": [0, 130], "nucleus": [0, 130]},
        "labels": LABELS,
        "tiles": {"size": SMALL, "mode": "pad"},
    }


def of_fields(data: Path, folder: Path) -> dict[str, Any]:
    """Cut the cells out of the fields, four images each; return their card."""
    rows = []
    for mask in sorted((data / "hpa_fov/cell_masks").glob("*.png")):
        field = mask.name.removesuffix("_predictedmask.png")
        colours = {
            channel: np.asarray(Image.open(data / f"hpa_fov/images/{field}_{colour}.png"))
            for channel, colour in COLOURS.items()
        }
        ids = np.asarray(Image.open(mask))
        for number, place in enumerate(ndimage.find_objects(ids), start=1):
            if place is None:
                continue
            name = f"{field[:8]}-{number}"
            row = {"tile_id": name, "group": name, "labels": field[:8]}
            for channel, pixels in colours.items():
                path = folder / "cells" / f"{name}_{channel}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                alone = np.where(ids == number, pixels, 0).astype(np.uint8)
                Image.fromarray(_cut(alone, place)).resize((KEPT, KEPT), Image.BOX).save(path)
                row[f"path_{channel}"] = str(path)
            rows.append(row)
    return {
        "name": "hpa-fov",
        "sheet": pd.DataFrame(rows),
        "channels": list(COLOURS),
        "intensity_range": {channel: [0, 160] for channel in COLOURS},
        "labels": sorted({row["labels"] for row in rows}),
        "tiles": {"size": KEPT, "mode": "resize"},
    }


def _cut(pixels: np.ndarray, place: tuple[slice, ...]) -> np.ndarray:
    """Return a square around the middle of a place, black beyond the field."""
    around = np.pad(pixels, CUT // 2)
    top, left = ((part.start + part.stop) // 2 for part in place)
    return around[top : top + CUT, left : left + CUT]


def main() -> None:
    """Write cards, sheets and study, and print how they are run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="Folder of the real cells.")
    parser.add_argument("folder", type=Path, help="Folder to write to.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 224])
    arguments = parser.parse_args()
    folder, data = arguments.folder.resolve(), arguments.data.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    cards = [of_crops(data), of_fields(data, folder)]
    for card in cards:
        name = card["name"]
        card.pop("sheet").to_csv(folder / f"{name}.tsv", sep="\t", index=False)
        card |= {"sheet": f"{name}.tsv", "task": "single-label"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    network = yaml.safe_load(LITE0.read_text())
    network |= {"name": "lite0", "sweep": {"input_size": arguments.sizes}}
    (folder / "lite0.yaml").write_text(yaml.safe_dump(network, sort_keys=False))
    study = {
        "study": "resolution",
        "datasets": [f"{card['name']}.yaml" for card in cards],
        "backbones": ["lite0.yaml", "handcrafted"],
        "channel_strategies": ["map"],
        "splits": {"schemes": ["group"], "folds": {"group": 5, "image": 5}, "fractions": [1.0]},
        "heads": {"kinds": ["logreg"]},
        "knn": {"k": [5]},
    }
    (folder / "resolution.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    print(f"cd {folder} && transferscope run resolution.yaml")


if __name__ == "__main__":
    main()

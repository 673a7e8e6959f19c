"""Transfer, and a sweep of input sizes, on real cells; the matrix computed again by scikit-learn.

`write` makes datasets, cards and two studies of the test data: cells of two rows of a plate
(BBBC013), fields of two columns of another one (NF1), and cells of seven fields of the Human
Protein Atlas. `check` computes every score of the transfer matrix of the finished study again, by
plain scikit-learn on the same stores, tile tables and splits; nothing of the package is imported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tifffile
import yaml
import zarr
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

# What a cell of a dose is called: without the drug the protein is in the cytoplasm.
DOSES = {0: "untreated", 150: "wortmannin"}
ATLAS = {"microtubules": "red", "protein": "green", "nucleus": "blue", "er": "yellow"}
STAINS, COLUMNS = [(2, "GFP"), (3, "RFP")], ("6", "7")
TILE_PX, ATLAS_PX = 100, 320
# Least share of nuclei of a tile that has one.
LEAST_NUCLEUS = 0.1
FEW_SHOT = [1, 5]
SIZES = [32, 64, 128, 224]
STUDY: dict[str, Any] = {
    "channel_strategies": ["map"],
    "splits": {
        "schemes": ["group"],
        "folds": {"group": 5},
        "seeds": [0, 1],
        "fractions": [1.0],
        "halves": 4,
    },
    "heads": {"kinds": ["logreg"]},
    "knn": {"k": [1, 5, 20]},
    "compute": {"device": "cpu", "threads": 1},
}


def write_studies(data: Path, folder: Path) -> None:
    """Write all images, sheets and cards, and two studies."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(_rows_of_the_plate(data, folder))
    columns = list(_columns_of_the_plate(data, folder))
    atlas = _cells_of_the_atlas(data, folder)
    lite = Path(__file__).parents[1] / "resources/backbones/efficientnet-lite0.yaml"
    card = yaml.safe_load(lite.read_text())
    swept = {**card, "name": "lite0", "sweep": {"input_size": SIZES}}
    _write(folder / "lite0.yaml", {key: swept[key] for key in swept if key != "family"})
    transfer = {
        "study": "transfer",
        "datasets": [*rows, *columns],
        "backbones": ["handcrafted", "efficientnet-lite0"],
        "transfer": {"few_shot": FEW_SHOT},
    }
    _write(folder / "transfer.yaml", {**STUDY, **transfer})
    sizes = {"study": "sizes", "datasets": [rows[0], atlas], "backbones": ["lite0.yaml"]}
    splits = {**STUDY["splits"], "seeds": [0], "halves": 2}
    _write(folder / "sizes.yaml", {**STUDY, **sizes, "splits": splits, "knn": {"k": []}})


def _rows_of_the_plate(data: Path, folder: Path) -> Iterator[str]:
    """Yield the cards of the cells of each row; a group is a cell, as a dose is one well."""
    cells = pd.read_csv(data / "bbbc013/cells.csv")
    crops = str((data / "bbbc013/crops").resolve())
    for row, own in cells.groupby(cells["well"].str[0]):
        names = own["file"].str.removesuffix(".png")
        sheet = pd.DataFrame(
            {"tile_id": names, "path": crops + "/" + own["file"], "group": names, "labels": ""}
        ).assign(labels=own["wortmannin_nM"].map(DOSES), well=own["well"])
        yield _dataset(
            folder,
            f"bbbc013-row-{str(row).lower()}",
            sheet,
            roots=[crops],
            channels=["protein", "nucleus"],
            ignore_channels=[0],
            labels=list(DOSES.values()),
            tiles={"size": 112, "mode": "resize"},
        )


def _columns_of_the_plate(data: Path, folder: Path) -> Iterator[str]:
    """Yield the cards of two columns: has a tile a nucleus, seen without the nuclear stain."""
    found: dict[str, list[dict[str, Any]]] = {}
    source = data / "fields/nf1"
    for mask_path in sorted((source / "masks").glob("*_MaskNuclei.tiff")):
        well, _, _, site = mask_path.name.split("_")[:4]
        stains = [source / f"images/{well}_01_{n}_{site}_{stain}_001.tif" for n, stain in STAINS]
        pixels = np.stack([tifffile.imread(path) for path in stains])
        nuclei = tifffile.imread(mask_path) > 0
        for y in range(0, nuclei.shape[0] - TILE_PX + 1, TILE_PX):
            for x in range(0, nuclei.shape[1] - TILE_PX + 1, TILE_PX):
                window = slice(y, y + TILE_PX), slice(x, x + TILE_PX)
                share = nuclei[window].mean()
                if 0 < share < LEAST_NUCLEUS:
                    continue
                name = f"{well}-{y}-{x}"
                row = {"tile_id": name, "group": name, "well": well}
                row["path"] = _image(folder, f"nf1/{name}.tif", pixels[:, *window])
                row["labels"] = "nucleus" if share else "no nucleus"
                found.setdefault(well[1:], []).append(row)
    for column in COLUMNS:
        yield _dataset(
            folder,
            f"nf1-column-{column}",
            pd.DataFrame(found[column]),
            channels=["protein", "actin"],
            labels=["no nucleus", "nucleus"],
            tiles={"size": TILE_PX, "mode": "resize"},
        )


def _cells_of_the_atlas(data: Path, folder: Path) -> str:
    """Return the card of the cells of seven fields; a label is the field that a cell is of.

    A label of a field is in no other one, so that nothing else can be asked of seven fields.
    """
    Image.MAX_IMAGE_PIXELS = None
    rows: list[dict[str, Any]] = []
    for mask_path in sorted((data / "hpa_fov/cell_masks").glob("*_predictedmask.png")):
        field = mask_path.name.split("_")[0]
        masks = np.array(Image.open(mask_path))
        paths = [data / f"hpa_fov/images/{field}_{colour}.png" for colour in ATLAS.values()]
        pixels = np.stack([np.array(Image.open(path)) for path in paths])
        half = ATLAS_PX // 2
        padded = np.pad(pixels, ((0, 0), (half, half), (half, half)))
        for cell in np.unique(masks[masks > 0]):
            y, x = (int(each.mean()) for each in np.nonzero(masks == cell))
            name = f"{field[:8]}-{cell}"
            crop = padded[:, y : y + ATLAS_PX, x : x + ATLAS_PX]
            row = {"tile_id": name, "group": name, "labels": field[:8]}
            rows.append({**row, "path": _image(folder, f"hpa/{name}.tif", crop)})
    return _dataset(
        folder,
        "hpa-fov-cells",
        pd.DataFrame(rows),
        channels=list(ATLAS),
        labels=sorted({row["labels"] for row in rows}),
        tiles={"size": ATLAS_PX, "mode": "resize"},
    )


def _image(folder: Path, name: str, pixels: np.ndarray) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": "CYX"})
    return name


def _dataset(folder: Path, name: str, sheet: pd.DataFrame, **card: Any) -> str:
    sheet.to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    about = {"name": name, "sheet": f"{name}.tsv", "task": "single-label", **card}
    _write(folder / f"{name}.yaml", about)
    return f"{name}.yaml"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))


class Dataset(NamedTuple):
    """One dataset of a finished study: its tiles by row, and the folds by group."""

    classes: np.ndarray
    groups: np.ndarray
    folds: pd.DataFrame


def read_dataset(results: Path, name: str, labels: list[str]) -> Dataset:
    """Read what the study wrote of a dataset."""
    tiles = pd.read_parquet(results / f"tiles/{name}.tiles.parquet")
    splits = pd.read_parquet(results / f"splits/{name}.parquet")
    classes = tiles["labels"].map(labels.index).to_numpy()
    return Dataset(classes, tiles["group"].to_numpy(), splits[splits["scheme"] == "group"])


def trainings(source: Dataset, target: Dataset, fold: pd.DataFrame) -> Iterator[Any]:
    """Yield name, rows of the source and rows of the target of each training of a fold."""
    key = fold[["seed", "fold"]].iloc[0]
    same = source.folds[(source.folds[["seed", "fold"]] == key).all(axis=1)]
    theirs = same.loc[same["role"] == "train", "row"].to_numpy()
    own = fold[fold["role"] == "train"].sort_values("share", kind="stable")
    none = np.empty(0, dtype=np.int64)
    yield "zero-shot", theirs, none
    yield "own", none, own["row"].to_numpy()
    for k in FEW_SHOT:
        # A group is one tile here.
        named = own.assign(label=target.classes[own["row"]])
        few = named[named.groupby("label").cumcount() < k]["row"].to_numpy()
        yield f"few-shot-{k}", theirs, few
        yield f"alone-{k}", none, few


def check(folder: Path) -> None:
    """Compare every score of the matrix with scikit-learn's; exit with 1 if one differs."""
    results = folder / "results/transfer"
    table = pd.read_csv(results / "compare/transfer.csv")
    worst: dict[str, float] = {}
    differing: dict[str, int] = {}
    for names, rows in table.groupby(["source", "dataset", "backbone", "channels"]):
        for head, k, scheme, mean in _again(folder, results, *map(str, names)):
            same = (rows["head"] == head) & (rows["scheme"] == scheme)
            if k is not None:
                same &= rows["k"] == k
            if not same.any():
                continue
            (written,) = rows.loc[same, "mean"]
            name = "logreg" if k is None else "k-NN"
            gap = abs(written - mean)
            worst[name] = max(worst.get(name, 0), gap)
            differing.setdefault(name, 0)
            differing[name] += gap > ROUNDING
            print(*names, head, k or "", scheme, f"{written:.6f} {mean:.6f}", sep="\t")
    print(f"rows of the table: {len(table)}")
    for name, gap in worst.items():
        print(f"{name}: largest difference {gap:.2g}; {differing[name]} differ")
    sys.exit(any(differing.values()))


# The table has six digits after the point.
ROUNDING = 1e-6


def _again(
    folder: Path, results: Path, source: str, dataset: str, backbone: str, channels: str
) -> Iterator[tuple[str, int | None, str, float]]:
    """Yield head, k, training and macro F1 of one store of a pair, by scikit-learn."""
    card = yaml.safe_load((folder / f"{dataset}.yaml").read_text())
    both = [read_dataset(results, name, card["labels"]) for name in (source, dataset)]
    embedded = []
    for name in (source, dataset):
        store = zarr.open(results / f"embeddings/{name}/{backbone}/{channels}.zarr", mode="r")
        embedded.append(np.asarray(store["embeddings"], dtype=np.float64))
    heads: list[tuple[str, int | None]] = [("logreg", None), *(("knn", k) for k in (1, 5, 20))]
    said: dict[Any, list[np.ndarray]] = {}
    for (seed, _), fold in both[1].folds.groupby(["seed", "fold"]):
        test = fold.loc[fold["role"] == "test", "row"].to_numpy()
        for scheme, theirs, own in trainings(*both, fold):
            x = np.concatenate([embedded[0][theirs], embedded[1][own]])
            y = np.concatenate([both[0].classes[theirs], both[1].classes[own]])
            for head, k in heads:
                if k is not None and k > len(y):
                    continue
                predicted = _predict(k, x, y, embedded[1][test])
                answer = np.stack([both[1].classes[test], predicted])
                said.setdefault((head, k, scheme, seed), []).append(answer)
    scores: dict[Any, list[float]] = {}
    for (head, k, scheme, _), answers in said.items():
        truth, predicted = np.concatenate(answers, axis=1)
        scores.setdefault((head, k, scheme), []).append(f1_score(truth, predicted, average="macro"))
    for key, values in scores.items():
        yield *key, float(np.mean(values))


def _predict(k: int | None, x: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    if k is not None:
        return KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(x, y).predict(test)
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=20_000)
    return model.fit(scaler.transform(x), y).predict(scaler.transform(test))


def main() -> None:
    """Write the studies, or check the finished one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["write", "check"])
    parser.add_argument("folder", type=Path, help="where the studies are")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    if arguments.what == "write":
        write_studies(arguments.data, arguments.folder)
    else:
        check(arguments.folder)


if __name__ == "__main__":
    main()

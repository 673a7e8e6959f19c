"""Tables of a made-up study with a grid, whose scores follow a known rule."""

import math

import numpy as np
import pandas as pd

from transferscope.backbones.trained import TrainedManifest
from transferscope.cards.grid import Cell, GridSettings
from transferscope.compare.grid_curves import grid_tables
from transferscope.config.jobs import Comparison, TrainedCell
from transferscope.figures.results import Results

WIDTHS, FRACTIONS, SEEDS = [32, 64, 128], [0.01, 0.03, 0.1, 0.3, 1.0], 3
NOISE = 0.004


def score_of(values):
    """Return the true score: it grows with the logarithm of the images, and not with the width."""
    return 0.7 + 0.05 * math.log10(values["fraction"])


def of_grids(tables):
    """Return the tables of grids as figures read them."""
    chosen = pd.DataFrame({"metric": ["macro_f1"]})
    return Results(pd.DataFrame(), chosen, *[pd.DataFrame()] * 5, **tables.named())


def _steps(values):
    return values.get("at", values.get("steps", 100))


def grid_study(folder, score=score_of, grid=None, *, recalled=None):
    """Write the manifests of a grid; return the tables of its curves and the settings."""
    grid = grid or GridSettings(width=WIDTHS, fraction=FRACTIONS, seeds=SEEDS)
    rng, cells, manifests, rows = np.random.default_rng(0), {}, {}, []
    for values in grid.combinations(0, 100):
        cell = Cell("mae", values)
        n_tiles = round(1000 * values.get("fraction", 1)) + values["seed"]
        path = folder / f"{cell.name}.json"
        trained = TrainedManifest(
            backbone=cell.name,
            method="mae",
            fingerprint="0",
            weights_sha256="0",
            datasets={"fields": {"n_tiles": n_tiles, "n_groups": 10}},
            held_out=None,
            epochs=1,
            steps=100,
            images=64 * _steps(values),
            parameters=12 * values.get("width", 64) ** 2,
            operations=1e6 * values.get("width", 64) ** 2 * _steps(values),
        )
        trained.write(path)
        cells[cell.name] = TrainedCell(grid="mae", values=values)
        manifests[cell.name] = path
        for head, k, shift in (("logreg", pd.NA, 0), ("knn", 1, -0.2), ("knn", 5, -0.1)):
            mean = score(values) + shift + NOISE * rng.standard_normal()
            rows.append([f"{cell.name}@cls", head, k, mean])
    rows.append(["plain", "logreg", pd.NA, 0.5])
    summary = pd.DataFrame(rows, columns=["backbone", "head", "k", "mean"]).astype({"k": "Int64"})
    summary = summary.assign(
        dataset="cells", channels="map", scheme="group", fraction=1.0, metric="macro_f1"
    )
    chosen = pd.DataFrame(
        [["cells", "group", "logreg", pd.NA]], columns=["dataset", "scheme", "head", "k"]
    ).astype({"k": "Int64"})
    settings = Comparison(cells=cells, bootstrap=200)
    return grid_tables(summary, chosen, settings, manifests, recalled or {}), settings

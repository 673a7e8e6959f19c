"""How scores grow over the grids of a study: with weights, images, images seen and operations.

A curve joins the cells of a grid that differ in nothing but what the axis measures, such as all
widths at one fraction of the data. Its bands are about repeated trainings; the test groups are the
same for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferscope.backbones.trained import TrainedManifest
from transferscope.cards.grid import AXES as GRID_AXES
from transferscope.cards.grid import DATA_AXES, MODEL_AXES, SEED, Cell
from transferscope.compare.curve_fits import LEAST_SIZES, Curve, fit_curve
from transferscope.compare.grid_surfaces import COLUMNS as SURFACE_COLUMNS
from transferscope.compare.grid_surfaces import surfaces_of
from transferscope.compare.known_pairs import KnownPairTables
from transferscope.compare.repeats import Repeats
from transferscope.compare.selection import at_full_fraction
from transferscope.compare.tables import Store, head_of, matching
from transferscope.compare.wording import RECALL
from transferscope.config.correction import NONE
from transferscope.config.jobs import Comparison, TrainedCell
from transferscope.config.probed import backbone_of, corrected_name
from transferscope.config.schemes import scheme_order
from transferscope.runtime.seeds import derive_rng

# What a curve is drawn against -> the axes of a grid that move it.
MOVED_BY = {
    "parameters": MODEL_AXES,
    **DATA_AXES,
    "operations": (*MODEL_AXES, "patch", *DATA_AXES["images_seen"]),
}
# Of k-NN, the head next to this many neighbours is followed, whatever the scores are.
NEIGHBOURS = 5
# What identifies the cells that are compared, and, with `held`, a curve.
FAMILY = ["dataset", "scheme", "measure", "grid", "store"]


@dataclass(frozen=True)
class GridTables:
    """The curves of all grids of a study.

    Parameters
    ----------
    cells
        One row per training and measure: `FAMILY`, `backbone`, `seed`, `values` (JSON, axis ->
        value), `parameters`, `images`, `images_seen`, `operations` and `score`.
    curves
        One row per curve: `FAMILY`, `axis`, `held` (what is the same for all of its cells),
        `is_headline`, sizes, family, rise, gain by twice the largest size and asymptote, each with
        bounds, deviation and degrees of freedom of the repeats, and leave-one-size-out errors.
    bands
        One row per place of a curve: `curve` (its row), `size`, `value`, `low`, `high`.
    surfaces
        One row per grid with nine cells or more of model and data; see `grid_surfaces`.
    """

    cells: pd.DataFrame
    curves: pd.DataFrame
    bands: pd.DataFrame
    surfaces: pd.DataFrame

    def named(self) -> dict[str, pd.DataFrame]:
        """Return the tables by the names of their files."""
        return {f"grid_{each.name}": getattr(self, each.name) for each in fields(self)}


def grid_tables(
    summary: pd.DataFrame,
    chosen: pd.DataFrame,
    settings: Comparison,
    trained: Mapping[str, Path],
    recalled: Mapping[str, KnownPairTables],
) -> GridTables:
    """Fit the curves of all grids.

    Parameters
    ----------
    summary, chosen
        As `compare` writes them.
    settings
        Metric, coverage, draws, and the cells.
    trained
        Cell -> manifest of its training.
    recalled
        Dataset -> its recall of known pairs.

    Raises
    ------
    UserError
        If the manifest of a training cannot be read.
    """
    sizes = {name: _sizes(cell, trained[name]) for name, cell in settings.cells.items()}
    scores = [_of_heads(summary, chosen, settings.metric), _of_pairs(recalled, chosen)]
    scored = pd.concat(scores, ignore_index=True)
    backbones = scored["representation"].map(backbone_of)
    scored = scored[backbones.isin(sizes)].assign(backbone=backbones)
    rows = []
    for row in scored.to_dict("records"):
        name = row["backbone"]
        cell = settings.cells[name]
        suffix = row.pop("representation").removeprefix(name)
        store = str(Store(f"{cell.grid}{suffix}", row.pop("channels")))
        told: dict[str, Any] = {str(column): value for column, value in row.items()}
        rows.append({**told, "grid": cell.grid, "store": store, **sizes[name]})
    columns = [*FAMILY, "is_headline", "backbone", "seed", "values", *MOVED_BY, "score"]
    cells = pd.DataFrame(rows, columns=columns)
    # The head that stands for all stores first, and cells as the grid has them.
    cells["headline"], cells["place"] = (
        ~cells["is_headline"].astype(bool),
        cells["backbone"].map({name: place for place, name in enumerate(settings.cells)}),
    )
    order = ["dataset", "scheme", "headline", "measure", "grid", "store", "place"]
    cells = cells.sort_values(order, kind="stable", ignore_index=True)[columns]
    curves: list[dict[str, Any]] = []
    bands: list[pd.DataFrame] = []
    surfaces: list[dict[str, Any]] = []
    for key, family in cells.groupby(FAMILY, sort=False):
        named = dict(zip(FAMILY, key, strict=True))
        surfaces += surfaces_of(named, family, settings)
        for curve, band in _curves_of(named, family, settings):
            bands.append(band.assign(curve=len(curves)))
            curves.append(curve)
    empty = pd.DataFrame(columns=["curve", "size", "value", "low", "high"])
    found = pd.concat(bands, ignore_index=True)[empty.columns] if bands else empty
    fitted = pd.DataFrame(surfaces, columns=SURFACE_COLUMNS)
    return GridTables(cells, pd.DataFrame(curves, columns=CURVE_COLUMNS), found, fitted)


CURVE_COLUMNS = [
    *FAMILY,
    "axis",
    "held",
    "is_headline",
    "n_trainings",
    "n_sizes",
    "smallest",
    "largest",
    "first_score",
    "last_score",
    "family",
    *(f"{what}{end}" for what in ("rise", "gain", "asymptote") for end in ("", "_low", "_high")),
    "deviation",
    "freedom",
    *(f"error_{name.replace(' ', '_').replace('-', '_')}" for name in LEAST_SIZES),
]


def _sizes(cell: TrainedCell, manifest: Path) -> dict[str, Any]:
    """Return where a cell lies on each axis, as its training recorded it."""
    trained = TrainedManifest.read(manifest)
    return {
        "seed": int(cell.values[SEED]),
        "values": json.dumps({k: v for k, v in cell.values.items() if k != SEED}),
        "parameters": trained.parameters or np.nan,
        "images": sum(seen["n_tiles"] for seen in trained.datasets.values()),
        "images_seen": trained.images,
        "operations": trained.operations or np.nan,
    }


def _of_heads(summary: pd.DataFrame, chosen: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the scores of the head that stands for all stores of a dataset, and of k-NN."""
    parts = []
    full = at_full_fraction(summary, metric)
    ordered = chosen.sort_values("scheme", key=lambda names: names.map(scheme_order))
    for row in ordered.drop_duplicates("dataset").to_dict("records"):
        own = matching(full, dataset=row["dataset"], scheme=row["scheme"])
        heads = {head_of(row): True}
        neighbours = own[own["head"].str.startswith("knn")]
        if len(neighbours) and not head_of(row).kind.startswith("knn"):
            known = neighbours.assign(far=(neighbours["k"] - NEIGHBOURS).abs())
            heads[head_of(known.sort_values(["far", "head"], kind="stable").iloc[0])] = False
        for head, is_headline in heads.items():
            found = matching(own, head).rename(columns={"mean": "score"})
            found = found.assign(
                representation=found["backbone"], measure=str(head), is_headline=is_headline
            )
            parts.append(found[SCORED])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SCORED)


SCORED = ["dataset", "scheme", "measure", "is_headline", "representation", "channels", "score"]


def _of_pairs(recalled: Mapping[str, KnownPairTables], chosen: pd.DataFrame) -> pd.DataFrame:
    """Return the recall of known pairs, whose maps are named `representation, channels`."""
    parts = []
    for dataset, tables in recalled.items():
        rows = tables.recall[tables.recall["map"].str.contains(", ", regex=False)]
        names = rows["map"].str.rpartition(", ")
        scheme = min(matching(chosen, dataset=dataset)["scheme"], key=scheme_order)
        pairs = zip(names[0], rows["correction"], strict=True)
        found = rows.assign(
            dataset=dataset,
            scheme=scheme,
            measure=RECALL + rows["source"],
            is_headline=False,
            representation=[n if c == NONE else corrected_name(n, c) for n, c in pairs],
            channels=names[2],
            score=rows["value"],
        )
        parts.append(found[SCORED])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SCORED)


@dataclass(frozen=True)
class _Group:
    """The cells of one curve."""

    axis: str
    held: str
    cells: pd.DataFrame
    repeats: Repeats


def _curves_of(
    key: dict[str, Any], family: pd.DataFrame, settings: Comparison
) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return every curve of the cells of one grid, store and measure, with its band."""
    family = family.dropna(subset=["score"])
    values = pd.DataFrame([json.loads(text) for text in family["values"]], index=family.index)
    groups = [group for axis in MOVED_BY for group in _groups(axis, family, values)]
    # Every cell has its repeats once: those of a curve are cells that differ in the seed alone.
    number = np.asarray(family.groupby("values", sort=False).ngroup(), dtype=np.float64)
    of_all = Repeats.of(number + 1, family["score"].to_numpy(dtype=np.float64))
    found = []
    for group in groups:
        repeats = group.repeats.pooled([of_all])
        rng = derive_rng(settings.seed, "grid curves", *key.values(), group.axis, group.held)
        curve = fit_curve(
            repeats, rng, draws=settings.bootstrap, confidence=settings.confidence, top=1.0
        )
        row = _row(repeats, curve, settings.confidence)
        about = {"axis": group.axis, "held": group.held, "n_trainings": len(group.cells)}
        is_headline = bool(family["is_headline"].iloc[0])
        band = pd.DataFrame(
            {"size": curve.places, "value": curve.values, "low": curve.low, "high": curve.high}
        )
        found.append(({**key, **about, "is_headline": is_headline, **row}, band))
    return found


def _groups(axis: str, family: pd.DataFrame, values: pd.DataFrame) -> list[_Group]:
    """Return the cells of each curve along an axis; none if the grid does not move it."""
    movers = [name for name in MOVED_BY[axis] if name in values and values[name].nunique() > 1]
    if not movers or family[axis].isna().any():
        return []
    if axis == "operations" and set(movers) <= set(MOVED_BY["images_seen"]):
        return []  # the same curve as over images seen
    held = [name for name in values if name not in movers and values[name].nunique() > 1]
    labels = values[held].apply(lambda row: _label(dict(row)), axis=1) if held else ""
    named = family.assign(held=labels, cell=values[movers].astype(str).agg(" ".join, axis=1))
    # A fraction of the groups holds a few images more or less, by seed: one size for all repeats.
    named["size"] = named.groupby(["held", "cell"])[axis].transform("mean")
    groups = []
    for label, rows in named.groupby("held", sort=False):
        repeats = Repeats.of(
            rows["size"].to_numpy(dtype=np.float64), rows["score"].to_numpy(dtype=np.float64)
        )
        if len(repeats.sizes) > 1:
            groups.append(_Group(axis, str(label), rows, repeats))
    return groups


def _label(values: dict[str, Any]) -> str:
    ordered = {name: values[name] for name in GRID_AXES if name in values}
    texts = Cell("", ordered).name.split("_")[1:]
    pairs = zip(ordered, texts, strict=True)
    return ", ".join(f"{name} {text.removeprefix(name)}" for name, text in pairs)


def _row(repeats: Repeats, curve: Curve, confidence: float) -> dict[str, Any]:
    unknown = (np.nan,) * 3
    told = {
        "rise": repeats.rise(confidence),
        "gain": curve.gain or unknown,
        "asymptote": curve.asymptote or unknown,
    }
    ends = ("", "_low", "_high")
    bounds = {
        f"{what}{end}": value
        for what, three in told.items()
        for end, value in zip(ends, three, strict=True)
    }
    errors = {
        f"error_{name.replace(' ', '_').replace('-', '_')}": error
        for name, error in curve.errors.items()
    }
    return {
        "n_sizes": len(repeats.sizes),
        "smallest": repeats.sizes[0],
        "largest": repeats.sizes[-1],
        "first_score": repeats.means[0],
        "last_score": repeats.means[-1],
        "family": curve.family,
        **bounds,
        "deviation": repeats.deviation,
        "freedom": repeats.freedom,
        **errors,
    }

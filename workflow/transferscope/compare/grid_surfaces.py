"""Score over model and data at once: the grids that have nine cells or more of both sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from transferscope.cards.grid import DATA_AXES, MODEL_AXES
from transferscope.compare.curve_fits import CONSTANT
from transferscope.compare.repeats import Repeats
from transferscope.compare.surface_fits import (
    LEAST_SIZES,
    LOG_PLANE,
    NO_SURFACE,
    PARAMETERS,
    POWERS,
    fit_surface,
)
from transferscope.compare.tables import matching
from transferscope.compare.wording import number, percent, quoted, signed
from transferscope.config.jobs import Comparison
from transferscope.runtime.seeds import derive_rng

ENDS = ("", "_low", "_high")
GAINS = ("model_gain", "data_gain")
# Of a family of cells, as `grid_curves.FAMILY`, with what else a surface is of.
KEYS = ["dataset", "scheme", "measure", "grid", "store", "data_axis", "held"]
COLUMNS = [
    *KEYS,
    "is_headline",
    "n_models",
    "n_data",
    "n_trainings",
    "family",
    "model_exponent",
    "data_exponent",
    *(f"{gain}{end}" for gain in GAINS for end in ENDS),
    *(f"error_{name.replace(' ', '_').replace('-', '_')}" for name in PARAMETERS),
]
WORDS = {
    CONSTANT: "No surface predicts a size that is left out better than a constant does.",
    LOG_PLANE: "It is best described as changing with the logarithms of both sizes.",
    POWERS: "It is best described by two power laws that level off.",
    NO_SURFACE: "None of the fitted surfaces agrees with the repeats, and nothing is predicted.",
}
NOUNS = {"images": "training images", "images_seen": "images seen in training"}


def surfaces_of(
    key: Mapping[str, Any], family: pd.DataFrame, settings: Comparison
) -> Iterator[dict[str, Any]]:
    """Yield a row for every surface of the cells of one grid, store and measure.

    Parameters
    ----------
    key
        Values of dataset, scheme, measure, grid and store.
    family
        Its rows of `grid_cells`.
    settings
        Coverage, draws and seed.
    """
    family = family.dropna(subset=["score", "parameters"])
    values = pd.DataFrame([json.loads(text) for text in family["values"]], index=family.index)
    number_of = np.asarray(family.groupby("values", sort=False).ngroup(), dtype=np.float64)
    of_all = Repeats.of(number_of + 1, family["score"].to_numpy(dtype=np.float64))
    for axis, movers in DATA_AXES.items():
        moved = [name for name in values if name in (*MODEL_AXES, *movers)]
        held = [name for name in values if name not in moved and values[name].nunique() > 1]
        labels = values[held].astype(str).agg(", ".join, axis=1) if held else ""
        for label, rows in family.assign(label=labels).groupby("label", sort=False):
            # A fraction holds a few images more or less, by seed: one size for all repeats.
            own = values.loc[rows.index, [name for name in values if name in movers]].astype(str)
            if own.empty or not len(own.columns):
                continue
            size = rows.groupby(own.agg(" ".join, axis=1))[axis].transform("mean")
            n_models, n_data = rows["parameters"].nunique(), size.nunique()
            if min(n_models, n_data) < LEAST_SIZES:
                continue
            sizes = np.stack([rows["parameters"], size]).astype(np.float64)
            cells = Repeats.of(sizes, rows["score"].to_numpy(dtype=np.float64)).pooled([of_all])
            rng = derive_rng(settings.seed, "grid surfaces", *key.values(), axis, str(label))
            found = fit_surface(
                cells, rng, draws=settings.bootstrap, confidence=settings.confidence
            )
            unknown = (np.nan,) * 3
            gains = (found.gain_of_model or unknown, found.gain_of_data or unknown)
            exponents = found.exponents or unknown[:2]
            yield {
                **key,
                "data_axis": axis,
                "held": str(label),
                "is_headline": bool(rows["is_headline"].iloc[0]),
                "n_models": n_models,
                "n_data": n_data,
                "n_trainings": len(rows),
                "family": found.family,
                "model_exponent": exponents[0],
                "data_exponent": exponents[1],
                **{
                    f"{name}{end}": value
                    for name, three in zip(GAINS, gains, strict=True)
                    for end, value in zip(ENDS, three, strict=True)
                },
                **{
                    f"error_{name.replace(' ', '_').replace('-', '_')}": error
                    for name, error in found.errors.items()
                },
            }


def surfaces_in_sentences(
    surfaces: pd.DataFrame, dataset: str, confidence: float, *, headline_only: bool
) -> Iterator[str]:
    """Say of each surface what describes it, and what twice the model and the data would add."""
    for row in matching(surfaces, dataset=dataset).to_dict("records"):
        if headline_only and not row["is_headline"]:
            continue
        held = f" ({row['held']})" if row["held"] else ""
        text = (
            f"{quoted(row['store'])}{held}, {row['measure']}, over {row['n_models']} sizes of the "
            f"backbone and {row['n_data']} numbers of {NOUNS[row['data_axis']]}: "
            f"{WORDS[row['family']]}"
        )
        if not np.isnan(row["model_gain_low"]):
            model, data = (
                f"{signed(row[gain])} ({signed(row[gain + '_low'])} to "
                f"{signed(row[gain + '_high'])})"
                for gain in GAINS
            )
            text += (
                f" From the largest cell on, twice the weights would change it by {model}, twice "
                f"the {NOUNS[row['data_axis']]} by {data} ({percent(confidence)} intervals over "
                "trainings)."
            )
        if row["family"] == POWERS:
            text += (
                f" Its exponents are {number(row['model_exponent'])} and "
                f"{number(row['data_exponent'])}; no limit is told."
            )
        yield text

"""Score against depth: every block of a backbone, and the one that validation rows prefer.

No test row chooses a block, so that the interval of its score, and of its difference from the last
block, is that of any store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from transferscope.cards.network import block_of
from transferscope.compare.paired import COLUMNS as PAIRED
from transferscope.compare.paired import as_gap, between
from transferscope.compare.selection import at_full_fraction
from transferscope.compare.tables import HEAD, head_of, matching
from transferscope.compare.wording import METRIC_NAMES, estimate, gap, store_name, verdict
from transferscope.config.probed import (
    backbone_of,
    corrected_name,
    correction_of,
    output_of,
)
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import VALIDATION_SCORE

# What the curve of a backbone over its blocks is of.
CURVE = ["dataset", "scheme", "backbone", "channels"]
COLUMNS = [
    "dataset",
    "scheme",
    *HEAD,
    "backbone",
    "channels",
    "block",
    "n_blocks",
    "mean",
    "ci_low",
    "ci_high",
    VALIDATION_SCORE,
    "is_chosen",
    *PAIRED,
]


def layer_table(
    summary: pd.DataFrame,
    chosen: pd.DataFrame,
    gaps: pd.DataFrame,
    layered: Sequence[str],
    metric: str,
) -> pd.DataFrame:
    """Return the score of every block of the backbones whose blocks are all evaluated.

    Parameters
    ----------
    summary, chosen, gaps
        The tables `summary`, `chosen` and `differences` of `compare`.
    layered
        Names of these backbones.
    metric
        The headline metric.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, with the head that stands for all stores, all training labels. `backbone` is the
        card's name, with the correction if there is one. `is_chosen`: the highest score on
        validation rows. `difference` is from the last block, with an interval for groups and the
        verdict of that pair; missing for the last block itself.
    """
    full, parts = at_full_fraction(summary, metric), []
    for one in chosen.to_dict("records"):
        rows = matching(full, head_of(one), dataset=one["dataset"], scheme=one["scheme"])
        rows = rows[rows["backbone"].map(backbone_of).isin(list(layered))]
        rows = rows.assign(block=[block_of(output_of(name)) or 0 for name in rows["backbone"]])
        rows = rows[rows["block"] > 0]
        pairs = matching(
            gaps, head_of(one), kind="stores", dataset=one["dataset"], scheme=one["scheme"]
        )
        named = rows.assign(curve=rows["backbone"].map(_without_block))
        for (curve, _), blocks in named.groupby(["curve", "channels"], sort=True):
            parts.append(_of_curve(blocks, pairs).assign(backbone=str(curve)))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _without_block(representation: str) -> str:
    backbone, correction = backbone_of(representation), correction_of(representation)
    return corrected_name(backbone, correction) if correction else backbone


def _of_curve(blocks: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Add to the blocks of one backbone which is chosen, and the differences from the last."""
    blocks = blocks.sort_values("block")
    known, last = blocks[VALIDATION_SCORE].dropna(), blocks.iloc[-1]
    found = [between(row, last, pairs) for row in blocks.to_dict("records")]
    return pd.concat(
        [
            blocks.assign(
                n_blocks=len(blocks),
                is_chosen=blocks.index == known.idxmax() if len(known) else False,
            ),
            pd.DataFrame(found, index=blocks.index),
        ],
        axis=1,
    )


def layers_in_sentences(
    table: pd.DataFrame, dataset: str, settings: CompareSettings
) -> Iterator[str]:
    """Say of each backbone of which every block is evaluated which one validation prefers."""
    own = matching(table, dataset=dataset)
    schemes = set(own["scheme"])
    # The split by group says more than any other.
    own = matching(own, scheme="group") if "group" in schemes else own
    for _, blocks in own.groupby(CURVE, sort=False):
        last, best = blocks.iloc[-1], blocks[blocks["is_chosen"].astype(bool)]
        name, n_blocks = store_name(last), len(blocks)
        if best.empty:
            yield f"{name}: no score on validation tiles says which of {n_blocks} blocks to use."
            continue
        row = best.iloc[0]
        metric = METRIC_NAMES[settings.metric]
        said = (
            f"{name}: by validation tiles, block {row['block']} of {n_blocks} is to be used. On "
            f"test groups, its {metric} is {estimate(row, settings.confidence)}"
        )
        if row["block"] == last["block"]:
            yield f"{said}: it is the last."
        elif np.isnan(row["difference"]):
            yield f"{said}, that of the last {estimate(last, settings.confidence)}."
        else:
            change = verdict(row, settings.margin)
            yield f"{said}; minus that of the last block: {gap(as_gap(row))}, {change}."

"""What the number format of the stores does to the neighbours of their tiles, as the stores say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from transferscope.compare.wording import percent, quoted, store_name
from transferscope.config.channel_strategies import family_of
from transferscope.probes.score_table import NUMBER_FORMAT, STORE
from transferscope.runtime.json_text import parse_json
from transferscope.stores.parquet import METADATA_KEY

MEASURED = ["precision", "dtype", "n_tiles", "same_nearest", "overlap"]
COLUMNS = [*STORE, *MEASURED]
ON_SCORES = (
    "Scores of small studies change with the number format by up to a few hundredths, which no "
    "interval includes; `compute.precision: fp32` avoids it."
)


def read_number_formats(score_paths: Sequence[Path]) -> pd.DataFrame:
    """Return what is known of the stores whose networks ran in reduced precision.

    Parameters
    ----------
    score_paths
        Score tables of all probes, readable; those of one store say the same.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, one row per store; of random orders, that which keeps the fewest neighbours.
    """
    rows = []
    for path in score_paths:
        known = parse_json((pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}"))
        if NUMBER_FORMAT in known:
            for store in pq.read_table(path, columns=STORE).slice(0, 1).to_pylist():
                family = {"channels": family_of(store["channels"])}
                rows.append({**store, **family, **known[NUMBER_FORMAT]})
    found = pd.DataFrame(rows, columns=COLUMNS).sort_values([*STORE, "same_nearest"])
    return found.drop_duplicates(STORE, ignore_index=True)


def number_format_notes(formats: pd.DataFrame) -> list[str]:
    """Say of each dataset which store's neighbours change most, and what follows.

    Parameters
    ----------
    formats
        From `read_number_formats`; nothing is said if it is empty.
    """
    notes = [_note(rows, str(name)) for name, rows in formats.groupby("dataset", sort=True)]
    changed = (formats["same_nearest"] < formats["n_tiles"]).any()
    return [*notes, ON_SCORES] if changed else notes


def _note(rows: pd.DataFrame, dataset: str) -> str:
    worst = rows.sort_values("same_nearest").to_dict("records")[0]
    n_tiles = int(worst["n_tiles"])
    n_changed = n_tiles - int(worst["same_nearest"])
    made = f"{quoted(dataset)}: in {worst['precision']}, stored as {worst['dtype']},"
    if not n_changed:
        where = f"each of {len(rows)} stores" if len(rows) > 1 else store_name(worst)
        return (
            f"{made} all {n_tiles} tiles of a sample have the nearest neighbour among these that "
            f"they have in fp32, in {where}."
        )
    verb = "has" if n_changed == 1 else "have"
    most = f", the most of {len(rows)} stores" if len(rows) > 1 else ""
    return (
        f"{made} {n_changed} of {n_tiles} tiles ({percent(round(n_changed / n_tiles, 3))}) {verb} "
        f"another nearest neighbour among these than in fp32, in {store_name(worst)}{most}."
    )

"""Whether stores and tables belong together: each says what it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from transferscope.config.probed import CORRECTED_BY, UNCORRECTED, Probed
from transferscope.errors import Problem, UserError
from transferscope.stores.reader import StoreReader

# Key of the metadata of a store or table -> how it is named to the user.
NAMES = {
    "dataset": "dataset",
    "backbone": "backbone",
    "strategy": "channel strategy",
    CORRECTED_BY: "correction",
    "tiles_sha256": "tiles",
    "labels_sha256": "labels",
    "weights_sha256": "weights",
}
FIX = (
    "Give files that belong together, as the study has them: those of one dataset, and of one "
    "backbone, channel strategy and correction."
)


def check_origin(place: Path | str, said: Mapping[Any, Any], expected: Mapping[str, Any]) -> None:
    """Compare what a store or table says about its origin with what it is used for.

    Parameters
    ----------
    place
        Its path.
    said
        Its metadata. What it does not say, as one of an older version, is not compared.
    expected
        Key of `NAMES` -> the value that it should have; None: unknown.

    Raises
    ------
    UserError
        Naming everything that differs.
    """
    problems = list(_differences(place, said, expected))
    if problems:
        raise UserError(problems)


def _differences(
    place: Path | str, said: Mapping[Any, Any], expected: Mapping[str, Any]
) -> Iterable[Problem]:
    for key, value in expected.items():
        found = said.get(key)
        if None in (found, value) or found == value:
            continue
        # Two digests would tell a person nothing.
        what = f"belongs to other {NAMES[key]}"
        if not key.endswith("sha256"):
            what = f"belongs to another {NAMES[key]}: {found}, not {value}"
        yield Problem(str(place), what, FIX)


def check_store(manifest: Path | str, attributes: Mapping[Any, Any], probed: Probed) -> None:
    """Check that a store is the one that an evaluation reads.

    Parameters
    ----------
    manifest, attributes
        Manifest and metadata of the store.
    probed
        What is evaluated.

    Raises
    ------
    UserError
        If it is of another backbone, channel strategy or correction.
    """
    check_origin(manifest, {CORRECTED_BY: UNCORRECTED, **attributes}, probed.origin)


def check_tiles(
    path: Path, table: pd.DataFrame, store: StoreReader, dataset: str | None = None
) -> None:
    """Check that a tile table is that of a store, and of a dataset.

    Parameters
    ----------
    path, table
        The tile table.
    store
        A store of its tiles, or of their embeddings.
    dataset
        Name of the dataset; None: any.

    Raises
    ------
    UserError
        If they do not belong together.
    """
    if "tile_id" in table and list(map(str, table["tile_id"])) != store.tile_ids:
        raise UserError(Problem(str(path), f"holds other tiles than {store.manifest_path}", FIX))
    for name in (store.dataset, dataset):
        check_origin(path, table.attrs, {"dataset": name})

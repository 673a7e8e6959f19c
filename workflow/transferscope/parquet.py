"""Parquet tables that are whole or absent, with metadata of our own."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from transferscope.errors import Problem, UserError

METADATA_KEY = b"transferscope"


def write_parquet(frame: pd.DataFrame, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a table by rename, zstd-compressed.

    Parameters
    ----------
    frame
        The table; its index is not kept.
    path
        Where to.
    metadata
        Plain data, kept as JSON in the schema's metadata under `METADATA_KEY`.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    own = {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **own})
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        pq.write_table(table, temporary, compression="zstd")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a table; our metadata becomes its `attrs`.

    Raises
    ------
    UserError
        Where the file is missing or no Parquet table.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        mend = "Run the workflow again: it makes what is missing."
        raise UserError(Problem(str(path), "the table does not exist", mend)) from None
    except (OSError, pa.ArrowException) as error:
        mend = "Delete it and run the workflow again."
        raise UserError(Problem(str(path), f"not a readable table: {error}", mend)) from None
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    return frame

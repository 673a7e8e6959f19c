"""Atomic writing and reading of Parquet tables, with JSON metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from transferscope.errors import user_error
from transferscope.runtime.atomic_files import replacing
from transferscope.runtime.json_text import parse_json
from transferscope.transport.access import PUBLISH_AGAIN
from transferscope.transport.files import RawFile

# Least size in memory of a value of a column.
LEAST_BYTES = 8
METADATA_KEY = b"transferscope"
# Columns that every table of tiles has.
TILE_COLUMNS = ("tile_id", "group", "labels")


def write_parquet(frame: pd.DataFrame, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write a table atomically, zstd-compressed.

    Parameters
    ----------
    frame
        The table; its index is dropped.
    path
        Destination.
    metadata
        Plain data, kept as JSON in the schema's metadata under `METADATA_KEY`.
    """
    with parquet_parts(path, metadata) as write:
        write(frame)


@contextmanager
def parquet_parts(
    path: Path, metadata: Mapping[str, Any]
) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Yield a function that appends parts to a table, which is written atomically at the end.

    Each part is at least one row group, so that large tables never are in memory as a whole. All
    parts have the columns and types of the first. After an error no file is left.

    Parameters
    ----------
    path, metadata
        As in `write_parquet`.
    """
    with replacing(path) as temporary:
        writer = _PartWriter(temporary, metadata)
        try:
            yield writer
            writer.close()
        except BaseException:
            # On a full disk, closing fails as well: report the first error.
            with suppress(OSError):
                writer.close()
            raise


class _PartWriter:
    """Appends frames to one Parquet file, with the schema of the first."""

    def __init__(self, path: Path, metadata: Mapping[str, Any]) -> None:
        self._path = path
        self._own = {METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
        self._writer: pq.ParquetWriter | None = None

    def __call__(self, frame: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        if self._writer is None:
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **self._own})
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def read_parquet(path: RawFile, needs: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table from a local file or an object store; its metadata becomes its `attrs`.

    Parameters
    ----------
    path
        The file.
    needs
        Columns that it has to have.

    Raises
    ------
    UserError
        If the file is missing, is not a Parquet table, or lacks a column.
    """
    try:
        # Absolute, because what looks like a URL would be taken for one.
        source = path.absolute() if isinstance(path, Path) else BytesIO(path.read_bytes())
        # Rows that repeat take no place in a file, and all of theirs in memory.
        rows, columns = pq.read_metadata(source).num_rows, pq.read_schema(source).names
        if rows * len(columns) * LEAST_BYTES > psutil.virtual_memory().total:
            raise ValueError(f"its {rows:,} rows are more than this machine's memory holds")
        table = pq.read_table(source)
        metadata = parse_json((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are no mapping")
    except FileNotFoundError:
        fix = "Run the workflow again: it makes missing files."
        raise user_error(path, "the table does not exist", fix) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        remake = "Delete it and run the workflow again."
        fix = remake if isinstance(path, Path) else PUBLISH_AGAIN
        raise user_error(path, f"not a readable table: {error}", fix) from None
    if missing := [name for name in needs if name not in table.column_names]:
        what = f"has no column {', '.join(missing)}; it is another kind of table"
        raise user_error(path, what, "Give the right table.")
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs = metadata
    return frame


def read_tile_table(path: RawFile) -> pd.DataFrame:
    """Read the table of a dataset's tiles; see `read_parquet`."""
    return read_parquet(path, TILE_COLUMNS)

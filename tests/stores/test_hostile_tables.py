"""Tables made by others: metadata that are no mapping, and more rows than memory holds."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from command_tree import run
from factories import write_study
from transferscope.errors import UserError
from transferscope.stores.parquet import METADATA_KEY, read_parquet

COLUMNS = {"tile_id": ["a"], "group": ["g"], "labels": ["membrane"]}
METADATA = [b"", b"[1]", b"3", b"null", b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": NaN', b'"text"']


@pytest.mark.parametrize("metadata", METADATA)
def test_metadata_that_are_no_mapping(
    tmp_path: Path, metadata: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_study(tmp_path))
    schema = pa.table(COLUMNS).schema.with_metadata({METADATA_KEY: metadata})
    pq.write_table(pa.table(COLUMNS).cast(schema), "made.parquet")
    card = "cards/datasets/cells.yaml"
    ended = run(["splits", "--table", "made.parquet", "--card", card, "--splits", "splits.parquet"])
    assert ended.code == 1
    assert "made.parquet: not a readable table" in ended.err
    assert "Traceback" not in ended.err


def test_rows_that_take_no_place_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.parquet"
    table = pa.table({name: pa.array(values * 100_000) for name, values in COLUMNS.items()})
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 5_000
    assert len(read_parquet(path)) == 100_000
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2_000_000))
    with pytest.raises(UserError, match="100,000 rows are more than this machine's memory holds"):
        read_parquet(path)

"""What a Zarr array declares is bounded before a chunk is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tile_stores import write_tiles
from transferscope.errors import UserError
from transferscope.stores.tile_store import TileStore
from transferscope.transport.zarr_limits import MOST_CHUNKS, fault_of_array


def declared(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], version: int) -> Any:
    return zarr.create_array(
        folder / "a.zarr",
        shape=shape,
        chunks=chunks,
        dtype="uint16",
        zarr_format=version,
        overwrite=True,
    )


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sides=st.lists(st.integers(1, 10**6), min_size=2, max_size=4),
    chunk=st.integers(1, 10**6),
    version=st.sampled_from([2, 3]),
)
def test_chunks_are_bounded_by_what_is_declared(
    tmp_path: Path, sides: list[int], chunk: int, version: int
) -> None:
    chunks = tuple(min(chunk, 10**6) for _ in sides)
    array = declared(tmp_path, tuple(sides), chunks, version)
    count = np.prod([-(-n // chunk) for n in map(float, sides)])
    fault = fault_of_array(array)
    if count > MOST_CHUNKS:
        assert "chunks" in str(fault)
    if fault is None:
        assert np.prod(list(map(float, chunks))) * 2 <= 2**31


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((4, 2048, 2048), (1, 512, 512)),
        ((64, 64), (1024, 1024)),
        ((3, 9000, 9000), (1, 256, 256)),
    ],
)
def test_usual_images_pass(tmp_path: Path, version: int, shape: Any, chunks: Any) -> None:
    assert fault_of_array(declared(tmp_path, shape, chunks, version)) is None


CODECS: list[Any] = [
    {"id": "pickle", "protocol": 5},
    {"id": "vlen-bytes"},
    {"id": "vlen-utf8"},
    {"id": "json2", "encoding": "utf-8"},
    {"id": "msgpack2"},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec["id"])
def test_codecs_of_objects_are_refused(tmp_path: Path, codec: Any) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    metadata = {
        "zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": "<u2", "order": "C",
        "fill_value": 0, "compressor": None, "filters": [codec],
    }  # fmt: skip
    (folder / ".zarray").write_text(json.dumps(metadata))
    try:
        array = zarr.open_array(folder, mode="r")
    except Exception:
        return
    assert "codec" in str(fault_of_array(array))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("done", {"shape": [400_000_000]}),
        ("digest", {"shape": [400_000_000, 32]}),
        ("images", {"shape": [400_000_000, 3, 32, 32]}),
        ("tile_id", {"shape": [10**12], "chunk": [10**12]}),
        ("done", {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]}),
        ("images", {"codecs": [{"name": "vlen-utf8", "configuration": {}}]}),
        ("images", {"data_type": "string", "codecs": [{"name": "vlen-utf8"}], "fill_value": ""}),
    ],
)
def test_a_finished_store_is_bounded_too(tmp_path: Path, name: str, change: Any) -> None:
    manifest = write_tiles(tmp_path)
    path = tmp_path / "cells.zarr" / name / "zarr.json"
    metadata = json.loads(path.read_text())
    if "chunk" in change:
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = change.pop("chunk")
    path.write_text(json.dumps({**metadata, **change}))
    with pytest.raises(UserError) as caught:
        TileStore(manifest)
    assert "cells" in str(caught.value)

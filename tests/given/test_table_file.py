"""Files that hold tables of features: kinds, damage, and AnnData."""

import contextlib
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from given_tables import CARD, profiles, write_card
from transferscope.cards import DatasetCard
from transferscope.config.model import read_model
from transferscope.errors import UserError
from transferscope.given.rows import read_given
from transferscope.given.table_file import read_file

# With warnings of anndata about pandas.
OF_ANNDATA = pytest.mark.filterwarnings("ignore")


def refused(path):
    with pytest.raises(UserError) as raised:
        read_file(path, "wells.yaml, key table")
    return str(raised.value)


def test_kinds_that_are_not_read(tmp_path):
    class Runs:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "t.pkl").write_bytes(pickle.dumps(Runs()))
    assert "Give a file that ends with .parquet" in refused(tmp_path / "t.pkl")
    assert "does not exist" in refused(tmp_path / "none.parquet")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "t.parquet").write_bytes(pickle.dumps(Runs()))
    assert "cannot be read" in refused(tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_bytes(b"\x1f\x8b" + bytes(20))
    assert "compressed by gzip" in refused(tmp_path / "t.csv")
    assert not (tmp_path / "ran").exists()


@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), cut=st.booleans())
def test_damaged_parquet_is_a_sentence(tmp_path_factory, at, bits, cut):
    path = tmp_path_factory.mktemp("damage") / "t.parquet"
    profiles(4, 2).to_parquet(path)
    content = bytearray(path.read_bytes())
    place = int(at * len(content))
    content[place] ^= bits
    path.write_bytes(content[:place] if cut else content)
    # Any other error would be one of the program.
    with contextlib.suppress(UserError):
        read_file(path, "wells.yaml, key table")


def test_a_column_twice(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    assert 'the column "a" occurs twice' in refused(tmp_path / "t.parquet")


def test_anndata_that_is_not_installed_is_told(tmp_path, monkeypatch):
    import transferscope.given.table_file as module

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "t.h5ad").write_bytes(b"")
    assert "anndata is not installed" in refused(tmp_path / "t.h5ad")


@pytest.fixture
def anndata():
    found = pytest.importorskip("anndata", reason="the extra anndata is not installed")
    if hasattr(found.settings, "allow_write_nullable_strings"):
        found.settings.allow_write_nullable_strings = True
    return found


@pytest.fixture
def annotated(anndata, tmp_path):
    def write(sparse=False, **changes):
        from scipy import sparse as matrices

        table = profiles()
        obs = table[[c for c in table if c.startswith("Metadata_")]].copy()
        obs["n_counts"] = np.arange(len(obs))
        obs.index = [f"well-{n}" for n in range(len(obs))]
        values = table[[c for c in table if c not in obs]].to_numpy(np.float64)
        data = anndata.AnnData(matrices.csr_matrix(values) if sparse else values, obs=obs)
        data.var_names = [f"gene {n}" for n in range(values.shape[1])]
        data.obsm["X_pca"] = values[:, :3].copy()
        for key, value in changes.items():
            setattr(data, key, value)
        data.write_h5ad(tmp_path / "t.h5ad")
        return values

    return write


@OF_ANNDATA
@pytest.mark.parametrize("sparse", [False, True])
def test_anndata(annotated, tmp_path, sparse):
    values = annotated(sparse)
    card = {**CARD, "table": "t.h5ad"}
    path = write_card(tmp_path, profiles(1, 1), table="x.csv")
    path.write_text(path.read_text().replace("x.csv", "t.h5ad"))

    def read(features):
        text = {**card, "features": features}
        path.write_text(yaml.safe_dump(text))
        return read_given(read_model(path, DatasetCard), path)

    found = read({})
    assert list(found.sets) == ["features"]
    np.testing.assert_allclose(found.sets["features"].values, values.astype(np.float32))
    assert found.sets["features"].names[0] == "gene 0"
    assert found.rows.table["tile_id"].iloc[2] == "well-2"
    found = read({"expression": "X", "pca": "X_pca"})
    assert found.rows.widths == {"expression": 6, "pca": 3}
    with pytest.raises(UserError, match="X_umap"):
        read({"map": "X_umap"})


@OF_ANNDATA
def test_anndata_without_x(annotated, tmp_path):
    annotated(X=None)
    file = read_file(tmp_path / "t.h5ad", "wells.yaml, key table")
    assert list(file.matrices) == ["X_pca"]
    assert file.default == []


@OF_ANNDATA
def test_damaged_anndata(annotated, tmp_path):
    annotated()
    content = (tmp_path / "t.h5ad").read_bytes()
    (tmp_path / "t.h5ad").write_bytes(content[: len(content) // 2])
    assert "cannot be read" in refused(tmp_path / "t.h5ad")


def test_rows_are_numbered_as_people_see_them(tmp_path):
    table = pd.DataFrame({"a": [1, 2]})
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    assert list(read_file(tmp_path / "t.csv", "").columns.index) == [2, 3]
    assert list(read_file(tmp_path / "t.parquet", "").columns.index) == [1, 2]

"""`transferscope correct`: a store in, a store like any other out, or a message."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from transferscope.commands.app import app
from transferscope.config.correction import CorrectionJob
from transferscope.correction.methods import correct
from transferscope.correction.role_checks import role_problems
from transferscope.correction.rows import Rows
from transferscope.errors import UserError
from transferscope.stores.block_store import BlockStore
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import EMBEDDINGS_FORMAT, store_of
from transferscope.stores.parquet import write_parquet

N, WIDTH = 40, 3
COLUMNS = [
    {"output": output, "channel": channel, "start": 3 * n, "stop": 3 * n + 3}
    for n, (channel, output) in enumerate(
        (channel, output) for channel in ("nucleus", "protein") for output in ("cls", "mean")
    )
]
VALUES = np.random.default_rng(0).normal(size=(N, 12)).astype(np.float32)
BATCHES = np.array([f"plate{n % 4}" for n in range(N)], dtype=object)
CONTROLS = np.array([n % 3 == 0 for n in range(N)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with the store of two outputs in two passes, and its tile table."""
    monkeypatch.chdir(tmp_path)
    ids = [f"t{n}" for n in range(N)]
    store = BlockStore.open_or_create(
        store_of(tmp_path / "replicate.json"),
        format=EMBEDDINGS_FORMAT,
        array="embeddings",
        fingerprint="f",
        shape=VALUES.shape,
        dtype="float32",
        block_rows=N,
        ids=ids,
        attributes={"columns": COLUMNS, "backbone": "tiny", "tiles_sha256": "a"},
        width=WIDTH,
    )
    store.write_block(0, VALUES)
    store.finish(tmp_path / "replicate.json")
    write_table(ids, batch=BATCHES, control=np.where(CONTROLS, "true", "false"))
    return tmp_path


def write_table(ids, **columns):
    table = {"tile_id": ids, "group": "g", "labels": "", "fov": ids, **columns}
    write_parquet(pd.DataFrame(table), Path("tiles.parquet"), {})


def run(representation, channels, settings, manifest="corrected.json"):
    options = {
        "embeddings": "replicate.json",
        "representation": representation,
        "channels": channels,
        "table": "tiles.parquet",
        "settings": json.dumps(settings),
        "manifest": manifest,
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return CliRunner().invoke(app, ["correct", *words])


def message(*told):
    done = run(*told)
    assert isinstance(done.exception, UserError), done.output
    return str(done.exception)


@pytest.mark.parametrize("method", ["center", "standardise", "sphere", "tvn", "harmony"])
@pytest.mark.parametrize("output", ["", "@mean"])
@pytest.mark.parametrize("channels", ["replicate", "mean", "only-protein"])
def test_what_is_read_of_it_is_the_correction_of_what_was_read(folder, method, output, channels):
    done = run(f"tiny{output}+{method}", channels, {"method": method})
    assert done.exit_code == 0, done.output
    corrected = EmbeddingStore(folder / "corrected.json")
    name = output.removeprefix("@") or None
    source = EmbeddingStore(folder / "replicate.json").read(name, channels)
    expected = correct(source, Rows.of(BATCHES, CONTROLS), method).embeddings
    np.testing.assert_array_equal(corrected.read(name, channels), expected)
    assert corrected.attributes["backbone"] == "tiny"
    assert corrected.attributes["correction"]["n_batches"] == 4
    assert corrected.tile_ids == [f"t{n}" for n in range(N)]


def test_the_same_again_changes_no_byte_and_other_controls_change_it(folder):
    def content():
        done = run("tiny+tvn", "replicate", {"method": "tvn"})
        assert done.exit_code == 0, done.output
        return (folder / "corrected.json").read_bytes()

    first = content()
    # A job that is killed may leave any part of the store without its manifest.
    (folder / "corrected.json").unlink()
    assert content() == first
    shutil.rmtree(folder / "corrected.zarr/embeddings")
    (folder / "corrected.json").unlink()
    assert content() == first
    write_table([f"t{n}" for n in range(N)], batch=BATCHES, control="yes")
    assert content() != first


def test_labels_and_groups_change_nothing(folder):
    assert run("tiny+tvn", "replicate", {"method": "tvn"}).exit_code == 0
    first = EmbeddingStore(folder / "corrected.json").read()
    table = pd.read_parquet("tiles.parquet").assign(labels="other", group="another")
    write_parquet(table, Path("tiles.parquet"), {})
    assert run("tiny+tvn", "replicate", {"method": "tvn"}).exit_code == 0
    np.testing.assert_array_equal(EmbeddingStore(folder / "corrected.json").read(), first)


def test_mistakes_name_file_column_and_fix(folder):
    tvn, ids = {"method": "tvn"}, [f"t{n}" for n in range(N)]
    assert "End it with +tvn" in message("tiny+center", "replicate", tvn)
    assert "no pass of the channel" in message("tiny+tvn", "only-protien", tvn)
    named = {"method": "tvn", "roles": {"batch": "plates"}}
    assert "column plates: is missing" in message("tiny+tvn", "replicate", named)
    write_table(ids, batch=np.where(np.arange(N) == 7, "", BATCHES), control="yes")
    assert "1 of 40 tiles are of no batch" in (told := message("tiny+tvn", "replicate", tvn))
    assert "the first is t7" in told
    write_table(ids, batch=BATCHES, control=np.where(np.arange(N) == 7, "true", "false"))
    assert "1 negative controls (true, yes or 1)" in message("tiny+tvn", "replicate", tvn)
    write_table(ids[1:] + ids[:1], batch=BATCHES)
    assert "other tiles than the store" in message("tiny+tvn", "replicate", tvn)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["none", "center", "standardise", "sphere", "tvn", "harmony"]),
    batches=st.none() | st.lists(st.sampled_from(["", "a", "b"]), min_size=6, max_size=6),
    controls=st.none() | st.lists(st.sampled_from(["true", "false"]), min_size=6, max_size=6),
)
def test_what_the_checks_let_pass_can_be_corrected(method, batches, controls):
    rows = pd.DataFrame({"tile_id": [f"t{n}" for n in range(6)]})
    if batches is not None:
        rows["batch"] = batches
    if controls is not None:
        rows["control"] = controls
    problems = role_problems(rows, CorrectionJob(method=method), "sheet.tsv")
    needs_controls = method not in ("none", "center", "harmony")
    if not any(batches or []):
        batches = None  # a column without any content is none
    is_fit = method == "none" or "" not in (batches or [])
    is_fit &= not needs_controls or (controls or []).count("true") > 1
    assert (not problems) == is_fit
    if is_fit and method != "none":
        marks = np.array([mark == "true" for mark in controls or ["false"] * 6])
        of_batch = None if batches is None else np.array(batches, dtype=object)
        own = Rows.of(of_batch, marks)
        assert np.isfinite(correct(VALUES[:6], own, method).embeddings).all()

"""A probe of another package is checked, estimated, run, compared and drawn."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factories import (
    CLASSES,
    REPOSITORY,
    STUDY,
    environment,
    snakemake_command,
    write_study,
    write_yaml,
)
from transferscope.stores.embedding_store import EmbeddingStore

pytestmark = pytest.mark.workflow
PAGE = REPOSITORY / "docs/add-a-probe.md"
ROOT = "results/tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a study that asks for the probe of the documentation, from a package of its own."""
    folder = write_study(
        tmp_path_factory.mktemp("study"),
        backbones=["handcrafted"],
        channel_strategies=["map"],
        heads={"kinds": ["logreg"]},
        knn={"k": []},
        probes={"centroids": {"centred": False}},
    )
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (module,) = (text for language, text in blocks if language == "python")
    package = folder / "package"
    package.mkdir()
    (package / "centroids.py").write_text(module)
    (package / "pyproject.toml").write_text(
        "\n".join(text for language, text in blocks if language == "toml")
        + '\n[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        + '[tool.setuptools]\npy-modules = ["centroids"]\n'
    )
    # Installed as any package is, into a folder of its own on the path.
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--target", folder / "installed", package),
        ],
        check=True,
    )
    return folder


def run(folder, *command):
    path = os.pathsep.join([str(folder / "installed"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        command,
        cwd=folder,
        env={**environment(), "PYTHONPATH": path.strip(os.pathsep)},
        capture_output=True,
        text=True,
        check=False,
    )


def check(folder, *options):
    program = str(Path(sys.executable).parent / "transferscope")
    return run(folder, program, "study", "check", "study.yaml", *options)


def test_the_study_check_counts_its_jobs_and_its_time(folder):
    done = check(folder, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["jobs"]["centroids"] == found["jobs"]["heads"] == 1
    without = {**STUDY, "backbones": ["handcrafted"], "channel_strategies": ["map"]}
    without |= {"heads": {"kinds": ["logreg"]}, "knn": {"k": []}}
    write_yaml(folder / "without.yaml", without)
    program = str(Path(sys.executable).parent / "transferscope")
    less = json.loads(run(folder, program, "study", "check", "without.yaml", "--json").stdout)
    # Seconds on the rates of two moments: only that it counts, and not how much, is compared.
    assert "centroids" not in less["jobs"]
    assert found["head_hours"] > 0


def test_it_is_run_compared_and_drawn(folder):
    done = run(folder, *snakemake_command(folder, "--quiet", "rules"))
    assert done.returncode == 0, done.stdout + done.stderr
    summary = pd.read_csv(folder / ROOT / "summary.csv")
    assert {"logreg", "centroids", "floor"} == set(summary["head"])
    assert "centroids" in (folder / ROOT / "compare/differences.csv").read_text()
    svg = (folder / ROOT / "figures/strategies.svg").read_text()
    assert svg.startswith("<?xml")
    assert "centroids" in (folder / ROOT / "summary.md").read_text() + svg


def test_its_predictions_are_those_of_the_definition(folder):
    """Each tile has one class: that of the nearest mean of unit vectors."""
    values = EmbeddingStore(folder / ROOT / "embeddings/cells/handcrafted/features.json").read()
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    place = folder / ROOT / "scores/centroids/cells/handcrafted"
    predictions = pd.read_parquet(place / "features.predictions.parquet")
    splits = pd.read_parquet(folder / ROOT / "splits/cells.parquet")
    chosen = {"scheme": "group", "seed": 0, "fold": 0}
    of_fold = (splits[list(chosen)] == pd.Series(chosen)).all(axis=1)
    train = splits[of_fold & (splits["role"] == "train")]["row"].to_numpy()
    found = predictions[
        (predictions[list(chosen)] == pd.Series(chosen)).all(axis=1) & (predictions.fraction == 1)
    ]
    labels = pd.read_parquet(folder / ROOT / "tiles/cells.tiles.parquet")["labels"].astype(str)
    codes, names = pd.factorize(labels, sort=True)
    centroids = np.stack([values[train][codes[train] == c].mean(axis=0) for c in range(len(names))])
    expected = (values[found["row"]] @ centroids.T).argmax(axis=1)
    predicted = found.filter(regex=r"^predicted_").to_numpy().argmax(axis=1)
    assert [CLASSES[i] for i in predicted] == [names[i] for i in expected]


def test_a_wrong_setting_and_a_probe_that_is_not_installed_are_named_before_any_job(folder):
    study = {**STUDY, "backbones": ["handcrafted"], "probes": {"centroids": {"centered": 1}}}
    study["probes"]["centriods"] = {}
    write_yaml(folder / "wrong.yaml", study)
    program = str(Path(sys.executable).parent / "transferscope")
    done = run(folder, program, "study", "check", "wrong.yaml")
    assert done.returncode == 1
    assert "probes.centroids, key centered: unknown key" in done.stderr
    assert 'Did you mean "centred"?' in done.stderr
    assert 'probes.centriods: no probe "centriods" is installed' in done.stderr
    assert 'Did you mean "centroids"?' in done.stderr
    assert "Traceback" not in done.stderr

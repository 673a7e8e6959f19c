"""A public dataset from its bucket to scores, against a server on this machine."""

import resource
import shutil

import pandas as pd
import pytest
import yaml

import factories
from factories import STUDY, planned_jobs, run_snakemake, write_yaml
from file_server import FileServer, Status, serving
from opencell_bucket import PREFIX, annotation_table, simulated_bucket, write_fetched

pytestmark = pytest.mark.workflow
N_PROTEINS, N_FIELDS = 16, 2
SCORES = "results/tiny/scores/knn/opencell/handcrafted/features.parquet"


@pytest.fixture(scope="module")
def server():
    files, annotations, classes = simulated_bucket(N_PROTEINS, N_FIELDS)
    files["/annotations.csv"] = annotations.encode()
    running = FileServer(files, page_size=12)
    running.classes = classes
    with serving(running):
        yield running


def write_card(folder, server, **settings):
    write_yaml(
        folder / "opencell.yaml",
        {
            "name": "opencell",
            "channels": ["nucleus", "protein"],
            "pixel_size_um": 0.5,
            "intensity_range": {"nucleus": [100, 2500], "protein": [100, 2500]},
            "labels": server.classes,
            "fetch": {
                "kind": "opencell",
                "url": f"{server.url}/{PREFIX}/",
                "annotations": f"{server.url}/annotations.csv",
                **settings,
            },
        },
    )


@pytest.fixture(scope="module")
def study(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetch")
    write_card(folder, server)
    changes = {
        "datasets": ["opencell.yaml"],
        "backbones": ["handcrafted"],
        "splits": {
            "schemes": ["group"],
            "folds": {"group": 2},
            "halves": 1,
            "fractions": [1.0],
            "rare_classes": "drop",
        },
        "heads": {"kinds": []},
        "knn": {"k": [1]},
    }
    write_yaml(folder / "study.yaml", {**STUDY, **changes})
    return folder


@pytest.fixture(autouse=True)
def network(monkeypatch, study):
    """Let the runs use the network of this machine, and a cache of their own."""
    offline = factories.environment
    online = {"HF_HUB_OFFLINE": "0", "TRANSFERSCOPE_CACHE": str(study / "cache")}
    monkeypatch.setattr(factories, "environment", lambda: {**offline(), **online})


def test_a_study_fetches_what_it_needs_and_only_once(server, study):
    jobs = planned_jobs(study, "--", SCORES)
    assert jobs["fetch"] == 1
    assert not [path for path in server.paths() if path.endswith(".tif")]

    broken = next(path for path in server.files if path.endswith("_proj.tif"))
    server.faults = {broken: [Status(404)]}
    failed = run_snakemake(study, "--", SCORES, check=False)
    assert failed.returncode != 0
    assert f"{server.url}{broken}: the server answered 404" in failed.stderr
    assert "Traceback" not in failed.stderr

    server.requests.clear()
    run_snakemake(study, "--", SCORES)
    assert server.paths() == [broken]
    scores = pd.read_parquet(study / SCORES)
    assert set(scores["head"]) == {"knn"}
    table = pd.read_parquet(study / "results/tiny/tiles/opencell.tiles.parquet")
    assert len(table) == N_PROTEINS * N_FIELDS
    assert set(table.columns) >= {"gene", "cell_line"}

    # Changed only in how it is fetched, or fetched again: nothing to do after it.
    write_card(study, server, downloads={"connections": 2})
    run_snakemake(study, "--forcerun", "fetch", "--", SCORES)
    assert planned_jobs(study, "--", SCORES) == {}
    assert server.paths() == [broken]

    # Other proteins: everything that is made of them.
    write_card(study, server, limit=12)
    assert set(planned_jobs(study, "--", SCORES)) == set(jobs)


def test_all_of_opencell_is_planned_in_seconds(server, study, tmp_path):
    (tmp_path / "table.csv").write_text(annotation_table([server.classes[:2]] * 1310))
    write_card(tmp_path, server, annotations="table.csv")
    card = yaml.safe_load((tmp_path / "opencell.yaml").read_text())
    write_yaml(tmp_path / "opencell.yaml", {**card, "labels": server.classes[:2]})
    shutil.copy(study / "study.yaml", tmp_path)
    server.requests.clear()
    assert planning_seconds(tmp_path, {"fetch", "tiles", "embed"}) < 10
    raw = tmp_path / "results/tiny/raw/opencell"
    write_fetched(tmp_path / "opencell.yaml", raw / "samples.tsv", raw / "fetched.json")
    assert planning_seconds(tmp_path, {"tiles", "embed"}) < 10
    assert server.requests == []


def planning_seconds(folder, expected):
    """Return the processor time of a dry run, which must plan the expected jobs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = planned_jobs(folder, "--", SCORES)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert set(jobs) - {"splits", "knn"} == expected
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

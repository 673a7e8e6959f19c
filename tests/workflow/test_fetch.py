"""A public dataset from its bucket to scores, against a server on this machine."""

import pytest

import factories
from factories import STUDY, planned_jobs, run_snakemake, write_yaml
from file_server import FileServer, Status, serving
from opencell_bucket import PREFIX, simulated_bucket

pytestmark = pytest.mark.workflow
N_PROTEINS, N_FIELDS = 16, 2


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
    assert planned_jobs(study)["fetch"] == 1
    assert not [path for path in server.paths() if path.endswith(".tif")]

    broken = next(path for path in server.files if path.endswith("_proj.tif"))
    server.faults = {broken: [Status(404)]}
    failed = run_snakemake(study, check=False)
    assert failed.returncode != 0
    assert f"{server.url}{broken}: the server answered 404" in failed.stderr
    assert "Traceback" not in failed.stderr

    server.requests.clear()
    run_snakemake(study)
    assert server.paths() == [broken]
    root = study / "results/tiny"
    assert (root / "summary.csv").stat().st_size > 0
    assert (root / "tiles/opencell.zarr").is_dir()

    server.requests.clear()
    assert planned_jobs(study) == {}
    assert set(planned_jobs(study, "--forcerun", "fetch")) == {"fetch"}
    run_snakemake(study, "--forcerun", "fetch")
    assert planned_jobs(study) == {}
    assert server.requests == []

    write_card(study, server, downloads={"connections": 2})
    assert planned_jobs(study) == {}
    write_card(study, server, limit=12)
    assert {"fetch", "tiles"} <= set(planned_jobs(study))

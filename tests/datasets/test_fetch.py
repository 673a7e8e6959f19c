import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from factories import environment
from file_server import Cut, Damage, FileServer, Silence, Status, serving
from opencell_bucket import (
    PREFIX,
    annotation_table,
    bucket_of_noise,
    ensembl_id,
    write_fetched,
)
from transferscope.cards import DatasetCard
from transferscope.config.model import read_model
from transferscope.config.probes import SplitSettings
from transferscope.datasets.fetch import fetch
from transferscope.errors import UserError
from transferscope.study.fetch_checks import check_fetch, check_fetched

CLASSES = ["er", "golgi", "vesicles"]
N_PROTEINS, N_FIELDS = 6, 2
SPLITS = SplitSettings(schemes=["group", "image"], folds={"group": 2, "image": 2}, seeds=[0])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("TRANSFERSCOPE_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRANSFERSCOPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server():
    files = bucket_of_noise(N_PROTEINS, N_FIELDS)
    labels = [[CLASSES[number % 3]] for number in range(N_PROTEINS)]
    files["/annotations.csv"] = annotation_table(labels).encode()
    with serving(FileServer(files, page_size=10)) as running:
        yield running


class Dataset:
    """A card in a folder, and where its data go."""

    def __init__(self, place, server, **settings):
        self.path = place / "opencell.yaml"
        self.sheet = place / "out/samples.tsv"
        self.manifest = place / "out/fetched.json"
        self.files = place / "out/files"
        self.server = server
        self.write(**settings)

    def write(self, labels=CLASSES, **settings):
        value = {
            "name": "opencell",
            "channels": ["nucleus", "protein"],
            "labels": labels,
            "fetch": {
                "kind": "opencell",
                "url": f"{self.server.url}/{PREFIX}/",
                "annotations": f"{self.server.url}/annotations.csv",
                "downloads": {"attempts": 3, "timeout_s": 0.5},
                **settings,
            },
        }
        self.path.write_text(yaml.safe_dump(value))

    @property
    def card(self):
        return read_model(self.path, DatasetCard)

    def fetch(self):
        fetch(self.card, self.path, self.sheet, self.manifest)

    def check(self):
        return check_fetch(self.card, self.path, self.sheet, SPLITS)


@pytest.fixture
def dataset(tmp_path, server):
    return Dataset(tmp_path, server)


def images(server):
    return [path for path in server.paths() if path.endswith(".tif")]


def test_everything_is_there_and_a_second_run_asks_for_nothing(dataset, server):
    dataset.fetch()
    for line in dataset.sheet.read_text().splitlines()[1:]:
        path = dataset.sheet.parent / line.split("\t")[1]
        key = f"/{PREFIX}/{path.name.split('_')[1]}_{path.parent.name}/{path.name}"
        assert path.read_bytes() == server.files[key]
    assert len(images(server)) == N_PROTEINS * N_FIELDS
    manifest = json.loads(dataset.manifest.read_text())
    assert (manifest["fields"], manifest["groups"]) == (N_PROTEINS * N_FIELDS, N_PROTEINS)
    before = {path: path.stat().st_mtime_ns for path in dataset.files.rglob("*.tif")}
    texts = dataset.sheet.read_bytes(), dataset.manifest.read_bytes()
    dated = dataset.sheet.stat().st_mtime_ns
    server.requests.clear()
    dataset.fetch()
    assert server.requests == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (dataset.sheet.read_bytes(), dataset.manifest.read_bytes()) == texts
    assert dataset.sheet.stat().st_mtime_ns == dated


def test_faults_end_in_all_files_or_in_a_clear_list(dataset, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    every = sorted(path for path in server.files if path.endswith("_proj.tif"))
    server.files[every[1]] = b"x" * 100_000
    server.faults = {
        every[0]: [Status(500), Status(500)],
        every[1]: [Cut(70_000)],
        every[2]: [Status(429, retry_after="1")],
        every[3]: [Status(404)],
        every[4]: [Damage()],
    }
    with pytest.raises(UserError) as caught:
        dataset.fetch()
    assert [problem.where.rpartition("/")[2] for problem in caught.value.problems] == [
        every[3].rpartition("/")[2],
        every[4].rpartition("/")[2],
    ]
    assert "404" in caught.value.problems[0].what
    assert "checksum" in caught.value.problems[1].what
    assert f"{server.url}{every[4]}" in caught.value.problems[1].what
    assert not dataset.sheet.exists()
    assert not dataset.manifest.exists()
    assert [bool(asked) for path, asked in server.requests if path == every[1]] == [False, True]
    server.requests.clear()
    dataset.fetch()
    assert sorted(server.paths()) == every[3:5]


def test_a_slow_answer_is_asked_again(dataset, server):
    slow = next(path for path in server.files if path.endswith("_proj.tif"))
    server.faults = {slow: [Silence(0, 1.5)]}
    dataset.fetch()
    assert dataset.manifest.exists()
    assert server.paths().count(slow) == 2


def test_a_killed_fetch_goes_on(dataset, server):
    every = sorted(path for path in server.files if path.endswith("_proj.tif"))
    server.files[every[6]] = b"x" * 400_000
    server.faults = {every[6]: [Silence(300_000, 10)]}
    dataset.write(downloads={"connections": 1})
    program = "import sys; from transferscope.commands.app import main; main()"
    command = [sys.executable, "-c", program, "fetch", "--card", str(dataset.path)]
    process = subprocess.Popen(
        [*command, "--sheet", str(dataset.sheet)],
        env={**environment(), "HF_HUB_OFFLINE": "0"},
        stderr=subprocess.DEVNULL,
    )
    for _ in range(1000):
        if any(part.stat().st_size > 250_000 for part in dataset.files.rglob(".*.part")):
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not dataset.sheet.exists()
    fetched = set(dataset.files.rglob("*_proj.tif"))
    assert len(fetched) == 6
    server.requests.clear()
    dataset.fetch()
    assert sorted(server.paths()) == every[6:]
    assert dict(server.requests)[every[6]] is not None
    assert (dataset.manifest).exists()


def test_a_smaller_choice_is_part_of_a_larger_one(dataset, server):
    dataset.write(limit=3)
    dataset.fetch()
    lines = set(dataset.sheet.read_text().splitlines())
    assert len(lines) == 1 + 3 * N_FIELDS
    assert {line.split("\t")[3] for line in lines} == {"labels", *CLASSES}
    server.requests.clear()
    dataset.write()
    dataset.fetch()
    assert lines < set(dataset.sheet.read_text().splitlines())
    assert len(images(server)) == (N_PROTEINS - 3) * N_FIELDS


def test_two_studies_share_a_folder(tmp_path, dataset, server):
    dataset.write(folder="shared/opencell")
    dataset.fetch()
    server.requests.clear()
    other = Dataset(tmp_path, server, folder="shared/opencell")
    other.sheet, other.manifest = tmp_path / "b/samples.tsv", tmp_path / "b/fetched.json"
    other.fetch()
    assert server.requests == []
    assert other.sheet.read_bytes() == dataset.sheet.read_bytes()
    assert other.manifest.read_bytes() == dataset.manifest.read_bytes()
    assert (tmp_path / "b/files").resolve() == tmp_path / "shared/opencell"
    other.write(folder="elsewhere")
    other.fetch()
    assert (tmp_path / "b/files").resolve() == tmp_path / "elsewhere"


def test_files_of_an_earlier_fetch_are_not_forgotten(tmp_path, dataset):
    dataset.fetch()
    dataset.write(folder="elsewhere")
    with pytest.raises(UserError, match="holds files of an earlier fetch"):
        dataset.fetch()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, dataset):
    (tmp_path / "taken").write_text("a file")
    dataset.write(folder="taken/below")
    with pytest.raises(UserError, match=r"taken.*cannot be read or written"):
        dataset.fetch()


def test_offline_what_is_here_is_enough(dataset, server, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_OFFLINE", "1")
    with pytest.raises(UserError, match="switched off"):
        dataset.fetch()
    monkeypatch.delenv("TRANSFERSCOPE_OFFLINE")
    dataset.fetch()
    monkeypatch.setenv("TRANSFERSCOPE_OFFLINE", "1")
    server.requests.clear()
    dataset.fetch()
    assert server.requests == []
    next(dataset.files.rglob("*_proj.tif")).unlink()
    with pytest.raises(UserError, match="1 of 12 files are not here"):
        dataset.fetch()


def test_a_changed_file_at_the_source_changes_the_manifest(dataset, server):
    dataset.fetch()
    before = dataset.manifest.read_text()
    changed = next(path for path in server.files if path.endswith("_proj.tif"))
    server.files[changed] = server.files[changed][::-1]
    (dataset.files / "listing.json").unlink()
    server.requests.clear()
    dataset.fetch()
    assert images(server) == [changed]
    assert dataset.manifest.read_text() != before


def test_sound_cards_pass_before_and_after_the_fetch(dataset):
    assert dataset.check() == []
    dataset.fetch()
    assert dataset.check() == []
    assert check_fetched(dataset.sheet, dataset.manifest) == []


def test_classes_and_counts_are_checked_before_anything_is_fetched(dataset, server):
    dataset.write(labels=["er", "golgi", "vesicle"])
    (problem,) = dataset.check()
    assert "vesicle" in problem.what
    assert "vesicles" in problem.fix
    dataset.write(limit=3)
    assert ["1 groups" in problem.what for problem in dataset.check()] == [True] * 3
    dataset.write(grades="single")
    assert "no field at all" in dataset.check()[0].what
    assert images(server) == []


def test_a_table_that_is_wrong_is_named_before_the_fetch(dataset, server, tmp_path):
    (tmp_path / "table.csv").write_text("ensg_id,target_name,annotation_name\nENSG1,A,er\n")
    dataset.write(annotations="table.csv")
    assert "annotation_grade" in dataset.check()[0].what
    dataset.write(annotations="none.csv")
    assert "does not exist" in dataset.check()[0].what
    dataset.write(annotations=f"{server.url}/none.csv")
    assert "404" in dataset.check()[0].what
    dataset.write(annotations_sha256="0" * 64)
    assert "checksum" in dataset.check()[0].what


def test_without_a_network_the_check_is_left_to_the_fetch(dataset, caplog):
    dataset.write(
        annotations="http://no-such-host.invalid/table.csv", url="s3://no-such-bucket/raw/"
    )
    assert dataset.check() == []
    assert "not checked before the fetch" in caplog.text


def test_a_server_out_of_order_does_not_stop_a_dry_run(dataset, server, caplog):
    server.faults["/annotations.csv"] = [Status(503)]
    assert dataset.check() == []
    assert "503" in caplog.text


def test_gone_files_are_told_before_the_tiles_are_made(dataset):
    assert check_fetched(dataset.sheet, dataset.manifest) == []
    dataset.fetch()
    next((dataset.files / ensembl_id(2)).glob("*.tif")).unlink()
    (problem,) = check_fetched(dataset.sheet, dataset.manifest)
    assert "1 fetched files are gone" in problem.what
    assert str(dataset.manifest) in problem.fix


def test_the_checks_of_the_whole_dataset_take_seconds(dataset, server):
    """What a dry run costs once 6,301 fields are there, in processor time."""
    labels = [[CLASSES[number % 3]] for number in range(1310)]
    server.files["/annotations.csv"] = annotation_table(labels).encode()
    write_fetched(dataset.path, dataset.sheet, dataset.manifest)
    began = time.process_time()
    assert dataset.check() == []
    assert check_fetched(dataset.sheet, dataset.manifest) == []
    assert time.process_time() - began < 5
    assert images(server) == []

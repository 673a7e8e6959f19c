"""The published OpenCell study in small: a local bucket, and checkpoints in the real layouts."""

import argparse
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
import zarr

import factories
from checkpoint_files import prefixed, vit_state
from factories import REPOSITORY, write_yaml
from file_server import FileServer, serving
from opencell_bucket import PREFIX, simulated_bucket

pytestmark = pytest.mark.workflow
N_PROTEINS, N_FIELDS = 24, 2
WIDTH, DEPTH, SIDE = 64, 2, 3
STUDY = REPOSITORY / "resources/studies/opencell-paper.yaml"
STORES = "results/opencell-paper/embeddings/opencell"
SMALL = {
    "strategy_seeds": [0],
    "splits": {"folds": {"image": 2}, "seeds": [0], "fractions": [0.5, 1.0], "halves": 1},
    "heads": {"epochs": 3, "hidden": [16, 8]},
    "finetune": {"epochs": 1, "fractions": [1.0], "batch_size": 16},
    "knn": {"k": [1, 3]},
    "compute": {"device": "cpu", "threads": 1, "probe_threads": 1},
    "compare": {"bootstrap": 100},
    "figures": {"dpi": 50},
}
# Where each backbone's small file is served, and how many channels it has.
FILES = {
    "dino-vitb16": ("/dino_vitbase16_pretrain.pth", 3),
    "dino4cells-hpa-fov": ("/DINO_FOV_checkpoint.pth", 4),
    "dino4cells-hpa-cell": ("/DINO_single_cell_checkpoint.pth", 4),
}
TRAINED = "dino-vitb16-opencell"


def checkpoint(name: str, channels: int) -> bytes:
    """Return a checkpoint as its authors save it: plain for ImageNet, else a training state."""
    state = vit_state(WIDTH, DEPTH, channels, side=SIDE, seed=channels + len(name))
    content = state
    if name != "dino-vitb16":
        teacher = prefixed(state, "module.backbone.") | {
            "module.head.last_layer.weight_v": torch.zeros(2, 2)
        }
        content = {
            "teacher": teacher,
            "student": {key: torch.zeros_like(value) for key, value in teacher.items()},
            "optimizer": {"state": {}, "param_groups": []},
            "args": argparse.Namespace(arch="vit_base"),
            "epoch": 100,
        }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server():
    files, annotations, classes = simulated_bucket(N_PROTEINS, N_FIELDS)
    files["/annotations.csv"] = annotations.encode()
    files |= {path: checkpoint(name, channels) for name, (path, channels) in FILES.items()}
    running = FileServer(files)
    running.classes = classes
    with serving(running):
        yield running


def shipped(kind: str, name: str) -> dict[str, object]:
    return yaml.safe_load((REPOSITORY / f"resources/{kind}/{name}.yaml").read_text())


@pytest.fixture(scope="module")
def folder(server, tmp_path_factory):
    """A working folder whose cards differ from the shipped ones in addresses and sizes only."""
    folder = tmp_path_factory.mktemp("paper")
    dataset = shipped("datasets", "opencell")
    dataset["labels"] = server.classes
    dataset["fetch"] |= {
        "url": f"{server.url}/{PREFIX}/",
        "annotations": f"{server.url}/annotations.csv",
        "annotations_sha256": None,
    }
    write_yaml(folder / "resources/datasets/opencell.yaml", dataset)
    small = {
        "architecture": "vit_base_patch16_224",
        "arguments": {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": 1},
        "input_size": 16 * SIDE,
    }
    for name, (path, _) in FILES.items():
        card = shipped("backbones", name)
        if card["source"] == "timm":
            del card["pretrained"]
        card |= {"source": "url", "url": server.url + path, **small}
        write_yaml(folder / f"resources/backbones/{name}.yaml", card)
    card = shipped("backbones", TRAINED) | small | {"epochs": 1, "batch_size": 8}
    card["objective"] |= {"output_width": 32, "hidden_width": 16, "bottleneck_width": 8}
    write_yaml(folder / f"resources/backbones/{TRAINED}.yaml", card)
    write_yaml(folder / "small.yaml", SMALL)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {
        **factories.environment(),
        "HF_HUB_OFFLINE": "0",
        "TRANSFERSCOPE_CACHE": str(folder / "cache"),
    }


def run(folder: Path, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [Path(sys.executable).parent / program, *map(str, arguments)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def snakemake(folder: Path, *arguments: str) -> str:
    files = ["--configfile", STUDY, "small.yaml"]
    start = ["--snakefile", REPOSITORY / "Snakefile", "--directory", ".", *files]
    done = run(folder, "snakemake", *start, "--cores", 2, *arguments)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(folder, server):
    """Check the study first, as a user would, then run it; return what the check had said."""
    said = json.loads(run(folder, "transferscope", "study", "check", STUDY, "--json").stdout)
    snakemake(folder)
    return said


def test_the_check_says_what_will_be_fetched(finished, folder):
    # The annotation table is read for it; the images of all its proteins are yet to come.
    assert finished["fields"]["opencell"]["n_fields"] >= N_PROTEINS
    expected = {"images of opencell", *(f"weights of {name}" for name in FILES)}
    assert set(finished["downloads"]) == expected
    again = json.loads(run(folder, "transferscope", "study", "check", STUDY, "--json").stdout)
    assert again["downloads"] == {}
    assert again["fields"]["opencell"]["n_fields"] == N_PROTEINS * N_FIELDS


def test_each_backbone_is_scored_under_each_strategy(finished, folder):
    summary = pd.read_csv(folder / "results/opencell-paper/summary.csv")
    found = set(summary[["backbone", "channels"]].itertuples(index=False, name=None))
    backbones = [*FILES, TRAINED]
    assert found == {(b, s) for b in backbones for s in ("replicate", "map", "map-random")}
    assert set(summary["scheme"]) == {"image"}
    assert set(summary["head"]) == {"floor", "mlp", "knn", "finetune-full"}
    tuned = summary[summary["head"] == "finetune-full"]
    assert set(tuned["backbone"]) == {"dino4cells-hpa-fov"}
    seen = summary.groupby("backbone")["seen_in_training"].unique().str.join(", ")
    assert seen.to_dict() == {**dict.fromkeys(FILES, "no"), TRAINED: "images"}
    assert set(summary["fraction"]) == {0.5, 1.0}
    assert (folder / "results/opencell-paper/figures/scaling.png").is_file()


def test_the_stores_name_each_slot_and_differ_by_backbone(finished, folder):
    slots = {
        name: zarr.open(folder / STORES / name / "map.zarr").attrs["slots"][0] for name in FILES
    }
    hpa = {"microtubules": None, "protein": "protein", "nucleus": "nucleus", "er": None}
    assert slots["dino4cells-hpa-fov"] == slots["dino4cells-hpa-cell"] == hpa
    assert slots["dino-vitb16"] == {"red": None, "green": "protein", "blue": "nucleus"}
    weights = {
        name: zarr.open(folder / STORES / name / "map.zarr").attrs["weights_sha256"]
        for name in FILES
    }
    assert len(set(weights.values())) == len(FILES)


def test_a_finished_study_fetches_and_plans_nothing(finished, folder, server):
    server.requests.clear()
    assert "Nothing to be done" in snakemake(folder, "--dry-run")
    assert server.requests == []


def write_what_is_named(path, folder):
    """Copy a card whose sheet a user makes, and write a sheet of that name."""
    card = yaml.safe_load(path.read_text())
    if "sheet" not in card:
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, folder)
    rows = ["tile_id\tpath\tgroup\tlabels\tmask"]
    for number in range(12):
        label = card["labels"][number % 2]
        rows.append(f"t{number}\t{number}.png\tg{number}\t{label}\tmask{number}.png")
        pixels = np.full((256, 256), number, np.uint16)
        for name in (f"{number}.png", f"mask{number}.png"):
            (folder / name).write_bytes(imagecodecs.png_encode(pixels))
    (folder / card["sheet"]).write_text("\n".join([*rows, ""]))


@pytest.mark.parametrize("study", sorted((REPOSITORY / "resources/studies").glob("*.yaml")))
def test_every_ready_study_is_named_as_its_file_and_plans(study, tmp_path):
    ours = yaml.safe_load(study.read_text())
    assert ours["study"] == study.stem
    start = ["--snakefile", REPOSITORY / "Snakefile", "--directory", tmp_path]
    cards = [REPOSITORY / f"resources/datasets/{name}.yaml" for name in ours["datasets"]]
    for card in cards:
        write_what_is_named(card, tmp_path / "resources/datasets")
    done = run(tmp_path, "snakemake", *start, "--configfile", study, "--cores", 2, "--dry-run")
    fetched = [card for card in cards if "fetch" in yaml.safe_load(card.read_text())]
    assert ("fetch" in done.stdout + done.stderr) == bool(fetched)

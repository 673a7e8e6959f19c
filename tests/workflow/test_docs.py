"""Every command of the documentation, typed as written into a copy of the project."""

import json
import re
import shutil

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import tifffile
import timm
import yaml
from safetensors.torch import save_file

from doc_pages import blocks, run, run_block
from factories import CLASSES, write_raw, write_yaml
from file_server import FileServer, serving
from opencell_bucket import PREFIX, simulated_bucket
from transferscope.simulate import simulate_dataset
from transferscope.study.defaults import merged

pytestmark = pytest.mark.workflow
PAGES = [
    "your-own-images.md",
    "store-format.md",
    "open-a-study.md",
    "api.md",
    "add-a-dataset.md",
    "add-a-backbone.md",
    "train-a-backbone.md",
    "scaling.md",
    "channel-strategies.md",
    "ready-studies.md",
    "single-cells.md",
    "results.md",
    "predict.md",
    "given-features.md",
    "known-biology.md",
    "batches-and-sites.md",
    "besides-biology.md",
    "across-datasets.md",
    "channel-ablation.md",
    "joining-backbones.md",
    "compare-masks.md",
    "segment.md",
    "label-by-hand.md",
    "fine-tune.md",
    "look-after-a-study.md",
    "clusters.md",
    "remote-data.md",
    "carry-over.md",
]
# Defaults of the copy: the commands stay as written, and their studies are small.
SMALL = {
    "splits": {
        "folds": {"group": 2, "image": 2},
        "fractions": [0.5, 1.0],
        "halves": 1,
        "seeds": [0],
    },
    "heads": {"epochs": 5, "hidden": [32, 16]},
    "compare": {"bootstrap": 100},
    "figures": {"dpi": 60},
}


@pytest.fixture(scope="module")
def checkout(repository, tmp_path_factory):
    """Return a copy of the project with the images that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs") / "transferscope"
    ignored = shutil.ignore_patterns(".venv", ".git", ".snakemake", "results", ".*_cache")
    shutil.copytree(repository, folder, ignore=ignored)
    defaults = folder / "workflow/defaults.yaml"
    write_yaml(defaults, merged(yaml.safe_load(defaults.read_text()), SMALL))
    write_raw(folder / "images")
    sheet = pd.read_csv(folder / "images/samples.tsv", sep="\t")
    (folder / "images/samples.tsv").unlink()
    labels = sheet.drop_duplicates("group")[["group", "labels"]]
    labels.columns = ["gene", "localization"]
    labels.to_csv(folder / "labels.csv", index=False)
    # What a person would have saved from the page.
    by_hand = sheet[["tile_id", "labels"]].assign(labeller="Jo", time="")
    by_hand.iloc[:-3].to_csv(folder / "my-cells-labels.csv", index=False)
    write_hpa(folder)
    write_nuclei(folder)
    network = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=0)
    save_file(network.state_dict(), folder / "resources/backbones/my-vit.safetensors")
    return folder


def write_nuclei(folder):
    """Write discs as the archives of the Broad Bioimage Benchmark Collection have nuclei."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((256, 256))
    for number in range(24):
        places = rng.integers(20, 236, (3 + number % 4, 2))
        discs = [np.hypot(rows - y, columns - x) < 9 for y, x in places]
        grey = rng.poisson(2 + number % 2 * 20, (256, 256)) + 90 * np.any(discs, axis=0)
        image = np.stack([grey] * 3 + [np.full_like(grey, 255)], axis=2).astype(np.uint8)
        image = 255 - image if number == 23 else image  # as bright field: left out
        own = folder / f"stage1_train/{number:016x}{0:048x}"
        for name, pixels in [
            (f"images/{own.name}", image),
            *((f"masks/{n}", 255 * disc.astype(np.uint8)) for n, disc in enumerate(discs)),
        ]:
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / f"{name}.png").write_bytes(imagecodecs.png_encode(pixels))
        stem = f"IXMtest_{'ABCDEFGH'[number % 8]}02_s{number // 8 + 1}_w1{number:08X}"
        colours = np.zeros((520, 696, 4), np.uint8)
        for n, disc in enumerate(discs):
            colours[:256, :256][disc] = [1 + n % 2, 0, 0, 255]
        field = (
            np.full((520, 696), 130) + rng.integers(0, 20, (520, 696)) + 900 * (colours[..., 0] > 0)
        )
        for name in ("images", "masks"):
            (folder / "bbbc039" / name).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"bbbc039/images/{stem}.tif", field.astype(np.uint16))
        (folder / f"bbbc039/masks/{stem}.png").write_bytes(imagecodecs.png_encode(colours))


def write_hpa(folder):
    """Write fields as the Human Protein Atlas names them, and the list of a user."""
    sheet = pd.read_csv(simulate_dataset("hpa", folder / "hpa", 12, 1, 64, workers=1), sep="\t")
    (folder / "hpa/images").rename(folder / "hpa-images")
    columns = {"tile_id": "id", "group": "gene", "labels": "labels"}
    sheet[list(columns)].rename(columns=columns).to_csv(
        folder / "hpa-list.tsv", sep="\t", index=False
    )


@pytest.fixture(scope="module")
def bucket():
    """Return a server with OpenCell's layout, in place of the public one."""
    files, annotations, _ = simulated_bucket(60, 1)
    with serving(FileServer({**files, "/annotations.csv": annotations.encode()})) as server:
        yield server


def from_here(content, server):
    """Return a card of a page with the addresses of the local server."""
    kind = "kind: opencell\n"
    addresses = f"  url: {server.url}/{PREFIX}/\n  annotations: {server.url}/annotations.csv\n"
    return content.replace(kind, kind + addresses)


@pytest.fixture(scope="module")
def images(checkout, object_server):
    """Put the images of the pages into the bucket, too; return what a user sets to read them."""
    object_server.put(checkout / "images", "images")
    return object_server.environment()


def test_the_pages_work_as_written(repository, checkout, bucket, images):
    for page in PAGES:
        for language, content in blocks((repository / "docs" / page).read_text()):
            named = re.match(r"# (\S+\.yaml)\n", content)
            if language == "yaml" and named:
                (checkout / named.group(1)).write_text(from_here(content, bucket))
            else:
                run_block(language, content, checkout, images)
    assert (checkout / "results/my-study/summary.md").exists()
    manifests = [f"my-{kind}study/tiles/my-{kind}cells.json" for kind in ("", "far-", "taken-")]
    contents = {
        json.loads((checkout / "results" / name).read_text())["content_sha256"]
        for name in manifests
    }
    assert len(contents) == 1, "the same tiles, from disk, from an object store and published"
    labelled = pd.read_parquet(checkout / "results/my-study/labels/my-cells.parquet")
    assert (labelled["labels"] == "").sum() == 3
    assert (labelled["labeller"] == "Jo").sum() == len(labelled) - 3
    fetched = pd.read_csv(checkout / "results/my-opencell/raw/opencell-small/samples.tsv", sep="\t")
    assert {"golgi", "membrane", "nucleoplasm", "vesicles"} <= set(fetched["labels"])
    assert (checkout / "hpa-sheet/files").resolve() == checkout / "hpa-images"
    assert (checkout / "results/my-study/report.html").exists()
    nuclei = pd.read_csv(checkout / "resources/datasets/dsb2018-fluorescence.tsv", sep="\t")
    assert len(nuclei) == 23
    assert nuclei["group"].nunique() < 23
    assert nuclei["nuclei"].between(1, 6).all()
    summary = pd.read_csv(checkout / "results/my-backbones/summary.csv")
    assert {"my-vit", "my-vit@mean"} <= set(summary["backbone"])


def test_every_page_with_commands_is_run(repository):
    run_languages = {"bash", "python"}
    with_commands = {
        str(page.relative_to(repository / "docs"))
        for page in (repository / "docs").rglob("*.md")
        if run_languages & {language for language, _ in blocks(page.read_text())}
    }
    run_elsewhere = {"tutorial.md", "add-a-probe.md"}  # by test_demo.py and test_added_probe.py
    assert with_commands == {*PAGES, *run_elsewhere}


def test_the_commands_of_the_readme_plan_the_demo(repository, checkout):
    commands = [
        line.partition("#")[0].strip()
        for _, content in blocks((repository / "README.md").read_text())
        for line in content.splitlines()
        if line.startswith("snakemake") and "my.yaml" not in line and "--report" not in line
    ]
    assert len(commands) == 2
    for command in commands:
        run(command if "-n" in command.split() else f"{command} --dry-run", checkout)


def test_the_classes_of_the_example_are_those_of_the_page(repository):
    assert ", ".join(CLASSES) in (repository / "docs/your-own-images.md").read_text()

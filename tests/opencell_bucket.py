"""OpenCell's bucket in small: simulated fields under the names that OpenCell gives its files."""

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import tifffile

from transferscope.cards import DatasetCard
from transferscope.config.model import read_model
from transferscope.datasets.inputs import fetch_fingerprint
from transferscope.simulate import DOMAINS, draw_proteins, simulate_fov

PREFIX = "microscopy/raw"


def file_name(gene: str, number: int, fov: int, files: str = "proj") -> str:
    """Return key of a file below the prefix; numbers of protein and field count from 1."""
    ensg_id = ensembl_id(number)
    fov_id = number * 100 + fov
    name = f"OC-FOV_{gene}_{ensg_id}_CID{number:06d}_FID{fov_id:08d}_{files}.tif"
    return f"{gene}_{ensg_id}/{name}"


def ensembl_id(number: int) -> str:
    return f"ENSG{number:011d}"


def annotation_table(labels: Sequence[Sequence[str]]) -> str:
    """Return the table of proteins 1, 2, ... with these labels of grade 3."""
    rows = [
        f"{ensembl_id(number)},GENE{number},{label},3"
        for number, names in enumerate(labels, 1)
        for label in names
    ]
    return "\n".join(["ensg_id,target_name,annotation_name,annotation_grade", *rows]) + "\n"


def bucket_of_noise(n_proteins: int, n_fields: int, lead: str = "") -> dict[str, bytes]:
    """Return served path and bytes of every file; the images are no images."""
    noise = random.Random(0)
    files = {
        f"{lead}/{PREFIX}/{file_name(f'GENE{number}', number, fov, kind)}": noise.randbytes(2000)
        for number in range(1, n_proteins + 1)
        for fov in range(n_fields)
        for kind in ("proj", "stack")
    }
    files[f"{lead}/{PREFIX}/readme.txt"] = b"not an image"
    return files


def simulated_bucket(n_proteins: int, n_fields: int) -> tuple[dict[str, bytes], str, list[str]]:
    """Return served files with simulated 64 px fields, the annotation table and the classes."""
    domain = DOMAINS["opencell"]
    proteins = draw_proteins(domain, n_proteins, seed=0)
    files = {}
    for number, protein in enumerate(proteins, 1):
        for fov in range(n_fields):
            image, _ = simulate_fov(domain, protein, fov, 64, 0)
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, image, metadata={"axes": "CYX"}, software=False)
            files[f"/{PREFIX}/{file_name(f'GENE{number}', number, fov)}"] = buffer.getvalue()
    labels = [protein.labels for protein in proteins]
    return files, annotation_table(labels), sorted({name for names in labels for name in names})


def write_fetched(card_path: Path, sheet: Path, manifest: Path) -> None:
    """Write what a fetch of all of OpenCell leaves behind, with empty images.

    1,310 proteins with 4 or 5 fields each, 6,301 in all; the bucket's listing has stacks, too.
    """
    card = read_model(card_path, DatasetCard)
    label = card.labels[0]
    listing, rows = [], ["tile_id\tpath\tgroup\tlabels\tfov\tgene\tcell_line"]
    for number in range(1, 1311):
        folder = sheet.parent / "files" / ensembl_id(number)
        folder.mkdir(parents=True)
        for fov in range(5 if number <= 1061 else 4):
            for files in ("proj", "stack"):
                name = file_name(f"GENE{number}", number, fov, files)
                listing.append(
                    {"name": name, "url": f"https://a.org/{name}", "size": 0, "etag": ""}
                )
            image = name.rpartition("/")[2].replace("_stack", "_proj")
            (folder / image).touch()
            tile_id = image.removeprefix("OC-FOV_").removesuffix("_proj.tif")
            path = f"files/{folder.name}/{image}"
            rows.append(f"{tile_id}\t{path}\t{folder.name}\t{label}\t{tile_id}\tG\tC")
    sheet.write_text("\n".join(rows) + "\n")
    saved = {"url": card.fetch.url, "files": listing}
    (sheet.parent / "files/listing.json").write_text(json.dumps(saved))
    manifest.write_text(json.dumps({"made_for": fetch_fingerprint(card, card_path)}))

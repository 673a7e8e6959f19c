"""OpenCell: from its bucket and annotation table to a sample sheet and a list of downloads.

Layout of the bucket: `<gene>_<ENSG>/OC-FOV_<gene>_<ENSG>_CID<6 digits>_FID<8 digits>_<files>.tif`.
Gene names may hold anything, so names are read from the right, and the Ensembl id is the group.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePosixPath

import pandas as pd

from transferscope.cards import DatasetCard, OpenCellFetch
from transferscope.datasets.annotations import Labels, labels_of_proteins
from transferscope.datasets.planned import FILES, Planned
from transferscope.errors import Problem, UserError
from transferscope.raw.sheets import LABEL_SEPARATOR
from transferscope.runtime.seeds import derive_seed
from transferscope.transport.bucket import BucketFile
from transferscope.transport.urls import inside, is_remote, local_path

FILE_NAME = re.compile(r"OC-FOV_(.+)_(ENSG\d+)_(CID\d+)_(FID\d+)_(proj|stack)\.tif")
COLUMNS = ["tile_id", "path", "group", "labels", "fov", "gene", "cell_line"]


@dataclass(frozen=True)
class Field:
    """A field as its file name describes it.

    Parameters
    ----------
    name
        Path of the file below the bucket's prefix or the local folder.
    gene, ensg_id, cell_line, fov
        What the file name says.
    files
        `proj` or `stack`.
    """

    name: str
    gene: str
    ensg_id: str
    cell_line: str
    fov: str
    files: str

    @property
    def tile_id(self) -> str:
        """Name of the field: unique, and readable."""
        return f"{self.gene}_{self.ensg_id}_{self.cell_line}_{self.fov}"


def parse_name(name: str) -> Field | None:
    """Return what a file name of OpenCell says; None where it is another file.

    Examples
    --------
    >>> parse_name("HLA-A_ENSG1/OC-FOV_HLA-A_ENSG1_CID000001_FID00000002_proj.tif").gene
    'HLA-A'
    """
    found = FILE_NAME.fullmatch(PurePosixPath(name).name)
    return Field(name, *found.groups()) if found else None


def choose_proteins(labels: Labels, limit: int | None, seed: int) -> list[str]:
    """Return the proteins of a smaller dataset, so that every class keeps some where possible.

    Class by class in turn, rarest first, each gives its next protein in an order that the seed
    fixes. Unlabelled proteins take turns as if they were the last class. A larger limit adds
    proteins to those of a smaller one.

    Parameters
    ----------
    labels
        Labels by Ensembl id.
    limit
        Number of proteins; None: all.
    seed
        Seed of the order.

    Returns
    -------
    list of str
        Ensembl ids, sorted.
    """
    if limit is None or limit >= len(labels):
        return sorted(labels)
    order = sorted(labels, key=lambda ensg_id: (derive_seed(seed, "opencell", ensg_id), ensg_id))
    members: dict[str, list[str]] = {}
    for ensg_id in order:
        for name in labels[ensg_id] or ("",):
            members.setdefault(name, []).append(ensg_id)
    turns = sorted(members, key=lambda name: (not name, len(members[name]), name))
    queues = [iter(members[name]) for name in turns]
    chosen: set[str] = set()
    for queue in itertools.cycle(queues):
        if len(chosen) >= limit:
            break
        chosen.update(itertools.islice((i for i in queue if i not in chosen), 1))
    return sorted(chosen)


def plan_opencell(
    card: DatasetCard,
    settings: OpenCellFetch,
    card_path: Path,
    folder: Path,
    annotations: pd.DataFrame,
    listing: Sequence[BucketFile] | None,
) -> Planned:
    """Return the sample sheet of OpenCell and what has to be fetched for it.

    Parameters
    ----------
    card, settings
        The dataset card and its `fetch`.
    card_path
        File of the card, to which its paths are relative.
    folder
        Where downloads go, unless the card names a folder.
    annotations
        As `read_annotations` returns it.
    listing
        What the bucket holds. None: not known yet, or the images are on this machine.

    Raises
    ------
    UserError
        Where a local folder holds no image of OpenCell, or the bucket an unsafe name.
    """
    all_labels = labels_of_proteins(annotations, settings.grades, settings.least_groups)
    labels = {
        ensg_id: tuple(name for name in card.labels if name in found)
        for ensg_id, found in all_labels.items()
    }
    if not is_remote(settings.url):
        root = local_path(settings.url, card_path.parent)
        fields = _local_fields(root, settings)
        return Planned(_sheet(fields, labels, settings, attrgetter("name")), root)
    root = settings.root(card_path, folder)
    if listing is None:
        return Planned(_one_row_a_protein(labels, annotations, settings), root, complete=False)
    files = {file.name: file for file in listing}
    fields = _fields(files, settings)
    table = _sheet(fields, labels, settings, _place)
    chosen = set(table["tile_id"])
    downloads = [
        files[field.name].download_to(inside(root, _place(field)))
        for field in fields
        if field.tile_id in chosen
    ]
    return Planned(table, root, downloads)


def _place(field: Field) -> str:
    """Return where a downloaded field goes: made of what the name says, not of the key."""
    return f"{field.ensg_id}/{PurePosixPath(field.name).name}"


def _fields(names: Iterable[str], settings: OpenCellFetch) -> list[Field]:
    found = [field for field in map(parse_name, names) if field and field.files == settings.files]
    return sorted(found, key=lambda field: (field.ensg_id, field.tile_id))


def _local_fields(root: Path, settings: OpenCellFetch) -> list[Field]:
    names = [path.relative_to(root).as_posix() for path in root.rglob("*.tif")]
    fields = _fields(names, settings)
    if not fields:
        what = f"no file is named as OpenCell names its {settings.files} images"
        raise UserError(Problem(str(root), what, "Check `fetch.url:` in the dataset card."))
    return fields


def _chosen(labels: Labels, settings: OpenCellFetch) -> list[str]:
    kept = {i: names for i, names in labels.items() if names or settings.unlabelled == "keep"}
    return choose_proteins(kept, settings.limit, settings.seed)


def _sheet(
    fields: Sequence[Field],
    labels: Labels,
    settings: OpenCellFetch,
    place: Callable[[Field], str],
) -> pd.DataFrame:
    there = {field.ensg_id: labels.get(field.ensg_id, ()) for field in fields}
    chosen = set(_chosen(there, settings))
    rows = [
        (
            field.tile_id,
            f"{FILES}/{place(field)}",
            field.ensg_id,
            LABEL_SEPARATOR.join(there[field.ensg_id]),
            field.fov,
            field.gene,
            field.cell_line,
        )
        for field in fields
        if field.ensg_id in chosen
    ]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=str)


def _one_row_a_protein(
    labels: Labels, annotations: pd.DataFrame, settings: OpenCellFetch
) -> pd.DataFrame:
    genes = dict(zip(annotations["ensg_id"], annotations["target_name"], strict=True))
    rows = [
        (ensg_id, ensg_id, LABEL_SEPARATOR.join(labels[ensg_id]), genes[ensg_id])
        for ensg_id in _chosen(labels, settings)
    ]
    return pd.DataFrame(rows, columns=["tile_id", "group", "labels", "gene"], dtype=str)

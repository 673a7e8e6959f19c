"""Human Protein Atlas fields: from a user's list to a sample sheet and a list of downloads.

The atlas stores a field as one file per colour: `<id>_red`, `_green`, `_blue` and `_yellow`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from transferscope.cards import DatasetCard, HpaFetch
from transferscope.cards.fetch import Colour
from transferscope.datasets.annotations import not_among
from transferscope.datasets.planned import FILES, Planned
from transferscope.errors import Problem, UserError, suggest
from transferscope.raw.names import nearly_classes
from transferscope.raw.sheets import CHANNEL_PATH_PREFIX, LABEL_SEPARATOR
from transferscope.raw.text_tables import Finding, as_problems, cells_of, read_table
from transferscope.transport.download import Download
from transferscope.transport.urls import https_url, inside, is_remote, local_path

PACKED = ".gz"
# Filled here; further columns of the list are carried along, except those that would name files.
OWN_COLUMNS = ("tile_id", "group", "labels", "fov", "path", "mask", "source", "y", "x")


def read_list(card: DatasetCard, settings: HpaFetch, card_path: Path) -> pd.DataFrame:
    """Read the user's list of images.

    Parameters
    ----------
    card, settings
        The dataset card and its `fetch`.
    card_path
        File of the card, to which the list is relative.

    Returns
    -------
    pandas.DataFrame
        `id`, `group`, `labels` (those of the card's class list, `;`-separated) and all other
        columns of the list, str; the index is the spreadsheet's row number.

    Raises
    ------
    UserError
        With every problem of the list.
    """
    path = card_path.parent / settings.list
    table = read_table(path, "fetch.list")
    wanted = settings.columns.model_dump()
    columns = list(table.columns)
    if missing := [(key, name) for key, name in wanted.items() if name not in columns]:
        raise UserError(
            Problem(
                f"{path}, row 1",
                f'the column "{name}" is missing',
                f"{suggest(name, columns)} Or name it in `fetch.columns.{key}` of {card_path}.",
            )
            for key, name in missing
        )
    own = pd.DataFrame({key: table[name] for key, name in wanted.items()})
    # A further column of the name of an own one is left out: it would be there twice.
    table = own.join(table.drop(columns=[*{*wanted.values(), *wanted} & {*columns}]))
    addresses = [_address(settings, image, "red") for image in table["id"]]
    if not any(map(is_remote, addresses)) and any(a.endswith(PACKED) for a in addresses):
        what = f"names packed files ({PACKED}) on this machine, which are read where they are"
        fix = f"Unpack them, for instance with `gunzip -k`, and name them without {PACKED}."
        raise UserError(Problem(f"{card_path}, key fetch.url", what, fix))
    separator = settings.label_separator
    given = [{label.strip() for label in cell.split(separator)} for cell in table["labels"]]
    known = sorted(set().union(*given) - {""})
    problems = as_problems(path, _findings(table))
    problems += not_among(known, card.labels, card_path, "no label of the list")
    counts = Counter(name for one in given for name in one)
    problems += nearly_classes(counts, card.labels, f"{path}, column {wanted['labels']}")
    if problems:
        raise UserError(problems)
    labels = [LABEL_SEPARATOR.join(name for name in card.labels if name in one) for one in given]
    return table.assign(labels=labels)


def plan_hpa(card: DatasetCard, settings: HpaFetch, card_path: Path, folder: Path) -> Planned:
    """Return the sample sheet of a list of atlas images and what has to be fetched for it.

    Parameters
    ----------
    card, settings
        The dataset card and its `fetch`.
    card_path
        File of the card, to which its paths are relative.
    folder
        Where downloads go, unless the card names a folder.

    Raises
    ------
    UserError
        With every problem of the list, and every id that would lead out of the folder.
    """
    listed = read_list(card, settings, card_path)
    if settings.unlabelled == "leave-out":
        listed = listed[listed["labels"] != ""]
    local = not any(is_remote(_address(settings, image, "red")) for image in listed["id"])
    root = settings.root(card_path, folder)
    if local:
        root = local_path(_fixed_folder(settings.url) or ".", card_path.parent)
    colours = [settings.colours[channel] for channel in card.channels]
    rows, problems = [], []
    for row, image in zip(listed.index, listed["id"], strict=True):
        try:
            rows.append([_file(settings, image, colour, root, local) for colour in colours])
        except UserError as error:
            where = f"{card_path.parent / settings.list}, row {row}, column id"
            problems += [Problem(where, p.what, "Give a plain id.") for p in error.problems]
    if problems:
        raise UserError(problems)
    paths = [[f"{FILES}/{d.path.relative_to(root).as_posix()}" for d in files] for files in rows]
    downloads = [] if local else [download for files in rows for download in files]
    return Planned(_sheet(listed, card, paths), root, downloads)


def _fixed_folder(template: str) -> str:
    """Return what stands before the first part of an address that differs between images."""
    return template.partition("{")[0].rpartition("/")[0]


def _address(settings: HpaFetch, image: str, colour: Colour) -> str:
    return settings.url.format(id=image, colour=colour)


def _file(settings: HpaFetch, image: str, colour: Colour, root: Path, local: bool) -> Download:
    """Return where a file is and where it goes, or already is."""
    address = _address(settings, image, colour)
    fixed = _fixed_folder(settings.url)
    # An id may be a whole URL: then the host is no part of the name.
    name = address.removeprefix(fixed) if fixed else urlsplit(address).path
    name = name.removeprefix("/")
    unpack = not local and name.endswith(PACKED)
    path = inside(root, name.removesuffix(PACKED) if unpack else name)
    return Download(https_url(address, settings.s3_endpoint), path, unpack=unpack)


def _sheet(listed: pd.DataFrame, card: DatasetCard, paths: list[list[str]]) -> pd.DataFrame:
    columns = [f"{CHANNEL_PATH_PREFIX}{channel}" for channel in card.channels]
    files = pd.DataFrame(paths, columns=columns, index=listed.index, dtype=str)
    ids = listed["id"].str.rpartition("://")[2].str.replace("/", "_")
    own = pd.DataFrame({"tile_id": ids, "group": listed["group"], "labels": listed["labels"]})
    further = listed.drop(columns=["id", *OWN_COLUMNS], errors="ignore")
    further = further.loc[:, ~further.columns.str.startswith(CHANNEL_PATH_PREFIX)]
    return pd.concat([own, files, further], axis=1).reset_index(drop=True)


def _findings(table: pd.DataFrame) -> Iterator[Finding]:
    for column in ("id", "group"):
        for row, cell in cells_of(table, column):
            if not cell:
                yield Finding(row, column, "empty", "is empty", "Fill it, or remove the row.")
    again = table.index[table["id"].duplicated() & (table["id"] != "")]
    for row in again:
        yield Finding(row, "id", "again", "the id is already listed", "Remove one.")

"""Tiles that another study has published: read where they are, block by block, with checksums.

Only their tables are copied. The manifest made here says where the store is, so that whatever reads
tiles, reads them there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.models import fingerprint
from transferscope.parquet import read_parquet, write_parquet
from transferscope.remote.access import PUBLISH_AGAIN
from transferscope.remote.files import RemoteFile
from transferscope.remote.listings import list_folders
from transferscope.stores import (
    TILES_FORMAT,
    Manifest,
    TileStore,
    attributes_of,
    write_atomically,
)

# The files that describe a tile store lie beside its manifest, `<dataset>.json`.
TABLE, QUALITY, SKIPPED = "tiles.parquet", "quality.csv", "skipped.tsv"


def take_published(
    card: DatasetCard,
    card_path: Path,
    *,
    manifest: Path,
    tile_table: Path,
    quality: Path,
    skipped: Path,
) -> None:
    """Make a published tile store the tiles of a dataset.

    Parameters
    ----------
    card, card_path
        A dataset with `published`, and the file of its card.
    manifest
        Manifest to write, last of all; it names the store's URL.
    tile_table, quality, skipped
        Tables to write, as they were published.

    Raises
    ------
    UserError
        Where the publication cannot be read, is not whole, or is not what the card says.
    """
    url = _manifest_of(card)
    if problems := check_channels(card, card_path):
        raise UserError(problems)
    store, table = TileStore(url), published_table(card)
    if list(table["tile_id"]) != store.tile_ids:
        what = f"its {len(table)} rows are not the {len(store)} tiles of the store"
        raise UserError(Problem(beside(card, TABLE), what, PUBLISH_AGAIN))
    write_parquet(table, tile_table, {"dataset": card.name})
    for name, path in ((QUALITY, quality), (SKIPPED, skipped)):
        write_atomically(path, RemoteFile(beside(card, name), 0).read_bytes().decode())
    replace(store.manifest, store=str(store.path)).write(manifest)


def published_table(card: DatasetCard) -> pd.DataFrame:
    """Return the tile table of a dataset's published tiles.

    Raises
    ------
    UserError
        Where it cannot be read.
    """
    return read_parquet(RemoteFile(beside(card, TABLE), 0))


def published_digest(card: DatasetCard) -> str:
    """Return what changes when other tiles, or other labels, are published in their place.

    Raises
    ------
    UserError
        Where the object store cannot be asked.
    """
    files = (_manifest_of(card), beside(card, TABLE))
    listing = list_folders([files[0].rpartition("/")[0]])
    if listing.failures:
        raise UserError(listing.failures.values())
    found = [listing.entries.get(url) for url in files]
    return fingerprint([entry and [entry.size, entry.stamp] for entry in found])


def check_channels(card: DatasetCard, card_path: Path) -> list[Problem]:
    """Return what shows that published tiles are not those that the card describes."""
    url = _manifest_of(card)
    try:
        described = Manifest.read(url, TILES_FORMAT)
        place = described.store or f"{url.removesuffix('.json')}.zarr"
        channels = attributes_of(place).get("channels")
    except UserError as error:
        return error.problems
    if channels == card.channels:
        return []
    if channels is None:
        return [Problem(place, "the store is missing or damaged", PUBLISH_AGAIN)]
    what = f"the published tiles have the channels {channels}, the card {card.channels}"
    mend = "Name the channels as they were published, in their order."
    return [Problem(f"{card_path}, key channels", what, mend)]


def beside(card: DatasetCard, name: str) -> str:
    """Return the URL of a table that describes the published tiles of a dataset."""
    return f"{_manifest_of(card).removesuffix('json')}{name}"


def _manifest_of(card: DatasetCard) -> str:
    if card.published is None:
        raise ValueError(f"{card.name} has no published tiles")
    return card.published

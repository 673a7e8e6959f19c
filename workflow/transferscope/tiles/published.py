"""Tiles that another study has published: read where they are, block by block, with checksums.

Only their tables are copied. The manifest made here says where the store is, so that whatever reads
tiles, reads them there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.fingerprint import fingerprint
from transferscope.stores.block_store import attributes_of
from transferscope.stores.manifest import TILES_FORMAT, Manifest
from transferscope.stores.parquet import read_tile_table, write_parquet
from transferscope.stores.tile_store import TileStore
from transferscope.transport.access import PUBLISH_AGAIN
from transferscope.transport.files import RemoteFile
from transferscope.transport.listing import list_folders
from transferscope.transport.publications import Publication

# The files that describe a tile store lie next to its manifest, `<dataset>.json`.
TABLE, QUALITY, SKIPPED = "tiles.parquet", "quality.csv", "skipped.tsv"


class PublishedTiles:
    """The tiles of a publication that is whole, and are those that a card describes.

    Parameters
    ----------
    card, card_path
        A dataset with `published`, and the file of its card.

    Raises
    ------
    UserError
        Where the publication cannot be read, is not whole, or is not what the card says.
    """

    def __init__(self, card: DatasetCard, card_path: Path) -> None:
        self.manifest = _manifest_of(card)
        self._card_path = card_path
        with self._named():
            channels = _channels_of(self.manifest)
            self._publication = Publication(self.manifest.rsplit("/", 2)[0])
        if channels != card.channels:
            what = f"the published tiles have the channels {channels}, the card {card.channels}"
            fix = "Name the channels as they were published, in their order."
            raise UserError(Problem(f"{card_path}, key channels", what, fix))

    def url(self, name: str) -> str:
        """Return where a file is that describes the tiles."""
        return _next_to(self.manifest, name)

    def read(self, name: str) -> bytes:
        """Return a file that describes the tiles.

        Raises
        ------
        UserError
            Where it cannot be read, or is not what was sent.
        """
        with self._named():
            return self._publication.read("/".join(self.url(name).rsplit("/", 2)[1:]))

    def table(self) -> pd.DataFrame:
        """Return the tile table.

        Raises
        ------
        UserError
            Where it cannot be read, or is not what was sent.
        """
        content = self.read(TABLE)
        return read_tile_table(RemoteFile(self.url(TABLE), len(content), content=content))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the card's key in errors."""
        try:
            yield
        except UserError as error:
            key = f"{self._card_path}, key published"
            found = [Problem(f"{key}: {p.where}", p.what, p.fix) for p in error.problems]
            raise UserError(found) from None


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
    published = PublishedTiles(card, card_path)
    store, table = TileStore(published.manifest), published.table()
    if list(table["tile_id"]) != store.tile_ids:
        what = f"its {len(table)} rows are not the {len(store)} tiles of the store"
        raise UserError(Problem(published.url(TABLE), what, PUBLISH_AGAIN))
    write_parquet(table, tile_table, {"dataset": card.name})
    for name, path in ((QUALITY, quality), (SKIPPED, skipped)):
        write_atomically(path, published.read(name).decode())
    replace(store.manifest, store=str(store.path)).write(manifest)


def published_digest(card: DatasetCard) -> str:
    """Return what changes when other tiles, or other labels, are published in their place.

    Raises
    ------
    UserError
        Where the object store cannot be asked.
    """
    manifest = _manifest_of(card)
    listing = list_folders([manifest.rpartition("/")[0]])
    if listing.failures:
        raise UserError(listing.failures.values())
    found = [listing.entries.get(url) for url in (manifest, _next_to(manifest, TABLE))]
    return fingerprint([entry and [entry.size, entry.stamp] for entry in found])


def _channels_of(manifest: str) -> Any:
    """Return what the channels of published tiles show."""
    described = Manifest.read(manifest, TILES_FORMAT)
    place = described.store or f"{manifest.removesuffix('.json')}.zarr"
    channels = attributes_of(place).get("channels")
    if channels is None:
        raise UserError(Problem(place, "the store is missing or damaged", PUBLISH_AGAIN))
    return channels


def _next_to(manifest: str, name: str) -> str:
    """Return the URL of a table that describes published tiles."""
    return f"{manifest.removesuffix('json')}{name}"


def _manifest_of(card: DatasetCard) -> str:
    if card.published is None:
        what = f"the card of {card.name} names no published tiles"
        raise UserError(Problem("published", what, "Add `published:` to the card."))
    return card.published

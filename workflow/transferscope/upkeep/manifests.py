"""The manifests of the stores in the folder of a study."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.manifest import store_of
from transferscope.stores.reader import StoreReader
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore

# Pattern of the manifests in a study's folder -> what reads their stores.
READERS: dict[str, type[StoreReader]] = {
    "tiles/*.json": TileStore,
    "reduced_tiles/*/*.json": TileStore,
    "targets/*.json": TargetStore,
    "predicted_masks/*/*/*.json": TargetStore,
    "embeddings/*/*/*.json": EmbeddingStore,
}


def reader_of(name: str) -> type[StoreReader] | None:
    """Return the reader for the store of a manifest; None: the file is not a manifest.

    Parameters
    ----------
    name
        Path relative to the study's folder.
    """
    path = PurePosixPath("/", name)
    return next((kind for pattern, kind in READERS.items() if path.match(f"/{pattern}")), None)


def manifests_in(root: Path) -> list[tuple[Path, type[StoreReader]]]:
    """Return the manifest of every store, even if the config does not name it any more."""
    return [(path, kind) for pattern, kind in READERS.items() for path in named(root.glob(pattern))]


def half_converted(root: Path) -> list[Path]:
    """Return the manifests whose store is away, because its conversion was cut short."""
    return [
        manifest
        for manifest, _ in manifests_in(root)
        if StoreReader.is_being_converted(store_of(manifest)) and not store_of(manifest).exists()
    ]


def named(paths: Iterable[Path]) -> list[Path]:
    """Return files in order, without those that are hidden."""
    return [path for path in sorted(paths) if not path.name.startswith(".")]

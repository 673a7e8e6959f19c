"""Stores that the job of another strategy has filled: checked and finished without a network.

Next to such a store lies a note: a digest of what it was asked to be made from, which needs no
network to compute, and of what it then was. A job that is asked for just that checks every block
and writes the manifest. In any other case it builds its network, and goes on from there.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transferscope.backbones import VERSION
from transferscope.cards import BackboneCard
from transferscope.checkpoints.sources import file_sha256, present_file
from transferscope.config.compute import ComputeSettings
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.json_text import parse_json
from transferscope.stores.block_store import UNREADABLE, BlockStore, attributes_of
from transferscope.stores.manifest import FORMAT_VERSION, TILES_FORMAT, Manifest, store_of

ARRAY = "embeddings"
# What builds a network: another version of them may give other weights or values.
LIBRARIES = ("torch", "timm", "transferscope")


def request_of(
    tiles: Path, card: BackboneCard, card_path: Path, settings: ComputeSettings, block_rows: int
) -> str | None:
    """Return a digest of what the stores of a pass are made from, whatever their strategy.

    None: that is only known once the network is there, as for weights that are fetched.

    Raises
    ------
    UserError
        If the manifest of the tiles cannot be read.
    """
    if not card.is_network or card.trained_here:
        return None
    weights = None
    if card.has_checkpoint:
        file = present_file(card, card_path)
        if file is None:
            return None
        weights = file_sha256(file)
    elif card.needs_weights:
        return None
    source = Manifest.read(tiles, TILES_FORMAT)
    return fingerprint(
        {
            "tiles": [source.fingerprint, source.content_sha256, source.ids_sha256],
            "files_of_tiles": source.files,
            "card": card.fingerprint(),
            "weights": weights,
            "precision": settings.precision,
            "block_rows": block_rows,
            "protocol": VERSION,
            "libraries": {name: version(name) for name in LIBRARIES},
        }
    )


def write_note(store: BlockStore, strategy: str, request: str) -> None:
    """Write next to a store that its blocks are those of a request; see `request_of`."""
    content = {"request": fingerprint([request, strategy]), "store": _state(store)}
    write_atomically(_note_of(store.path), json.dumps(content, indent=2) + "\n")


def finish_filled(manifest: Path, strategy: str, request: str) -> bool:
    """Check a store and write its manifest, if it is filled as requested; return whether it is."""
    path = store_of(manifest)
    try:
        note: Any = parse_json(_note_of(path).read_text(encoding="utf-8"))
        if note["request"] != fingerprint([request, strategy]):
            return False
        if attributes_of(path).get("version") != FORMAT_VERSION:
            return False
        store = BlockStore(path, ARRAY)
        if note["store"] != _state(store) or store.missing() or store.damaged():
            return False
    except UNREADABLE:
        return False
    store.finish(manifest)
    remove_note(path)
    return True


def remove_note(store: Path) -> None:
    """Remove the note about a store, whose manifest has been written."""
    _note_of(store).unlink(missing_ok=True)


def _state(store: BlockStore) -> str:
    """Return a digest of all that belongs to no block: metadata, ids and attributes."""
    files = json.dumps(store.other_files(), sort_keys=True)
    return hashlib.sha256(files.encode()).hexdigest()


def _note_of(store: Path) -> Path:
    return store.with_name(f".{store.name}.filled")

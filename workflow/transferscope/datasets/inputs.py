"""What a fetch depends on: the card, and the files of this machine that it names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from transferscope.cards import DatasetCard
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.json_text import parse_json
from transferscope.transport.urls import is_remote, local_path


def fetch_inputs(card: DatasetCard, card_path: Path) -> list[Path]:
    """Return the annotation table or the list of a card, where it is a file of this machine.

    Parameters
    ----------
    card
        A card with `fetch`.
    card_path
        Its file, to which its paths are relative.
    """
    if card.fetch is None or is_remote(card.fetch.table):
        return []
    return [local_path(card.fetch.table, card_path.parent)]


def fetch_fingerprint(card: DatasetCard, card_path: Path) -> str:
    """Return a digest of everything on this machine that a fetched sample sheet depends on.

    Parameters
    ----------
    card, card_path
        A card with `fetch`, and its file.
    """
    files = [path for path in fetch_inputs(card, card_path) if path.is_file()]
    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return fingerprint([card.fetch_fingerprint(), contents])


def is_fetched(card: DatasetCard, card_path: Path, manifest: Path) -> bool:
    """Return whether a manifest tells of a fetch of just this card.

    Parameters
    ----------
    card, card_path
        A card with `fetch`, and its file.
    manifest
        Manifest of an earlier fetch, which may be absent.
    """
    try:
        found = parse_json(manifest.read_text(encoding="utf-8"))["made_for"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(found == fetch_fingerprint(card, card_path))

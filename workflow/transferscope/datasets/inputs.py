"""The files of this machine that a fetch reads."""

from __future__ import annotations

from pathlib import Path

from transferscope.cards import DatasetCard, HpaFetch, OpenCellFetch
from transferscope.downloads.addresses import is_remote, local_path


def fetch_inputs(card: DatasetCard, card_path: Path) -> list[Path]:
    """Return the annotation table or the list of a card, where it is a file of this machine.

    Parameters
    ----------
    card
        A card with `fetch`.
    card_path
        Its file, to which its paths are relative.
    """
    settings = card.fetch
    if isinstance(settings, HpaFetch):
        return [card_path.parent / settings.list]
    if isinstance(settings, OpenCellFetch) and not is_remote(settings.annotations):
        return [local_path(settings.annotations, card_path.parent)]
    return []

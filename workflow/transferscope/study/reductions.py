"""Which backbones read the reduced copy of a dataset's tiles, and why one is not made.

All of it follows from config and cards, never from files that exist: another backbone that is
added reads what it would have read from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from transferscope.study.study import Study
from transferscope.tiles.tiling import too_small


def reduced_side(study: Study, dataset: str, backbone: str) -> int | None:
    """Return the side in px of the reduced tiles that a backbone embeds; None: the tiles' own."""
    side = study.config.reduced_tiles.get(dataset)
    if side is None or not study.backbones[backbone].card.reads_reduced(side):
        return None
    return side


def reduced_datasets(study: Study) -> dict[str, int]:
    """Return dataset -> side in px, of those that any backbone reads."""
    return {
        name: side
        for name, side in study.config.reduced_tiles.items()
        if name in study.image_datasets
        and any(reduced_side(study, name, backbone) for backbone in study.backbones)
    }


def not_reduced(study: Study) -> list[str]:
    """Return why reduced tiles that were asked for are not made, in sentences."""
    return [
        f"no backbone reads tiles of `{name}` at {side} px: their inputs are larger, or their "
        "cards need the tiles' own pixels."
        for name, side in study.config.reduced_tiles.items()
        if name in study.image_datasets and name not in reduced_datasets(study)
    ]


def worth_reducing(study: Study, tile_sizes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return which tiles to reduce where networks run faster than large tiles are read.

    Parameters
    ----------
    study
        The study.
    tile_sizes
        Height and width of the tiles of each dataset.
    """
    return list(_worth_reducing(study, tile_sizes))


def _worth_reducing(study: Study, tile_sizes: Mapping[str, Sequence[int]]) -> Iterator[str]:
    cards = [located.card for located in study.backbones.values()]
    for name in study.image_datasets:
        size = tile_sizes[name]
        half = min(size) // 2
        sides = [card.input_size for card in cards if card.reads_reduced(half)]
        if name in study.config.reduced_tiles or not sides or too_small(size, max(sides)):
            continue
        yield (
            f"tiles of `{name}`, {size[0]} x {size[1]} px, may take a GPU longer to be read than "
            f"to be embedded: `reduced_tiles: {{{name}: {max(sides)}}}` keeps them once more for "
            "the backbones that resize them to this side or less."
        )

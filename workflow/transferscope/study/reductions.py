"""Which backbones read which reduced copy of a dataset's tiles, and why one is not made.

All of it follows from config and cards, never from files that exist: another backbone that is
added reads what it would have read from the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transferscope.study.study import Study
from transferscope.tiles.tiling import too_small


def reduced_side(study: Study, dataset: str, backbone: str) -> int | None:
    """Return the side in px of the reduced tiles that a backbone embeds; None: the tiles' own."""
    sides = study.config.reduced_tiles.get(dataset)
    if not sides:
        return None
    card = study.backbones[backbone].card
    return min((side for side in sides if card.reads_reduced(side)), default=None)


def reduced_stores(study: Study) -> list[tuple[str, int]]:
    """Return dataset and side in px of all reduced tiles that some backbone reads."""
    found = {
        (dataset, reduced_side(study, dataset, backbone))
        for dataset in study.config.reduced_tiles
        if dataset in study.image_datasets
        for backbone in study.backbones
    }
    return sorted((dataset, side) for dataset, side in found if side is not None)


def not_reduced(study: Study) -> list[str]:
    """Return why reduced tiles that were asked for are not made, in sentences."""
    made = reduced_stores(study)
    return [
        f"no backbone reads tiles of `{dataset}` at {side} px: the input of none is of that side, "
        "or of at most half of it, or a smaller side serves it, or its card needs the tiles' own "
        "pixels."
        for dataset, sides in study.config.reduced_tiles.items()
        for side in sides
        if dataset in study.image_datasets and (dataset, side) not in made
    ]


def worth_reducing(study: Study, tile_sizes: Mapping[str, Sequence[int]]) -> str | None:
    """Return which tiles to reduce where networks run faster than large tiles are read.

    Parameters
    ----------
    study
        The study.
    tile_sizes
        Height and width of the tiles of each dataset.
    """
    proposed, large = dict(study.config.reduced_tiles), []
    for name in study.image_datasets:
        size = tile_sizes[name]
        if sides := _worthwhile_sides(study, name, size):
            proposed[name] = sorted({*sides, *proposed.get(name, ())})
            large.append(f"`{name}` ({size[0]} x {size[1]} px)")
    if not large:
        return None
    named = ", ".join(f"{name}: {sides}" for name, sides in proposed.items())
    return (
        f"tiles of {', '.join(large)} may take a GPU longer to be read than to be embedded: "
        f"`reduced_tiles: {{{named}}}` keeps them once more for the backbones that resize them."
    )


def _worthwhile_sides(study: Study, dataset: str, size: Sequence[int]) -> list[int]:
    """Return the sides that would serve backbones which read a dataset's own tiles now."""
    whole = [
        located.card
        for backbone, located in study.backbones.items()
        if reduced_side(study, dataset, backbone) is None
    ]
    sides = {card.input_size for card in whole if card.reads_reduced(card.input_size)}
    fitting = sorted(side for side in sides if not too_small(size, side))
    # Smaller inputs are served by a side of at least twice theirs.
    return [side for side in fitting if not any(2 * side <= other for other in fitting)]

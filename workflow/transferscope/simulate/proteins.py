"""The proteins of a study: where each one sits, and the look that all its FOVs share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from .domains import CLASSES, Domain
from .randomness import rng_for

MAINS_PER_SECOND = 3  # proteins per balanced second label: a third has one
PLATE_SIZE = 12  # proteins per plate; one plate is one batch
COMMON = ("cytoplasmic", "nucleoplasm")  # where a second label most often lies
COMMON_SHARE = 0.1  # of the proteins that the balanced draw left with one label
WEAKEST_LABEL = 0.35  # a place weaker than this, relative to the strongest, is not annotated
STRONGEST_TRACE = 0.15  # ... but it is in the image: the annotation's only ambiguity
LETTERS = "ABCDEFGHKLMNPRSTVWXYZ"


@dataclass(frozen=True)
class Look:
    """Texture parameters that all FOVs of one protein share; 1 is the class's mean.

    Attributes
    ----------
    size
        Size of spots, tubes and meshes.
    abundance
        Number of spots and fibres.
    spread
        0 keeps the structures at the nucleus, 1 spreads them to the cell's edge.
    texture
        Contrast of the fine texture, 0 to 1.
    straightness
        0 for curly fibres, 1 for straight ones.
    """

    size: float
    abundance: float
    spread: float
    texture: float
    straightness: float


@dataclass(frozen=True)
class Protein:
    """One tagged protein: a group of the data set.

    Attributes
    ----------
    name
        Gene-like name, the group.
    batch
        The plate that holds all its FOVs.
    labels
        Annotated localizations, sorted.
    components
        (localization, weight) pairs that are painted: the labels, and often an
        unannotated trace.
    expression
        Peak signal relative to the domain's median.
    diffuse
        Unbound share of the protein that fills the whole cell.
    heterogeneity
        Standard deviation, in log units, of the expression from cell to cell.
    silent
        Share of the cells that hardly express the protein.
    confluence
        Share of the places that hold a cell, in this line.
    nucleus_scale
        Size of the line's nuclei relative to the domain's mean.
    look
        The texture parameters.
    """

    name: str
    batch: str
    labels: tuple[str, ...]
    components: tuple[tuple[str, float], ...]
    expression: float
    diffuse: float
    heterogeneity: float
    silent: float
    confluence: float
    nucleus_scale: float
    look: Look


def draw_proteins(domain: Domain, n_groups: int, seed: int) -> list[Protein]:
    """Draw the proteins of a data set; the first n are the same however many follow.

    Parameters
    ----------
    domain
        The imaging domain.
    n_groups
        Number of proteins.
    seed
        Seed of the data set.

    Returns
    -------
    list of Protein
        In the order of their index, ``n_groups`` of them.
    """
    localizations: list[tuple[str, ...]] = []
    while len(localizations) < n_groups:
        block = len(localizations) // (MAINS_PER_SECOND * len(CLASSES))
        localizations += _draw_localizations(rng_for(seed, domain.name, "localizations", block))
    return [
        _draw_protein(domain, index, places, seed)
        for index, places in enumerate(localizations[:n_groups])
    ]


def _draw_localizations(rng: Generator) -> list[tuple[str, ...]]:
    """Return the places of one block: each class three times as the main one, once as the second.

    Balanced draws, and not independent ones, so that small studies too have every class in every
    fold; a third of each twelve get a balanced second label, a few of the rest a common one.
    """
    n = len(CLASSES)
    parts = range(MAINS_PER_SECOND)
    main = np.concatenate([rng.permutation(n) for _ in parts])
    twofold = np.concatenate([part * n + rng.permutation(n)[: n // len(parts)] for part in parts])
    second = rng.permutation(n)
    while np.any(second == main[twofold]):
        second = rng.permutation(n)
    places = [[CLASSES[i]] for i in main]
    for index, extra in zip(twofold, second, strict=True):
        places[index].append(CLASSES[extra])
    for chosen in places:
        common = COMMON[rng.integers(len(COMMON))]
        if rng.random() < COMMON_SHARE and len(chosen) == 1 and common not in chosen:
            chosen.append(common)
    return [tuple(chosen) for chosen in places]


def _draw_protein(domain: Domain, index: int, places: tuple[str, ...], seed: int) -> Protein:
    """Draw everything that the FOVs of one protein share."""
    rng = rng_for(seed, domain.name, "protein", index)
    letters = "".join(LETTERS[i] for i in rng.integers(len(LETTERS), size=3))
    return Protein(
        name=f"{letters}{index + 1}",  # the number makes it unique, the letters make it opaque
        batch=f"plate{index // PLATE_SIZE + 1:02d}",
        labels=tuple(sorted(places)),
        components=_draw_weights(rng, places),
        expression=float(np.clip(rng.lognormal(0.0, 0.45), 0.3, 3.0)),
        diffuse=rng.uniform(0.03, 0.15),
        heterogeneity=rng.uniform(0.15, 0.45),
        silent=rng.uniform(0.0, 0.1),
        confluence=rng.uniform(*domain.culture.confluence),
        nucleus_scale=rng.uniform(0.9, 1.1),
        look=_draw_look(rng),
    )


def _draw_weights(rng: Generator, places: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Weight the places: the main one 1, a second one weaker, a trace below the annotation."""
    weights = dict.fromkeys(places[:1], 1.0)
    weights |= {place: rng.uniform(WEAKEST_LABEL, 1.0) for place in places[1:]}
    trace = CLASSES[rng.integers(len(CLASSES))]
    weights.setdefault(trace, rng.uniform(0.0, STRONGEST_TRACE))
    return tuple(weights.items())


def _draw_look(rng: Generator) -> Look:
    """Draw the texture parameters of one protein."""
    return Look(
        size=float(np.clip(rng.lognormal(0.0, 0.16), 0.7, 1.45)),
        abundance=float(np.clip(rng.lognormal(0.0, 0.25), 0.5, 2.0)),
        spread=rng.uniform(),
        texture=rng.uniform(),
        straightness=rng.uniform(),
    )

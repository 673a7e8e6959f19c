"""A perturbation screen: one reporter, whose looks the genes of a complex change together.

Genes are distributed over libraries; a library is on as many plates as a gene has replicates, and
every plate holds controls, too, in wells drawn anew. Genes of one complex are therefore mostly on
other plates, and what differs between plates makes genes of one library look alike. The classes are
what a complex changes most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from .domains import Domain
from .proteins import Look, Protein
from .randomness import rng_for

# What a complex may change most, and the feature that this is; the classes of the data set.
PHENOTYPES = {
    "large_structures": 0,
    "many_structures": 1,
    "spread_structures": 2,
    "bright": 5,
    "large_nuclei": 7,
    "sparse": 8,
}
FEATURES = 9
MAIN_EFFECT, OTHER_EFFECTS, OWN_EFFECTS = 1.8, 0.9, 0.3
REPORTER = (("vesicles", 1.0), ("er", 0.5))
CONTROL = "control"


@dataclass(frozen=True)
class Screen:
    """How a screen is laid out.

    Parameters
    ----------
    genes_per_complex
        Genes whose effects are alike.
    n_plates
        Plates, a multiple of the replicates of a gene.
    controls_per_plate
        Wells of a plate without a perturbation.
    plate_effects
        Multiple of the differences between plates in exposure, background, focus, gain and offset;
        0: none.
    """

    genes_per_complex: int = 3
    n_plates: int = 12
    controls_per_plate: int = 16
    plate_effects: float = 1.0


@dataclass(frozen=True)
class Well:
    """One well, which is one FOV.

    Parameters
    ----------
    cells
        What its cells look like; the batch is its plate.
    index
        Number of the FOV among those of the same name.
    name
        Gene, or `CONTROL`.
    position
        Place on the plate, such as B07.
    """

    cells: Protein
    index: int
    name: str
    position: str

    @property
    def columns(self) -> dict[str, str]:
        """Return its cells of the sample sheet."""
        is_control = self.name == CONTROL
        return {
            "perturbation": "" if is_control else self.name,
            "control": "true" if is_control else "false",
            "well": self.position,
        }


def gene_name(index: int) -> str:
    """Return the name of a gene; those of a complex follow each other.

    Examples
    --------
    >>> gene_name(0)
    'GENE001'
    """
    return f"GENE{index + 1:03d}"


def complexes(n_genes: int, genes_per_complex: int) -> Iterator[tuple[str, str]]:
    """Yield all pairs of genes of one complex."""
    for first in range(n_genes):
        end = (first // genes_per_complex + 1) * genes_per_complex
        for second in range(first + 1, min(end, n_genes)):
            yield gene_name(first), gene_name(second)


def draw_wells(
    domain: Domain, screen: Screen, n_genes: int, n_replicates: int, seed: int
) -> list[Well]:
    """Draw all wells of a screen, gene by gene, then the controls.

    Raises
    ------
    ValueError
        If the plates are no multiple of the replicates.
    """
    if screen.n_plates % n_replicates:
        raise ValueError(f"{screen.n_plates} plates are no multiple of {n_replicates} replicates")
    plates = [f"plate{number + 1:02d}" for number in range(screen.n_plates)]
    genes = [_gene(domain, screen, index, seed) for index in range(n_genes)]
    control = _cells(domain, CONTROL, (), np.zeros(FEATURES))
    placed: list[tuple[Protein, int, int]] = []
    n_libraries = len(plates) // n_replicates
    libraries = rng_for(seed, domain.name, "libraries").permutation(n_genes) % n_libraries
    for cells, library in zip(genes, libraries.tolist(), strict=True):
        placed += [(cells, n, library * n_replicates + n) for n in range(n_replicates)]
    for copy in range(screen.controls_per_plate):
        placed += [(control, copy * len(plates) + n, n) for n in range(len(plates))]
    counts = np.bincount([plate for *_, plate in placed], minlength=len(plates))
    free = [
        iter(_positions(int(n), rng_for(seed, domain.name, "wells", plate)))
        for n, plate in zip(counts, plates, strict=True)
    ]
    return [
        Well(replace(cells, batch=plates[plate]), index, cells.name, next(free[plate]))
        for cells, index, plate in placed
    ]


def _positions(n_wells: int, rng: Generator) -> list[str]:
    """Return a position for each well of a plate, as many columns as rows and a half."""
    n_rows = int(np.ceil(np.sqrt(n_wells / 1.5)))
    places = rng.permutation(n_wells)
    return [f"{chr(ord('A') + place % n_rows)}{place // n_rows + 1:02d}" for place in places]


def _gene(domain: Domain, screen: Screen, index: int, seed: int) -> Protein:
    own = index // screen.genes_per_complex
    phenotype = list(PHENOTYPES)[own % len(PHENOTYPES)]
    effect = OTHER_EFFECTS * rng_for(seed, domain.name, "complex", own).normal(size=FEATURES)
    effect[PHENOTYPES[phenotype]] = MAIN_EFFECT
    effect += OWN_EFFECTS * rng_for(seed, domain.name, "gene", index).normal(size=FEATURES)
    return _cells(domain, gene_name(index), (phenotype,), effect)


def _cells(
    domain: Domain, name: str, labels: tuple[str, ...], effect: npt.NDArray[np.float64]
) -> Protein:
    """Return what cells look like whose features are shifted, in the differences of proteins."""
    size, abundance, spread, texture, straightness, expression, diffuse, nucleus, density = effect
    look = Look(
        size=float(np.clip(np.exp(0.16 * size), 0.7, 1.45)),
        abundance=float(np.clip(np.exp(0.25 * abundance), 0.5, 2.0)),
        spread=float(np.clip(0.4 + 0.2 * spread, 0, 1)),
        texture=float(np.clip(0.5 + 0.2 * texture, 0, 1)),
        straightness=float(np.clip(0.5 + 0.2 * straightness, 0, 1)),
    )
    return Protein(
        name=name,
        batch="",
        labels=labels,
        components=REPORTER,
        expression=float(np.clip(np.exp(0.3 * expression), 0.3, 3.0)),
        diffuse=float(np.clip(0.09 + 0.03 * diffuse, 0.01, 0.3)),
        heterogeneity=0.25,
        silent=0.05,
        confluence=float(np.clip(np.mean(domain.culture.confluence) - 0.1 * density, 0.35, 1.0)),
        nucleus_scale=float(np.clip(1 + 0.06 * nucleus, 0.8, 1.25)),
        look=look,
    )

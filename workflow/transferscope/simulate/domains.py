"""The two imaging domains of the demo: one physical model, two sets of numbers."""

from __future__ import annotations

from dataclasses import dataclass

CLASSES: tuple[str, ...] = (
    "centrosome",
    "cytoplasmic",
    "cytoskeleton",
    "er",
    "golgi",
    "membrane",
    "mitochondria",
    "nuclear_membrane",
    "nuclear_punctae",
    "nucleolus",
    "nucleoplasm",
    "vesicles",
)


@dataclass(frozen=True)
class Culture:
    """How the cells of a line look and grow.

    Attributes
    ----------
    radius_um
        Mean radius of a cell.
    nucleus_um
        Mean radius of a nucleus.
    irregularity
        Relative amplitude of the outline's harmonics: 0 is a disc.
    spacing
        Smallest distance of two cell centres, in cell radii: below 2 the cells press together.
    confluence
        Lowest and highest share of the places that hold a cell, drawn per protein.
    """

    radius_um: float
    nucleus_um: float
    irregularity: float
    spacing: float
    confluence: tuple[float, float]


@dataclass(frozen=True)
class Optics:
    """The microscope and its camera.

    Attributes
    ----------
    pixel_size_um
        Edge of a camera pixel in the sample.
    psf_um
        Standard deviation of the point spread function in focus.
    haze
        Share of the light that comes, blurred, from outside the focal plane.
    vignetting
        Loss of illumination from the brightest point to a corner of the FOV.
    photons
        Median peak signal of the protein channel, in detected photons per pixel.
    photons_marker
        The same for the reference channels (nucleus, microtubules, ER).
    background
        Photons per pixel from the medium, the plate and the cell-free area.
    gain
        Camera counts per photon.
    read_noise
        Standard deviation of the read noise, in counts.
    offset
        Counts of a dark pixel.
    """

    pixel_size_um: float
    psf_um: float
    haze: float
    vignetting: float
    photons: float
    photons_marker: float
    background: float
    gain: float
    read_noise: float
    offset: float


@dataclass(frozen=True)
class Domain:
    """One imaging domain: its channels, file layout, culture, optics and default size.

    Attributes
    ----------
    name
        What the command line calls it.
    channels
        The channels in file order, named by what they show.
    suffixes
        One file-name suffix per channel where each channel is a file; empty where one file holds
        all.
    culture, optics
        The physical numbers.
    n_groups, fovs_per_group, fov_size
        Default size: proteins, FOVs per protein, pixels along a FOV's edge.
    """

    name: str
    channels: tuple[str, ...]
    suffixes: tuple[str, ...]
    culture: Culture
    optics: Optics
    n_groups: int
    fovs_per_group: int
    fov_size: int = 128


# Small, crowded, round cells under a spinning-disc confocal, binned.
OPENCELL = Domain(
    name="opencell",
    channels=("nucleus", "protein"),
    suffixes=(),
    culture=Culture(
        radius_um=9.0, nucleus_um=5.0, irregularity=0.10, spacing=1.5, confluence=(0.7, 1.0)
    ),
    optics=Optics(
        pixel_size_um=0.5,
        psf_um=0.33,
        haze=0.22,
        vignetting=0.30,
        photons=140.0,
        photons_marker=160.0,
        background=6.0,
        gain=4.0,
        read_noise=6.0,
        offset=100.0,
    ),
    n_groups=64,
    fovs_per_group=4,
)

# Large, flat, sparse cells under a point-scanning confocal: sharper, fewer photons, more gain.
HPA = Domain(
    name="hpa",
    channels=("microtubules", "protein", "nucleus", "er"),
    suffixes=("red", "green", "blue", "yellow"),
    culture=Culture(
        radius_um=11.0, nucleus_um=5.8, irregularity=0.13, spacing=1.65, confluence=(0.6, 0.95)
    ),
    optics=Optics(
        pixel_size_um=0.45,
        psf_um=0.24,
        haze=0.18,
        vignetting=0.15,
        photons=70.0,
        photons_marker=70.0,
        background=2.5,
        gain=22.0,
        read_noise=14.0,
        offset=20.0,
    ),
    n_groups=60,
    fovs_per_group=3,
)

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (OPENCELL, HPA)}

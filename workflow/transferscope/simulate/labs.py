"""The two labs of the gland demo: one tissue, two stains, scanners and shares of fused glands."""

from __future__ import annotations

from dataclasses import dataclass

Stain = tuple[float, float, float]
GRADES: tuple[str, ...] = ("benign", "malignant")


@dataclass(frozen=True)
class Lab:
    """How a lab stains and scans, and what it sees.

    Attributes
    ----------
    name
        What the command line calls it.
    letter
        First letter of its specimens.
    haematoxylin, eosin
        Optical density of each stain in red, green and blue, at concentration 1 (Beer-Lambert).
    strength
        Concentration of both stains, relative to a common one: mean, and deviation of its
        logarithm over specimens.
    pixel_size_um
        Edge of a pixel in the sample.
    blur_um
        Standard deviation of the point spread function.
    noise
        Standard deviation of the camera's noise, in grey values.
    white
        Grey value of glass without tissue, in red, green and blue.
    fusing
        Share of the glands that grow together with the nearest one, by grade.
    n_groups, fovs_per_group, fov_size
        Default size: specimens, images per specimen, pixels along an image's edge.
    """

    name: str
    letter: str
    haematoxylin: Stain
    eosin: Stain
    strength: tuple[float, float]
    pixel_size_um: float
    blur_um: float
    noise: float
    white: tuple[int, int, int]
    fusing: dict[str, float]
    n_groups: int = 24
    fovs_per_group: int = 4
    fov_size: int = 128


# Blue haematoxylin and pink eosin, sharp and bright: a new scanner.
FIRST = Lab(
    name="glands",
    letter="A",
    haematoxylin=(0.65, 0.62, 0.29),
    eosin=(0.09, 0.62, 0.24),
    strength=(1.0, 0.08),
    pixel_size_um=1.5,
    blur_um=0.9,
    noise=2.0,
    white=(244, 242, 246),
    fusing={"benign": 0.05, "malignant": 0.35},
)

# Purple haematoxylin and orange eosin, stronger, coarser and duller: old slides, an old scanner.
SECOND = Lab(
    name="glands-other-lab",
    letter="B",
    haematoxylin=(0.50, 0.72, 0.20),
    eosin=(0.05, 0.45, 0.42),
    strength=(1.25, 0.15),
    pixel_size_um=2.0,
    blur_um=1.9,
    noise=4.0,
    white=(236, 228, 216),
    fusing={"benign": 0.2, "malignant": 0.6},
)

LABS: dict[str, Lab] = {lab.name: lab for lab in (FIRST, SECOND)}

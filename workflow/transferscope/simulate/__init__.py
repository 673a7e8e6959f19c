"""Demo data: simulated fluorescence microscopy of tagged proteins, and stained glands.

One physical model makes both: cells with nuclei and organelles (``scene``, ``organelles``), a
protein that sits in one or two places (``proteins``), a microscope and its camera (``camera``).
``domains`` holds the numbers that differ. What makes the task hard is physics: few photons, blur
and haze, cells that differ, a second place that may be weak, plates that shift. No label is ever
flipped; the only ambiguity is that of an annotator, who does not note a trace of less than 15 % of
the main place's brightness.

The glands of two labs (``labs``) are laid out (``glands``), filled with tissue, stained and scanned
(``histology``): RGB images with masks of instances.
"""

from .dataset import simulate_dataset
from .domains import CLASSES, DOMAINS, Domain
from .fov import simulate_fov
from .histology import Specimen, draw_specimens, simulate_glands
from .labs import GRADES, LABS, Lab
from .proteins import Protein, draw_proteins

__all__ = [
    "CLASSES",
    "DOMAINS",
    "GRADES",
    "LABS",
    "Domain",
    "Lab",
    "Protein",
    "Specimen",
    "draw_proteins",
    "draw_specimens",
    "simulate_dataset",
    "simulate_fov",
    "simulate_glands",
]

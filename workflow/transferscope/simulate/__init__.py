"""Demo data: simulated fluorescence microscopy of tagged proteins, in two imaging domains."""

from .dataset import simulate_dataset
from .domains import CLASSES, DOMAINS, Domain
from .fov import simulate_fov
from .proteins import Protein, draw_proteins

__all__ = [
    "CLASSES",
    "DOMAINS",
    "Domain",
    "Protein",
    "draw_proteins",
    "simulate_dataset",
    "simulate_fov",
]

"""Find which pretrained backbone transfers to a microscope, and how many labels it needs."""

__version__ = "0.1.0"

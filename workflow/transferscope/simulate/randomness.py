"""Random streams that are named, not numbered: their numbers depend on no order of work."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.random import Generator


def rng_for(*names: str | int) -> Generator:
    """Return the random stream that belongs to a name.

    Parameters
    ----------
    *names
        The parts of the name, for example ``(seed, "opencell", "KRX4", "layout")``.

    Returns
    -------
    numpy.random.Generator
        A generator that is the same in every process and for every order of calls.
    """
    text = "\x1f".join(str(name) for name in names)
    digest = hashlib.sha256(text.encode()).digest()
    return Generator(np.random.PCG64(np.frombuffer(digest, dtype="<u4").tolist()))

"""Seeds derived from names, so that adding a job never changes the results of another."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*names: object) -> int:
    """Return a seed in [0, 2**63) that depends only on the names.

    Parameters
    ----------
    names
        Whatever identifies the random draw: the seed in the config, dataset, backbone, fold, ...

    Examples
    --------
    >>> derive_seed(0, "demo", "mlp") == derive_seed(0, "demo", "mlp")
    True
    """
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def derive_rng(*names: object) -> np.random.Generator:
    """Return a NumPy generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(*names))

"""Harmony (Korsunsky et al., 2019, doi:10.1038/s41592-019-0619-0), by its own package, an extra."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd

from transferscope.correction.rows import Rows
from transferscope.errors import Problem, UserError
from transferscope.runtime.arrays import Floats
from transferscope.runtime.shipped import install_hint

PACKAGE = "harmonypy"
INSTALL = f"{install_hint('harmony')}; or leave the correction harmony out."
# Harmony is defined on the first principal components of the data.
COMPONENTS = 50
ITERATIONS = 20
# Rows per cluster, of at most `MOST_CLUSTERS`, as the package has it for large data.
ROWS_PER_CLUSTER, MOST_CLUSTERS = 30, 100


def check_installed(where: str) -> list[Problem]:
    """Return a problem where the package is not installed."""
    if importlib.util.find_spec(PACKAGE):
        return []
    return [Problem(where, "Harmony is not installed", INSTALL)]


def harmonised(values: Floats, rows: Rows) -> Floats:
    """Return the principal components of all rows, [N, min(N, D, 50)], mixed over batches.

    With one batch, or too few rows for clusters, nothing is mixed.

    Raises
    ------
    UserError
        If the package is not installed.
    """
    if problems := check_installed("correction harmony"):
        raise UserError(problems)
    import harmonypy

    components = _principal(values)
    # The package does not end where there are as many clusters as rows.
    n_clusters = min(MOST_CLUSTERS, len(values) // ROWS_PER_CLUSTER)
    if len(rows.names) < 2 or n_clusters < 2:
        return components
    batches = pd.DataFrame({"batch": np.array(rows.names, dtype=object)[rows.codes]})
    found = harmonypy.run_harmony(
        components,
        batches,
        ["batch"],
        nclust=n_clusters,
        max_iter_harmony=ITERATIONS,
        verbose=False,
        random_state=0,
        # The sums of several threads differ in their last digits.
        ncores=1,
    )
    mixed = np.asarray(found.Z_corr, dtype=np.float64)
    return mixed if mixed.shape == components.shape else mixed.T


def _principal(values: Floats) -> Floats:
    centred = values - values.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    kept = min(COMPONENTS, len(sizes))
    # Signs are not determined: the largest entry of each component is positive.
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(len(sizes))])
    return np.asarray((left * sizes * signs)[:, :kept])

"""Two dimensions out of many: t-SNE, or UMAP where the extra `umap` is installed."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from transferscope.errors import Problem, UserError
from transferscope.runtime.seeds import derive_seed
from transferscope.runtime.shipped import install_hint

Matrix = npt.NDArray[np.float32]
PRINCIPAL_COMPONENTS = 50
PERPLEXITY = 30
UMAP_NEIGHBOURS = 15
INSTALL = f"{install_hint('umap')}; or set `figures.map: tsne`."
TITLES = {"tsne": "t-SNE", "umap": "UMAP"}


def check_installed(method: str) -> list[Problem]:
    """Return a problem where what a kind of map needs is not installed.

    Parameters
    ----------
    method
        `tsne` or `umap`.
    """
    if method != "umap" or importlib.util.find_spec("umap"):
        return []
    return [_missing()]


def project(embeddings: Matrix, method: str, *names: object) -> Matrix:
    """Project embeddings to two dimensions: standardised, PCA to 50, then t-SNE or UMAP.

    Parameters
    ----------
    embeddings
        [N, D], at least five rows.
    method
        `tsne` (van der Maaten and Hinton, JMLR 9, 2008) or `umap` (McInnes, Healy and Melville,
        arXiv:1802.03426).
    names
        What the seed depends on.

    Returns
    -------
    ndarray
        [N, 2], equal on any number of cores.

    Raises
    ------
    UserError
        Where UMAP is not installed.
    """
    seed = derive_seed("map", *names) % 2**32
    scaled = StandardScaler().fit_transform(embeddings)
    components = min(PRINCIPAL_COMPONENTS, *scaled.shape)
    reduced = PCA(components, svd_solver="randomized", random_state=seed).fit_transform(scaled)
    model = METHODS[method](len(embeddings), seed)
    # One thread: equal maps on any number of cores, and no threads that wait for each other.
    with threadpool_limits(1):
        return np.asarray(model.fit_transform(reduced), dtype=np.float32)


def _tsne(rows: int, seed: int) -> Any:
    perplexity = min(PERPLEXITY, (rows - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=seed, learning_rate="auto")


def _umap(rows: int, seed: int) -> Any:
    try:
        with warnings.catch_warnings():
            # The library says at its import that it has no TensorFlow, which maps do not need.
            warnings.simplefilter("ignore", ImportWarning)
            umap = importlib.import_module("umap")
    except ImportError:
        raise UserError(_missing()) from None
    neighbours = min(UMAP_NEIGHBOURS, rows - 1)
    return umap.UMAP(n_components=2, n_neighbors=neighbours, random_state=seed, n_jobs=1)


def _missing() -> Problem:
    return Problem("key figures.map", "UMAP is not installed", INSTALL)


METHODS: dict[str, Callable[[int, int], Any]] = {"tsne": _tsne, "umap": _umap}

"""Probes of a store, tested on the same tiles without one channel.

Nothing is trained on ablated tiles: scalers, weights, neighbours and thresholds are those of the
untouched training and validation tiles. Each head is trained once per fold, with the seeds of the
study's own heads, and predicts the test tiles of every version, so that differences are paired.
Exchanging a feature between samples of the test is how random forests measure its importance
(Breiman 2001, doi:10.1023/A:1010933404324); here, the feature is a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from transferscope.config.ablation import SCHEME, UNTOUCHED, Ablation
from transferscope.config.model import Model
from transferscope.config.probed import Probed
from transferscope.config.probes import SplitSettings
from transferscope.errors import user_error
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.halves import halves_of
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.probe import FrozenProbe
from transferscope.probes.written import ScoreFiles, write_all
from transferscope.runtime.arrays import Floats32, Texts
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_store


def ablate(
    data: ProbeData,
    views: Mapping[str, Floats32],
    splits: SplitSettings,
    probes: Mapping[FrozenProbe, Model],
    files: ScoreFiles,
) -> None:
    """Test the probes of a store on ablated tiles, and write all tables.

    Parameters
    ----------
    data
        The untouched store, with all divisions at the largest fraction.
    views
        Name of an ablation -> embeddings of the same tiles, [N, D].
    splits
        The study's `splits`.
    probes
        Probes with their settings.
    files
        What is written; the column `scheme` is the name of the ablation, or `untouched`.

    Raises
    ------
    UserError
        If the embeddings are not of the same shape.
    """
    by_group = splits.model_copy(update={"schemes": [SCHEME]})
    largest = max(division.fraction for division in data.divisions)
    halves = halves_of(data, by_group, largest)
    whole = with_views(data, views)
    described = {"classes": data.tiles.classes, "task": data.tiles.task}
    in_halves = [_viewed(division, data, views) for division in halves]
    write_all(whole, in_halves, probes, files, described)


def read_view(manifest: Path, ablation: Ablation, data: ProbeData) -> Floats32:
    """Return the embeddings of ablated tiles, [N, D].

    Parameters
    ----------
    manifest
        Manifest of their store.
    ablation
        What was done to the tiles.
    data
        The untouched ones.

    Raises
    ------
    UserError
        If the store is missing or damaged, or is of other tiles, another backbone or ablation.
    """
    store = EmbeddingStore(manifest)
    named = data.identity
    probed = Probed(named["dataset"], named["backbone"], named["channels"])
    check_store(manifest, store.attributes, probed)
    same_weights = data.store is None or all(
        store.attributes.get(key) == data.store[1].get(key)
        for key in ("weights_sha256", "card_fingerprint", "tiles_sha256")
    )
    if store.attributes.get("ablation") != ablation.name or not same_weights:
        found = store.attributes.get("ablation")
        what = f"holds {found or 'untouched tiles'} of some store, not {ablation.name} of this one"
        raise user_error(manifest, what, "Give the stores that the study has made.")
    if store.tile_ids != list(map(str, data.tiles.tile_ids)):
        raise user_error(manifest, "is of other tiles", "Give the stores of one study.")
    return store.read(probed.output, probed.channels)


def with_views(data: ProbeData, views: Mapping[str, Floats32]) -> ProbeData:
    """Return untouched and ablated tiles as one, one version after the other.

    Training and validation rows of every division are untouched; test rows are of all versions.
    """
    for name, embeddings in views.items():
        if embeddings.shape != data.embeddings.shape:
            what = f"{name} has embeddings of shape {embeddings.shape}, not {data.embeddings.shape}"
            raise user_error(data.identity["dataset"], what, "Give stores of the same tiles.")
    return replace(
        data,
        embeddings=np.concatenate([data.embeddings, *views.values()]),
        tiles=_repeated(data.tiles, 1 + len(views)),
        divisions=[_viewed(d, data, views) for d in data.divisions if d.scheme == SCHEME],
        number_format=None,
        store=None,
    )


def _viewed(division: Division, data: ProbeData, views: Mapping[str, Floats32]) -> Division:
    names = (UNTOUCHED, *views)
    test = [division.test + version * len(data.tiles) for version in range(len(names))]
    return replace(division, test=np.concatenate(test), views=names)


def _repeated(tiles: LabelledTiles, times: int) -> LabelledTiles:
    def repeated(values: Texts) -> Texts:
        return np.tile(values, times)

    return replace(
        tiles,
        matrix=np.tile(tiles.matrix, (times, 1)),
        tile_ids=repeated(tiles.tile_ids),
        groups=repeated(tiles.groups),
        fovs=repeated(tiles.fovs),
        batches=repeated(tiles.batches),
        columns={name: repeated(values) for name, values in tiles.columns.items()},
    )

"""What a trained head says of a tile where a patch of it is covered, at each place.

A sliding patch shows which part of an image the score of a class depends on (Zeiler and Fergus
2014, doi:10.1007/978-3-319-10590-1_53). Every tile is judged by the head of the fold that it was
tested in, which has seen neither it nor its group. The loss is one of log-odds, since the
probability of a class that is surely found hardly moves. Under the patch a channel has its median
over the tile: a flat square that no head has seen is still a change of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit, logsumexp

from transferscope.backbones.embedder import Embedder
from transferscope.backbones.filling import embedder_for
from transferscope.cards import BackboneCard
from transferscope.config.ablation import SCHEME, OcclusionSettings
from transferscope.config.compute import ComputeSettings
from transferscope.config.jobs import OcclusionProbe
from transferscope.config.probed import Probed
from transferscope.config.probes import HeadSettings
from transferscope.errors import user_error
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.head_batch import HeadBatch
from transferscope.probes.heads import fit_on
from transferscope.probes.score_table import VALIDATION_SCORE
from transferscope.runtime.arrays import Floats, Floats32, Pixels, Values
from transferscope.runtime.progress import progress_bar
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.parquet import read_parquet, write_parquet
from transferscope.stores.tile_store import TileStore

# An empty `channel`: all at once. `y` and `x` are the upper left pixel of the patch.
COLUMNS = {
    "row": "int64",
    "tile_id": "str",
    "class": "str",
    "found": "bool",
    "fold": "int64",
    "log_odds": "float64",
    "probability": "float64",
    "channel": "str",
    "y": "int64",
    "x": "int64",
    "loss": "float64",
}


@dataclass(frozen=True)
class ShownTile:
    """A tile that is covered, and the class whose score is watched.

    Parameters
    ----------
    row
        Of the tile, in its store.
    column
        Of the class, which the tile has.
    found
        Whether the head found the class.
    fold
        In which the tile was tested.
    """

    row: int
    column: int
    found: bool
    fold: int


def best_kind(scores: pd.DataFrame, kinds: Sequence[str], metric: str) -> str:
    """Return the kind of head that validation tiles favour, the first of `kinds` where they tie.

    Parameters
    ----------
    scores
        Score table of the heads of a store.
    kinds
        Kinds of heads of the study.
    metric
        The headline metric.
    """
    own = scores[(scores["scheme"] == SCHEME) & (scores["metric"] == metric)]
    own = own[own["fraction"] == own["fraction"].max()]
    means = own.groupby("head")[VALIDATION_SCORE].mean()
    return max(kinds, key=lambda kind: np.nan_to_num(means.get(kind, np.nan), nan=-np.inf))


def choose_tiles(
    predictions: pd.DataFrame, n_classes: int, settings: OcclusionSettings
) -> list[ShownTile]:
    """Return the tiles to cover: classes most surely found, then those missed by most.

    The classes come in turn, in their order, and each list shows a group once.

    Parameters
    ----------
    predictions
        Of one head on the test tiles of all folds, each once.
    n_classes
        Number of classes.
    settings
        How many tiles of each kind.
    """
    chosen: list[ShownTile] = []
    for found, count in ((True, settings.tiles), (False, settings.mistakes)):
        queues = [_ranked(predictions, column, found) for column in range(n_classes)]
        groups: set[str] = set()
        picked = 0
        while picked < count and any(queues):
            for column, queue in enumerate(queues):
                while queue and queue[0][1] in groups:
                    queue.pop(0)
                if queue and picked < count:
                    row, group, fold = queue.pop(0)
                    groups.add(group)
                    chosen.append(ShownTile(row, column, found, fold))
                    picked += 1
    return chosen


def _ranked(predictions: pd.DataFrame, column: int, found: bool) -> list[tuple[int, str, int]]:
    """Return row, group and fold of the tiles of a class, the clearest case first."""
    has = predictions[f"true_{column}"] & (predictions[f"predicted_{column}"] == found)
    own = predictions[has].sort_values(
        [f"score_{column}", "row"], ascending=[not found, True], kind="stable"
    )
    return list(zip(own["row"], own["group"], own["fold"], strict=True))


def covered(
    tile: Pixels, corners: Sequence[tuple[int, int]], side: int, channels: Sequence[int]
) -> Iterator[Pixels]:
    """Yield a tile [C, H, W] with a patch of its medians at one place after the other.

    Parameters
    ----------
    tile
        The tile.
    corners
        y and x of the upper left pixel of each patch.
    side
        Of the patch, in px.
    channels
        Which channels are covered.
    """
    medians = np.median(tile, axis=(1, 2))
    if tile.dtype.kind in "iu":
        medians = medians.round()
    fill = medians.astype(tile.dtype)[list(channels), None, None]
    for y, x in corners:
        image = tile.copy()
        image[list(channels), y : y + side, x : x + side] = fill
        yield image


def log_odds(logits: Values, column: int, is_multi_label: bool) -> Floats:
    """Return the log-odds of a class, float64 [n], from the logits of all classes, [n, C].

    Examples
    --------
    >>> log_odds(np.log([[3.0, 1.0, 1.0]]), 0, is_multi_label=False).round(6).tolist()
    [0.405465]
    """
    exact = np.asarray(logits, dtype=np.float64)
    if is_multi_label:
        return exact[:, column]
    others = np.delete(exact, column, axis=1)
    return np.asarray(exact[:, column] - logsumexp(others, axis=1))


class Viewer:
    """Embeds tiles in memory as those of a store were embedded.

    Parameters
    ----------
    store
        The store that the heads are trained on.
    probed
        What is read of it.
    embedder
        Of the same backbone, strategy and tiles; started as the store's was.

    Raises
    ------
    UserError
        If the store is of other weights, or of another card.
    """

    def __init__(self, store: EmbeddingStore, probed: Probed, embedder: Embedder) -> None:
        said = embedder.attributes()
        for key in ("weights_sha256", "card_fingerprint"):
            if store.attributes.get(key) != said[key]:
                what = "was made with another backbone than the card names"
                raise user_error(store.manifest_path, what, "Run the workflow again.")
        self._store, self._probed, self._embedder = store, probed, embedder
        # What was decided of number formats is among what a store says of itself.
        embedder.start(dict(store.attributes))

    def __call__(self, images: Sequence[Pixels]) -> Floats32:
        """Return the embeddings of tiles [C, H, W], float32 [n, D]."""
        rows = self._embedder.collected([self._embedder(np.stack(images))])
        return self._store.read_of(rows, self._probed.output, self._probed.channels)

    @property
    def batch_size(self) -> int:
        """How many tiles are best embedded at once."""
        return self._embedder.batch_size


def occlude(
    data: ProbeData,
    tiles: Path,
    network: tuple[BackboneCard, Path],
    scores: Path,
    predictions: Path,
    job: OcclusionProbe,
    compute: ComputeSettings,
    output: Path,
) -> None:
    """Cover chosen tiles patch by patch, and write what their heads lose.

    Parameters
    ----------
    data
        The store that the heads are trained on.
    tiles
        Manifest of the tile store.
    network
        Backbone card and its file.
    scores, predictions
        Tables of the study's heads on this store.
    job
        Settings of the step.
    compute
        Device and threads.
    output
        Table to write, `COLUMNS`; its metadata say by which head, with which patch.

    Raises
    ------
    UserError
        If a store or table is missing, damaged or of other settings.
    """
    if data.store is None:
        raise ValueError("no store was read")
    source, store = TileStore(tiles), EmbeddingStore(data.store[0])
    if source.tile_ids != store.tile_ids:
        raise user_error(tiles, "holds other tiles than the store", "Run the workflow again.")
    kind = best_kind(read_parquet(scores), job.heads.kinds, job.metric)
    said = read_parquet(predictions)
    divisions = _of_first_seed(data)
    chosen = choose_tiles(
        _of_these(said[said["head"] == kind], divisions), len(data.tiles.classes), job.occlusion
    )
    heads = _trained(kind, data, job.heads, [divisions[tile.fold] for tile in chosen])
    probed = Probed(*(data.identity[key] for key in ("dataset", "backbone", "channels")))
    embedder = embedder_for(*network, source, probed.stored_channels, compute)
    n_images = job.occlusion.n_images(source.tile_size, len(job.covered), len(chosen))
    parts = []
    try:
        viewer = Viewer(store, probed, embedder)
        with progress_bar(f"Covering tiles of {probed.dataset}", n_images, "images") as bar:
            for tile, head in zip(chosen, heads, strict=True):
                judge = _Judge(viewer, head, tile.column, data.is_multi_label, bar.update)
                found = _losses(source, tile.row, job, judge)
                parts.append(found.assign(**_named(tile, data)))
    finally:
        embedder.close()
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS])
    side = job.occlusion.side(source.tile_size)
    metadata = {**data.identity, "head": kind, "side": side, "covered": list(job.covered)}
    write_parquet(table[[*COLUMNS]].astype(COLUMNS), output, metadata)


def _named(tile: ShownTile, data: ProbeData) -> dict[str, Any]:
    return {
        "row": tile.row,
        "tile_id": data.tiles.tile_ids[tile.row],
        "class": data.tiles.classes[tile.column],
        "found": tile.found,
        "fold": tile.fold,
    }


def _of_first_seed(data: ProbeData) -> dict[int, Division]:
    """Return fold -> division of the first repeat, with all training labels."""
    by_group = [division for division in data.divisions if division.scheme == SCHEME]
    seed = min(division.seed for division in by_group)
    largest = max(division.fraction for division in by_group)
    return {d.fold: d for d in by_group if (d.seed, d.fraction) == (seed, largest)}


def _of_these(predictions: pd.DataFrame, divisions: Mapping[int, Division]) -> pd.DataFrame:
    """Return the predictions of test tiles of some divisions of one repeat."""
    first = next(iter(divisions.values()))
    same = [predictions[name] == getattr(first, name) for name in ("scheme", "seed", "fraction")]
    kept = np.logical_and.reduce(same) & predictions["fold"].isin([*divisions]).to_numpy()
    found: pd.DataFrame = predictions[kept]
    return found


def _trained(
    kind: str, data: ProbeData, settings: HeadSettings, needed: Sequence[Division]
) -> list[HeadBatch]:
    """Train the heads of some divisions again; one that is needed twice is trained once."""
    # Logistic regressions do not depend on one another; networks that train together might.
    if kind == "logreg":
        kept = {division.fold: division for division in needed}
        data = replace(data, divisions=[*kept.values()])
    heads = fit_on(kind, data, settings) if needed else []
    found = {division.names: head for division, head in zip(data.divisions, heads, strict=False)}
    return [found[division.names] for division in needed]


@dataclass(frozen=True)
class _Judge:
    """Says the log-odds of one class of images."""

    viewer: Viewer
    head: HeadBatch
    column: int
    is_multi_label: bool
    seen: Callable[[int], object]

    @torch.inference_mode()
    def __call__(self, images: Iterable[Pixels]) -> Floats:
        parts = []
        waiting = iter(images)
        while batch := list(itertools.islice(waiting, self.viewer.batch_size)):
            embeddings = torch.from_numpy(self.viewer(batch))
            logits = self.head.logits(embeddings[None])[0].numpy()
            parts.append(log_odds(logits, self.column, self.is_multi_label))
            self.seen(len(batch))
        return np.concatenate(parts)


def _losses(source: TileStore, row: int, job: OcclusionProbe, judge: _Judge) -> pd.DataFrame:
    """Return what one tile loses at each place, of all channels and of each alone."""
    tile = source.read(row, row + 1)[0]
    settings, size = job.occlusion, source.tile_size
    side, corners = settings.side(size), settings.corners(size)
    ways: dict[str, list[int]] = {"": [*range(len(tile))]}
    ways |= {name: [source.channels.index(name)] for name in job.covered}
    images = (image for own in ways.values() for image in covered(tile, corners, side, own))
    whole, *rest = judge(itertools.chain([tile], images))
    places = np.tile(corners, (len(ways), 1))
    return pd.DataFrame(
        {
            "log_odds": whole,
            "probability": expit(whole),
            "channel": np.repeat([*ways], len(corners)),
            "y": places[:, 0],
            "x": places[:, 1],
            "loss": whole - np.array(rest),
        }
    )

"""Hand-crafted features: the baseline that a network has to beat.

The families follow CellProfiler's measurements of whole images (Carpenter et al. 2006). All
features are computed from intensities on the dataset's scale of 0 (black) to 1 (white).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from skimage.filters import threshold_otsu
from skimage.transform import resize

from transferscope.backbones.embedder import Embedder, Embeddings, Tiles, decision
from transferscope.cards import HandcraftedCard
from transferscope.config.channel_strategies import FEATURES
from transferscope.runtime.worker_processes import process_pool

Image = npt.NDArray[np.float32]
Limits = npt.NDArray[np.float32]
Features = dict[str, float]

NUCLEUS = "nucleus"
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
GRAY_LEVELS = 32
GRAY_DISTANCES = (1, 4)
GRAY_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
HARALICK = ("contrast", "homogeneity", "energy", "correlation", "entropy")
LBP_POINTS = 8
LBP_RADII = (1, 3)
GRANULARITY_STEPS = 6
RADIAL_BINS = 6
# Tiles that a worker process computes at once.
TILES_PER_TASK = 16
EPSILON = 1e-8


def compute_features(
    tile: Tiles,
    channels: Sequence[str],
    intensity_range: Limits,
    card: HandcraftedCard,
) -> Features:
    """Return the named features of one tile.

    Parameters
    ----------
    tile
        Raw tile [C, H, W].
    channels
        What each channel shows.
    intensity_range
        Raw values of black and white, [C, 2].
    card
        Families of features, and the side in px to which larger tiles are shrunk.

    Returns
    -------
    dict
        Feature name -> value; always finite, and the same names in the same order for any tile.
    """
    images = _scaled(tile, intensity_range, card.input_size)
    found: Features = {}
    for family in card.families:
        if family == "radial":
            found |= _radial(images, channels)
        elif family == "colocalization":
            found |= _colocalization(images, channels)
        elif family == "count":
            found |= _count(images, channels)
        else:
            for channel, image in zip(channels, images, strict=True):
                values = _OF_ONE_CHANNEL[family](image)
                found |= {f"{family}_{channel}_{name}": v for name, v in values.items()}
    return found


def _scaled(tile: Tiles, intensity_range: Limits, largest: int) -> Image:
    low, high = intensity_range[:, 0, None, None], intensity_range[:, 1, None, None]
    images = np.clip((tile.astype(np.float32) - low) / (high - low), 0, 1).astype(np.float32)
    height, width = images.shape[1:]
    if max(height, width) <= largest:
        return images
    shape = [max(1, round(n * largest / max(height, width))) for n in (height, width)]
    shrunk = resize(images, (len(images), *shape), order=1, anti_aliasing=True)
    return np.asarray(shrunk, dtype=np.float32)


def _intensity(image: Image) -> Features:
    mean, std = float(image.mean()), float(image.std())
    # A flat image has no shape of its histogram: skewness and kurtosis are 0 then.
    standard = (image - mean) / std if std > EPSILON else np.zeros_like(image)
    square = standard * standard
    found = {
        "mean": mean,
        "std": std,
        "skewness": float((square * standard).mean()),
        "kurtosis": float((square * square).mean()),
        "saturated": float((image >= 1).mean()),
    }
    values = np.percentile(image, PERCENTILES)
    return found | {f"p{p}": float(v) for p, v in zip(PERCENTILES, values, strict=True)}


def _texture(image: Image) -> Features:
    """Return Haralick's features and histograms of local binary patterns.

    The gray levels are spread between the image's own 1st and 99th percentile, so that texture
    does not measure brightness again.
    """
    low, high = np.percentile(image, (1, 99))
    stretched = np.clip((image - low) / max(high - low, EPSILON), 0, 1)
    levels = (stretched * (GRAY_LEVELS - 1)).round().astype(np.uint8)
    matrices = graycomatrix(
        levels, GRAY_DISTANCES, GRAY_ANGLES, GRAY_LEVELS, symmetric=True, normed=True
    )
    found: Features = {}
    for name in HARALICK:
        values = graycoprops(matrices, name).mean(axis=1)  # over the angles
        found |= {f"{name}_{d}": float(v) for d, v in zip(GRAY_DISTANCES, values, strict=True)}
    pixels = (stretched * 255).round().astype(np.uint8)
    for radius in LBP_RADII:
        patterns = local_binary_pattern(pixels, LBP_POINTS, radius, method="uniform")
        counts = np.bincount(patterns.astype(int).ravel(), minlength=LBP_POINTS + 2)
        shares = counts / patterns.size
        found |= {f"lbp{radius}_{code}": float(share) for code, share in enumerate(shares)}
    return found


def _granularity(image: Image) -> Features:
    """Return the share of the signal that openings of growing size remove, step by step."""
    signal = np.clip(image - float(np.percentile(image, 5)), 0, None)
    before = total = float(signal.sum())
    found: Features = {}
    for step in range(1, GRANULARITY_STEPS + 1):
        # An opening by a square is separable, and fast at any size.
        size = 2 * step + 1
        after = float(ndimage.maximum_filter(ndimage.minimum_filter(signal, size), size).sum())
        found[f"{step}"] = _ratio(before - after, total)
        before = after
    return found


def _radial(images: Image, channels: Sequence[str]) -> Features:
    """Return each channel's share and mean intensity in zones of distance from the nuclei.

    Zone 0 is the nuclei (Otsu's threshold of the nucleus channel); further zones are rings around
    them. Without a nucleus channel the zones are rings around the centre of the tile.
    """
    zones = _zones(images, channels)
    areas = np.bincount(zones.ravel(), minlength=RADIAL_BINS)
    found: Features = {}
    for channel, image in zip(channels, images, strict=True):
        sums = np.bincount(zones.ravel(), image.ravel().astype(float), minlength=RADIAL_BINS)
        overall = float(image.mean())
        for zone in range(RADIAL_BINS):
            mean = sums[zone] / areas[zone] if areas[zone] else overall
            share = sums[zone] / max(sums.sum(), EPSILON)
            found[f"radial_{channel}_{zone}_share"] = float(share)
            found[f"radial_{channel}_{zone}_ratio"] = float(mean / max(overall, EPSILON))
    return found


def _count(images: Image, channels: Sequence[str]) -> Features:
    """Return how many nuclei there are, and how large they are and how much they cover.

    They are what is above Otsu's threshold of the nucleus channel; without one, of the mean of all
    channels. What is smaller than a hundredth of the mean of the largest three is dust.
    """
    named = NUCLEUS in channels
    image = images[list(channels).index(NUCLEUS)] if named else images.mean(axis=0)
    mask = _nuclei(image)
    if mask is None:
        return {"count_nuclei": 0.0, "count_area": 0.0, "count_covered": 0.0}
    labels, _ = ndimage.label(ndimage.binary_opening(mask))
    areas = np.bincount(labels.ravel())[1:]
    if len(areas):
        areas = areas[areas >= np.sort(areas)[-3:].mean() / 100]
    area = float(areas.mean()) / image.size if len(areas) else 0.0
    return {
        "count_nuclei": float(len(areas)),
        "count_area": area,
        "count_covered": float(mask.mean()),
    }


def _quality(image: Image) -> Features:
    """Return brightness and noise of a channel, its saturated share, and how sharp it is.

    Focus is the variance of the Laplacian over that of the pixels, as in the table of quality of
    the tiles.
    """
    variance = float(image.var())
    dark, bright = (float(value) for value in np.percentile(image, (1, 99)))
    return {
        "mean": float(image.mean()),
        "dark": dark,
        "bright": bright,
        "saturated": float((image >= 1).mean()),
        "focus": _ratio(float(ndimage.laplace(image).var()), variance),
    }


def _zones(images: Image, channels: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the zone of each pixel, 0 to RADIAL_BINS - 1."""
    side = min(images.shape[1:])
    mask = _nuclei(images[list(channels).index(NUCLEUS)]) if NUCLEUS in channels else None
    if mask is not None:
        ring = 1 + np.floor((ndimage.distance_transform_edt(~mask) - 1) / (side / 32))
        zones = np.where(mask, 0, np.clip(ring, 1, RADIAL_BINS - 1))
        return np.asarray(zones, dtype=np.int64)
    y, x = np.indices(images.shape[1:])
    centre = (np.array(images.shape[1:]) - 1) / 2
    radius = np.hypot(y - centre[0], x - centre[1]) / (side / 2)
    zones = np.clip(np.floor(radius * (RADIAL_BINS - 1)), 0, RADIAL_BINS - 1)
    return np.asarray(zones, dtype=np.int64)


def _nuclei(image: Image) -> npt.NDArray[np.bool_] | None:
    """Return the mask of the nuclei, or None where the channel is flat."""
    if float(image.max() - image.min()) <= EPSILON:
        return None
    return np.asarray(image > threshold_otsu(image))


def _colocalization(images: Image, channels: Sequence[str]) -> Features:
    """Return Pearson's, Manders' and the overlap coefficient of each pair of channels.

    Manders' M1 and M2 take as foreground what lies above Otsu's threshold of the other channel.
    """
    found: Features = {}
    foreground = [_nuclei(image) for image in images]
    for i, j in itertools.combinations(range(len(images)), 2):
        a, b = (images[c].ravel().astype(float) for c in (i, j))
        found |= {
            f"colocalization_{channels[i]}_{channels[j]}_{name}": value
            for name, value in {
                "pearson": _correlation(a - a.mean(), b - b.mean()),
                "overlap": _correlation(a, b),
                "manders_1": _inside(images[i], foreground[j]),
                "manders_2": _inside(images[j], foreground[i]),
            }.items()
        }
    return found


def _correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    # Not `a @ b`: BLAS would start threads of its own in every worker.
    return _ratio(float((a * b).sum()), float(np.sqrt((a * a).sum() * (b * b).sum())))


def _inside(image: Image, mask: npt.NDArray[np.bool_] | None) -> float:
    return 0.0 if mask is None else _ratio(float(image[mask].sum()), float(image.sum()))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > EPSILON else 0.0


_OF_ONE_CHANNEL: dict[str, Callable[[Image], Features]] = {
    "intensity": _intensity,
    "texture": _texture,
    "granularity": _granularity,
    "quality": _quality,
}


def compute_rows(
    tiles: Tiles,
    channels: Sequence[str],
    intensity_range: Limits,
    card: HandcraftedCard,
) -> Embeddings:
    """Return the features of several tiles, [N, D]; see `compute_features`."""
    rows = [list(compute_features(t, channels, intensity_range, card).values()) for t in tiles]
    return np.asarray(rows, dtype=np.float32)


class HandcraftedEmbedder(Embedder):
    """Computes hand-crafted features on the processor, several tiles at a time.

    Parameters
    ----------
    card
        The backbone card.
    channels, intensity_range
        Channels of the tiles, and their raw values of black and white [C, 2].
    threads
        Number of worker processes; with one, no process is started.
    """

    def __init__(
        self,
        card: HandcraftedCard,
        channels: Sequence[str],
        intensity_range: Limits,
        threads: int = 1,
    ) -> None:
        self.card = card
        self.batch_size = TILES_PER_TASK * threads
        self.channels = list(channels)
        self.intensity_range = intensity_range
        self.threads = threads
        self._pool: ProcessPoolExecutor | None = None
        blank = np.zeros((len(self.channels), 16, 16), dtype=np.float32)
        self.names = list(compute_features(blank, self.channels, intensity_range, card))

    def identity(self) -> dict[str, Any]:
        """Return what the values depend on besides the tiles."""
        return {"card": self.card.fingerprint(), "channels": self.channels}

    def columns(self) -> list[dict[str, Any]]:
        """Return which columns hold what: all are one output."""
        return [{"output": "features", "channel": None, "start": 0, "stop": len(self.names)}]

    def attributes(self) -> dict[str, Any]:
        """Return what the store says about itself."""
        return {
            "backbone": self.card.name,
            "card_fingerprint": self.card.fingerprint(),
            "weights_sha256": None,
            "strategy": FEATURES,
            "slots": [{channel: channel for channel in self.channels}],
            "dropped_channels": [],
            "input_size": self.card.input_size,
            "normalization": None,
            "layers": {},
            "feature_names": self.names,
        }

    def decide(self, sample: Tiles) -> dict[str, Any]:
        """Return the number formats: features differ in scale, so that they stay float32."""
        return decision("fp32", "float32")

    def kept(self, decision: dict[str, Any], sample: Iterable[Tiles]) -> list[dict[str, Any]]:
        """Return nothing: no precision is reduced."""
        return []

    def start(self, decision: dict[str, Any]) -> None:
        """Start the worker processes."""
        if self.threads > 1:
            self._pool = process_pool(self.threads)

    def __call__(self, tiles: Tiles, siblings: Sequence[Embedder] = ()) -> Embeddings:
        """Return features [N, D] of raw tiles [N, C, H, W]."""
        shared = (self.channels, self.intensity_range, self.card)
        if self._pool is None or len(tiles) <= TILES_PER_TASK:
            return compute_rows(tiles, *shared)
        starts = range(0, len(tiles), TILES_PER_TASK)
        tasks = [
            self._pool.submit(compute_rows, tiles[s : s + TILES_PER_TASK], *shared) for s in starts
        ]
        return np.concatenate([task.result() for task in tasks])

    def close(self) -> None:
        """Stop the worker processes."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from skimage.feature import graycomatrix, graycoprops

from transferscope.backbones.handcrafted import HandcraftedEmbedder, compute_features, compute_rows
from transferscope.cards import HandcraftedCard

CARD = HandcraftedCard(source="handcrafted", name="handcrafted")
CHANNELS = ["nucleus", "protein"]
RANGE = np.array([[0, 1000], [0, 1000]], dtype=np.float32)


def disc(size: int = 64, radius: float = 12) -> np.ndarray:
    y, x = np.indices((size, size)) - (size - 1) / 2
    return np.hypot(y, x) < radius


def tile(protein: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).poisson(50, (2, *protein.shape))
    return (np.stack([disc(), protein]) * 600 + noise).astype(np.uint16)


def features(protein: np.ndarray, **changes: object) -> dict[str, float]:
    return compute_features(tile(protein), CHANNELS, RANGE, CARD.model_copy(update=changes))


def test_intensity_equals_numpy_and_scipy() -> None:
    found = features(disc(radius=5))
    image = (tile(disc(radius=5))[1] / 1000).clip(0, 1)
    assert found["intensity_protein_mean"] == pytest.approx(image.mean(), rel=1e-4)
    assert found["intensity_protein_std"] == pytest.approx(image.std(), rel=1e-4)
    assert found["intensity_protein_skewness"] == pytest.approx(stats.skew(image.ravel()), rel=1e-3)
    kurtosis = stats.kurtosis(image.ravel(), fisher=False)
    assert found["intensity_protein_kurtosis"] == pytest.approx(kurtosis, rel=1e-3)
    assert found["intensity_protein_p95"] == pytest.approx(np.percentile(image, 95), rel=1e-4)


def test_texture_equals_scikit_image() -> None:
    image = tile(disc())[0] / 1000
    low, high = np.percentile(image, (1, 99))
    levels = (((image - low) / (high - low)).clip(0, 1) * 31).round().astype(np.uint8)
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    matrix = graycomatrix(levels, [4], angles, 32, symmetric=True, normed=True)
    expected = graycoprops(matrix, "contrast").mean()
    assert features(disc())["texture_nucleus_contrast_4"] == pytest.approx(expected, rel=1e-3)


def test_granularity_peaks_at_the_size_of_the_grains() -> None:
    small, large = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    for y in range(4, 60, 12):
        for x in range(4, 60, 12):
            small[y : y + 2, x : x + 2] = True
            large[y : y + 6, x : x + 6] = True
    spectrum = [
        [features(grains)[f"granularity_protein_{step}"] for step in range(1, 7)]
        for grains in (small, large)
    ]
    assert np.argmax(spectrum[0]) == 0
    assert np.argmax(spectrum[1]) == 2  # an opening by 7 px is the first that removes 6 px


def test_radial_features_tell_nuclear_from_membrane_protein() -> None:
    nuclear = features(disc())
    membrane = features(disc(radius=24) & ~disc(radius=20))
    assert nuclear["radial_protein_0_share"] > 0.5 > membrane["radial_protein_0_share"]
    shares = [nuclear[f"radial_protein_{zone}_share"] for zone in range(6)]
    assert sum(shares) == pytest.approx(1)


def test_without_a_nucleus_channel_the_zones_are_rings_around_the_centre() -> None:
    def share(radius: float) -> float:
        image = (disc(radius=radius) * 500).astype(np.uint16)[None]
        return compute_features(image, ["protein"], RANGE[:1], CARD)["radial_protein_0_share"]

    assert share(5) > share(20)


def test_colocalization_equals_its_formulas() -> None:
    found = features(disc(radius=8))
    a, b = (tile(disc(radius=8)) / 1000).clip(0, 1).reshape(2, -1)
    pair = "colocalization_nucleus_protein"
    assert found[f"{pair}_pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-4)
    overlap = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    assert found[f"{pair}_overlap"] == pytest.approx(overlap, rel=1e-4)
    inside = disc(radius=8).ravel()
    assert found[f"{pair}_manders_1"] == pytest.approx(a[inside].sum() / a.sum(), rel=1e-4)


@pytest.mark.parametrize("value", [0, 500, 60000])
@pytest.mark.parametrize("channels", [["nucleus"], ["nucleus", "protein"], ["a", "b", "c"]])
def test_flat_tiles_give_finite_features(value: int, channels: list[str]) -> None:
    flat = np.full((2, len(channels), 32, 32), value, dtype=np.uint16)
    limits = np.tile(RANGE[:1], (len(channels), 1))
    assert np.isfinite(compute_rows(flat, channels, limits, CARD)).all()


def test_families_choose_the_features() -> None:
    found = features(disc(), families=["granularity"])
    assert len(found) == 12
    assert all(name.startswith("granularity_") for name in found)


def test_larger_tiles_are_shrunk() -> None:
    large = np.kron(tile(disc()), np.ones((1, 4, 4), dtype=np.uint16))
    small = compute_features(large, CHANNELS, RANGE, CARD.model_copy(update={"input_size": 64}))
    expected = features(disc())
    for name, tolerance in (("intensity_protein_mean", 0.02), ("radial_protein_0_share", 0.05)):
        assert small[name] == pytest.approx(expected[name], rel=tolerance)


def test_worker_processes_change_nothing_and_names_fit_the_columns() -> None:
    rng = np.random.default_rng(1)
    tiles = rng.integers(0, 1200, (40, 2, 32, 32)).astype(np.uint16)
    embedder = HandcraftedEmbedder(CARD, CHANNELS, RANGE, threads=2)
    embedder.start(embedder.decide(tiles))
    try:
        found = embedder(tiles)
    finally:
        embedder.close()
    np.testing.assert_array_equal(found, compute_rows(tiles, CHANNELS, RANGE, CARD))
    assert found.shape == (40, len(embedder.names))
    assert embedder.attributes()["feature_names"] == embedder.names
    assert len(set(embedder.names)) == len(embedder.names)


COUNTS = HandcraftedCard(source="handcrafted", name="counts", families=["count", "quality"])


@given(
    places=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20),
    dust=st.integers(0, 10),
    named=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_nuclei_are_counted(places: set[tuple[int, int]], dust: int, named: bool) -> None:
    rng = np.random.default_rng(0)
    image = rng.poisson(20, (192, 192)).astype(np.uint16)
    for row, column in places:
        image[32 * row + 8 : 32 * row + 24, 32 * column + 8 : 32 * column + 24] += 700
    if places:
        for row, column in rng.integers(0, 6, (dust, 2)):
            image[32 * row + 3, 32 * column + 3] = 900
    channels = ["nucleus", "protein"] if named else ["dna", "protein"]
    other = rng.integers(0, 1000, image.shape) if named else image
    card = COUNTS.model_copy(update={"input_size": 192})
    found = compute_features(np.stack([image, other.astype(np.uint16)]), channels, RANGE, card)
    if places:
        assert found["count_nuclei"] == len(places)
        assert found["count_area"] == pytest.approx(256 / 192**2, rel=0.1)
        assert found["count_covered"] == pytest.approx(256 * len(places) / 192**2, rel=0.1)


def test_quality_falls_out_of_focus_and_tells_no_pattern() -> None:
    sharp = tile(disc())
    blurred = np.stack([ndimage.gaussian_filter(plane.astype(float), 3) for plane in sharp])
    mirrored = sharp[:, ::-1, ::-1]
    first, second, third = (
        compute_features(t.astype(np.uint16), CHANNELS, RANGE, COUNTS)
        for t in (sharp, blurred, mirrored)
    )
    assert second["quality_protein_focus"] < first["quality_protein_focus"] / 3
    assert third == pytest.approx(first, rel=1e-4)
    assert COUNTS.is_nuisance
    assert not CARD.is_nuisance

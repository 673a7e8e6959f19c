"""The demo data: reproducible, in the form labs have it, and physically sensible."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from transferscope.simulate import (
    CLASSES,
    DOMAINS,
    Domain,
    Protein,
    draw_proteins,
    simulate_dataset,
    simulate_fov,
)
from transferscope.simulate.organelles import PAINTERS
from transferscope.simulate.proteins import STRONGEST_TRACE, WEAKEST_LABEL, Look
from transferscope.simulate.randomness import rng_for
from transferscope.simulate.scene import Scene, build_scene

MEAN_LOOK = Look(size=1.0, abundance=1.0, spread=0.5, texture=0.5, straightness=0.5)
NUCLEAR = ("nucleoplasm", "nucleolus", "nuclear_punctae")
SHEET_COLUMNS = {
    "opencell": ["tile_id", "path", "group", "labels", "batch", "fov"],
    "hpa": [
        "tile_id",
        "path_microtubules",
        "path_protein",
        "path_nucleus",
        "path_er",
        "group",
        "labels",
        "batch",
        "fov",
    ],
}


def digests(folder: Path) -> dict[str, str]:
    """Map every file below a folder to its hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def small(domain: str, folder: Path, **options: object) -> Path:
    """Simulate two proteins with two small FOVs each."""
    arguments: dict = {"n_groups": 2, "fovs_per_group": 2, "fov_size": 48, "workers": 1}
    return simulate_dataset(domain, folder, **(arguments | options))


def pure(domain: Domain, place: str) -> Protein:
    """Make a bright, even protein that sits in one place only."""
    return replace(
        draw_proteins(domain, 1, 0)[0],
        labels=(place,),
        components=((place, 1.0),),
        expression=3.0,
        diffuse=0.03,
        heterogeneity=0.1,
        silent=0.0,
        look=MEAN_LOOK,
    )


def grow(seed: int = 0, size: int = 160) -> Scene:
    """Grow a scene of the first domain."""
    return build_scene(rng_for(seed, "scene"), DOMAINS["opencell"].culture, size, 0.25, 0.9, 1.0)


@pytest.mark.parametrize("domain", DOMAINS)
class TestFiles:
    def test_the_sheet_has_a_row_for_each_fov(self, domain: str, tmp_path: Path) -> None:
        sheet = pd.read_csv(small(domain, tmp_path), sep="\t")
        assert list(sheet.columns) == SHEET_COLUMNS[domain]
        assert len(sheet) == 4
        assert sheet.tile_id.is_unique
        assert sheet.group.value_counts().tolist() == [2, 2]
        assert set(";".join(sheet.labels).split(";")) <= set(CLASSES)

    def test_every_file_is_uint16_with_its_pixel_size(self, domain: str, tmp_path: Path) -> None:
        sheet = pd.read_csv(small(domain, tmp_path), sep="\t")
        optics = DOMAINS[domain].optics
        shape = (2, 48, 48) if domain == "opencell" else (48, 48)
        for column in [name for name in sheet.columns if name.startswith("path")]:
            for path in sheet[column]:
                assert not Path(path).is_absolute()
                with tifffile.TiffFile(tmp_path / path) as file:
                    tags = file.pages.first.tags
                    per_cm, one = tags["XResolution"].value
                    assert 1e4 * one / per_cm == pytest.approx(optics.pixel_size_um)
                    assert tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
                    assert "DateTime" not in tags
                    assert file.series[0].axes == ("CYX" if len(shape) == 3 else "YX")
                    image = file.asarray()
                assert image.dtype == np.uint16
                assert image.shape == shape
                assert image.std() > 0

    def test_masks_number_the_cells(self, domain: str, tmp_path: Path) -> None:
        sheet = pd.read_csv(small(domain, tmp_path, masks=True), sep="\t")
        for path in sheet["mask"]:
            mask = tifffile.imread(tmp_path / path)
            assert mask.dtype == np.uint16
            assert mask.shape == (48, 48)
            assert mask.max() >= 1
            assert np.array_equal(np.unique(mask[mask > 0]), np.arange(1, mask.max() + 1))

    def test_masks_change_no_image(self, domain: str, tmp_path: Path) -> None:
        small(domain, tmp_path / "without")
        small(domain, tmp_path / "with", masks=True)
        images = digests(tmp_path / "without" / "images")
        assert images == digests(tmp_path / "with" / "images")

    def test_more_of_everything_leaves_the_first_files_alone(
        self, domain: str, tmp_path: Path
    ) -> None:
        small(domain, tmp_path / "few")
        small(domain, tmp_path / "many", n_groups=3, fovs_per_group=3)
        few, many = digests(tmp_path / "few" / "images"), digests(tmp_path / "many" / "images")
        assert few.items() < many.items()


class TestReproducibility:
    def test_bytes_do_not_depend_on_the_workers(self, tmp_path: Path) -> None:
        small("hpa", tmp_path / "one", masks=True)
        small("hpa", tmp_path / "two", masks=True, workers=2)
        assert digests(tmp_path / "one") == digests(tmp_path / "two")

    def test_another_seed_gives_other_images(self, tmp_path: Path) -> None:
        first = small("opencell", tmp_path / "first", seed=0)
        second = small("opencell", tmp_path / "second", seed=1)
        assert first.read_text() != second.read_text()
        assert set(digests(first.parent / "images").values()).isdisjoint(
            digests(second.parent / "images").values()
        )

    def test_a_killed_run_is_repaired_by_running_it_again(self, tmp_path: Path) -> None:
        def kill(done: int, total: int) -> None:
            raise KeyboardInterrupt

        small("opencell", tmp_path / "whole")
        small("opencell", tmp_path / "killed", seed=5)
        with pytest.raises(KeyboardInterrupt):
            small("opencell", tmp_path / "killed", progress=kill)
        assert not (tmp_path / "killed" / "samples.tsv").exists()
        small("opencell", tmp_path / "killed")
        repaired = digests(tmp_path / "killed")
        assert digests(tmp_path / "whole").items() <= repaired.items()
        assert not [name for name in repaired if name.rpartition("/")[2].startswith(".")]

    def test_progress_counts_the_fovs(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        small("opencell", tmp_path, progress=lambda done, total: seen.append((done, total)))
        assert seen == [(2, 4), (4, 4)]

    @given(names=st.lists(st.text(max_size=5), min_size=1, max_size=3))
    def test_streams_are_named(self, names: list[str]) -> None:
        first = rng_for(*names).integers(2**62)
        assert first == rng_for(*names).integers(2**62)
        assert first != rng_for(*names, "other").integers(2**62)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": "brain"}, "choose one of opencell, hpa"),
        ({"n_groups": 0}, "n_groups is 0: set it to"),
        ({"fovs_per_group": 0}, "fovs_per_group is 0: set it to"),
        ({"fov_size": 8}, "fov_size is 8: set it to"),
        ({"seed": -1}, "seed is -1: set it to"),
        ({"workers": 0}, "workers is 0: set it to"),
    ],
)
def test_bad_arguments_say_what_to_do(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    arguments: dict = {"domain": "opencell", "output": tmp_path / "new"} | options
    with pytest.raises(ValueError, match=message):
        simulate_dataset(**arguments)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)
class TestProteins:
    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 2**31))
    def test_every_class_has_enough_groups_for_three_folds(self, domain: Domain, seed: int) -> None:
        proteins = draw_proteins(domain, domain.n_groups, seed)
        count = Counter(label for protein in proteins for label in protein.labels)
        assert set(count) == set(CLASSES)
        assert min(count.values()) >= 6

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 2**31), n=st.integers(1, 60))
    def test_the_first_proteins_stay_when_more_follow(
        self, domain: Domain, seed: int, n: int
    ) -> None:
        assert draw_proteins(domain, n, seed) == draw_proteins(domain, 80, seed)[:n]

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 2**31))
    def test_labels_are_the_places_that_are_bright(self, domain: Domain, seed: int) -> None:
        for protein in draw_proteins(domain, 40, seed):
            assert 1 <= len(protein.labels) <= 2
            weights = dict(protein.components)
            bright = {place for place, weight in weights.items() if weight >= WEAKEST_LABEL}
            assert bright == set(protein.labels)
            others = [weight for place, weight in weights.items() if place not in bright]
            assert all(weight <= STRONGEST_TRACE for weight in others)

    def test_names_are_unique_and_a_share_has_two_labels(self, domain: Domain) -> None:
        proteins = draw_proteins(domain, 240, 0)
        assert len({protein.name for protein in proteins}) == 240
        assert 0.33 <= np.mean([len(protein.labels) == 2 for protein in proteins]) <= 0.5
        assert len({protein.batch for protein in proteins}) == 20


class TestScene:
    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 1000))
    def test_nuclei_lie_inside_their_cells(self, seed: int) -> None:
        scene = grow(seed)
        assert scene.inside.any()
        nuclei = scene.nucleus_um < 0
        assert np.all(scene.edge_um[nuclei] >= 0.79)
        assert np.all(scene.nucleus_um[scene.nucleolus > 0] < 0)
        assert scene.label.max() <= scene.n_cells

    @settings(max_examples=10, deadline=None)
    @given(seed=st.integers(0, 1000), place=st.sampled_from(CLASSES))
    def test_painters_give_finite_light_of_an_even_brightness(self, seed: int, place: str) -> None:
        scene = grow(seed)
        light = PAINTERS[place](scene, rng_for(seed, place), MEAN_LOOK)
        assert light.dtype == np.float32
        assert light.shape == scene.label.shape
        assert np.all(np.isfinite(light))
        assert 0 <= light.max() < 25

    def test_there_is_a_painter_for_each_class(self) -> None:
        assert tuple(sorted(PAINTERS)) == CLASSES


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)
class TestPhysics:
    def planes(
        self, domain: Domain, place: str, fov: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the nucleus and protein planes and the mask of a pure protein's FOV."""
        image, mask = simulate_fov(domain, pure(domain, place), fov, 96, 0)
        nucleus, protein = (image[domain.channels.index(name)] for name in ("nucleus", "protein"))
        return nucleus.astype(float), protein.astype(float), mask

    def test_nuclear_proteins_follow_the_nucleus(self, domain: Domain) -> None:
        def correlation(place: str) -> float:
            nucleus, protein, _ = self.planes(domain, place)
            return float(np.corrcoef(nucleus.ravel(), protein.ravel())[0, 1])

        for place in NUCLEAR:
            assert correlation(place) > correlation("membrane") + 0.2
            assert correlation(place) > correlation("er") + 0.2
        assert correlation("nucleoplasm") > 0.8

    def test_a_membrane_is_at_the_edge_and_cytoplasm_is_not(self, domain: Domain) -> None:
        def rim_to_inside(place: str) -> float:
            _, protein, mask = self.planes(domain, place)
            distance = ndimage.distance_transform_edt(mask > 0)
            rim, inside = (distance > 0) & (distance < 3), distance > 5
            return float(protein[rim].mean() / protein[inside].mean())

        assert rim_to_inside("membrane") > 1.1
        assert rim_to_inside("membrane") > 1.5 * rim_to_inside("cytoplasmic")

    def test_a_centrosome_is_a_spot_and_cytoplasm_is_not(self, domain: Domain) -> None:
        def peak(place: str) -> float:
            _, protein, mask = self.planes(domain, place)
            smooth = ndimage.gaussian_filter(protein, 1)[mask > 0]
            return float(np.percentile(smooth, 99.9) / np.median(smooth))

        assert peak("centrosome") > 2 * peak("cytoplasmic")
        assert peak("vesicles") > peak("cytoplasmic")

    def test_cells_are_brighter_than_the_ground(self, domain: Domain) -> None:
        for place in CLASSES:
            _, protein, mask = self.planes(domain, place)
            if np.any(mask == 0):
                assert protein[mask > 0].mean() > protein[mask == 0].mean()

    def test_fovs_of_a_protein_share_its_look_but_no_pixels(self, domain: Domain) -> None:
        first, second = (self.planes(domain, "nucleoplasm", fov)[1] for fov in (0, 1))
        assert not np.array_equal(first, second)
        assert 0.25 < first.mean() / second.mean() < 4

    def test_dim_proteins_are_noisier(self, domain: Domain) -> None:
        def noise(expression: float) -> float:
            protein = replace(pure(domain, "nucleoplasm"), expression=expression)
            image, _ = simulate_fov(domain, protein, 0, 96, 0)
            plane = image[domain.channels.index("protein")].astype(float)
            smooth = ndimage.gaussian_filter(plane, 2)
            return float((plane - smooth).std() / smooth.std())

        assert noise(0.3) > 1.3 * noise(3.0)

"""The simulated screen: its layout, its controls, and plates that differ or do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import REPOSITORY
from transferscope.cards.dataset import DatasetCard, SimulateSettings
from transferscope.config.model import read_model
from transferscope.relations.sources import read_source
from transferscope.simulate import DOMAINS, simulate_dataset
from transferscope.simulate.camera import draw_settings
from transferscope.simulate.screen import CONTROL, PHENOTYPES, Screen, complexes, draw_wells

CARDS = REPOSITORY / "resources/datasets"
SMALL = Screen(genes_per_complex=2, n_plates=4, controls_per_plate=3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 4), st.integers(0, 5), st.integers(0))
def test_any_layout_is_a_screen(n_genes, n_replicates, n_libraries, n_controls, seed):
    plates = n_replicates * n_libraries
    screen = Screen(n_plates=plates, controls_per_plate=n_controls)
    wells = draw_wells(DOMAINS["opencell"], screen, n_genes, n_replicates, seed)
    table = pd.DataFrame(
        [{"name": w.name, "plate": w.cells.batch, "position": w.position} for w in wells]
    )
    assert not table.duplicated(["plate", "position"]).any()
    controls = table["name"] == CONTROL
    assert len(table[controls]) == plates * n_controls
    if n_controls:
        assert (table[controls].groupby("plate").size() == n_controls).all()
    genes = table[~controls].groupby("name")
    assert len(genes) == n_genes
    # A gene is once on each plate of one library.
    assert (genes["plate"].nunique() == n_replicates).all()
    libraries = genes["plate"].agg(lambda own: tuple(sorted(own)))
    assert libraries.nunique() == min(n_genes, n_libraries)
    assert libraries.value_counts().max() - libraries.value_counts().min() <= 1


def test_genes_of_a_complex_are_alike_and_controls_have_no_label():
    wells = draw_wells(DOMAINS["opencell"], Screen(controls_per_plate=1), 60, 2, 0)
    looks = {
        w.name: np.array(
            [w.cells.expression, w.cells.nucleus_scale, w.cells.look.size, w.cells.look.spread]
        )
        for w in wells
    }
    names = sorted(set(looks) - {CONTROL})
    known = set(complexes(60, 3))
    scaled = np.array([looks[name] for name in names])
    scaled = (scaled - scaled.mean(axis=0)) / scaled.std(axis=0)
    distances = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    within = [distances[names.index(a), names.index(b)] for a, b in known]
    assert np.mean(within) < 0.6 * np.median(distances[np.triu_indices(60, 1)])
    assert {w.cells.labels for w in wells if w.name == CONTROL} == {()}
    assert {label for w in wells for label in w.cells.labels} == set(PHENOTYPES)


def test_plates_of_the_twin_are_alike():
    plates = [f"plate{n:02d}" for n in range(40)]
    twin, differ = (
        [draw_settings(0, "opencell", plate, "fov", effects) for plate in plates]
        for effects in (0.0, 4.0)
    )
    assert len(set(twin)) == 1
    assert (twin[0].gain, twin[0].offset) == (1, 0)
    # Four times as much as between plates of other datasets.
    assert np.std([np.log(one.exposure) for one in differ]) == pytest.approx(0.8, rel=0.3)
    assert len({(one.gain, one.offset, one.focus) for one in differ}) == 40


def test_the_sheet_names_perturbations_controls_and_wells(tmp_path: Path):
    done: list[tuple[int, int]] = []
    sheet = simulate_dataset(
        "opencell",
        tmp_path,
        n_groups=4,
        fovs_per_group=2,
        fov_size=48,
        workers=2,
        screen=SMALL,
        progress=lambda *counts: done.append(counts),
    )
    table = pd.read_csv(sheet, sep="\t", dtype=str).fillna("")
    assert done[-1] == (20, 20)
    assert table["tile_id"].is_unique
    assert {"perturbation", "control", "well", "batch"} <= set(table.columns)
    control = table["control"] == "true"
    assert control.sum() == 12
    assert (table.loc[control, ["perturbation", "labels"]] == "").all(axis=None)
    assert (table.loc[~control, "perturbation"] == table.loc[~control, "group"]).all()
    assert all((tmp_path / path).is_file() for path in table["path"])


def test_plates_have_to_fit_the_replicates():
    with pytest.raises(ValueError, match="give a multiple of fovs_per_group"):
        SimulateSettings.model_validate(
            {"domain": "opencell", "fovs_per_group": 3, "screen": {"n_plates": 8}}
        )
    with pytest.raises(ValueError, match="screen: only of cells"):
        SimulateSettings.model_validate({"domain": "glands", "screen": {}})
    with pytest.raises(ValueError, match="8 plates are no multiple of 3 replicates"):
        draw_wells(DOMAINS["opencell"], Screen(n_plates=8), 4, 3, 0)


def test_the_shipped_source_has_the_complexes_of_the_shipped_screen():
    simulated = read_model(CARDS / "screen-demo.yaml", DatasetCard).simulate
    assert simulated is not None
    assert simulated.screen is not None
    source = read_source("screen-demo", [REPOSITORY])
    listed = set(zip(source.first, source.second, strict=True))
    assert listed == set(complexes(simulated.n_groups, simulated.screen.genes_per_complex))


def test_the_twin_differs_in_its_plates_alone():
    screen, twin = (
        read_model(CARDS / f"{name}.yaml", DatasetCard)
        for name in ("screen-demo", "screen-demo-twin")
    )
    assert screen.simulate is not None
    assert twin.simulate is not None
    assert screen.simulate.screen is not None
    alike = screen.simulate.screen.model_copy(update={"plate_effects": 0})
    assert twin.simulate == screen.simulate.model_copy(update={"screen": alike})

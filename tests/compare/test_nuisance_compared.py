"""What stores know besides biology, compared: intervals, verdicts and sentences."""

import numpy as np
import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.compare.nuisance import (
    NUISANCE_COLUMNS,
    ROBUSTNESS_COLUMNS,
    NuisanceTables,
    compare_nuisances,
)
from transferscope.compare.nuisance_sentences import nuisances_at_length, nuisances_in_short
from transferscope.config.jobs import NuisanceProbe
from transferscope.config.nuisance import TABLES, NuisanceSettings
from transferscope.config.probed import Probed
from transferscope.config.probes import SplitSettings
from transferscope.config.results import CompareSettings, FigureSettings
from transferscope.correction.methods import correct
from transferscope.correction.rows import Rows
from transferscope.figures.nuisance import draw_nuisances
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.nuisance_job import measure_nuisances
from transferscope.probes.splits import make_splits

SPLITS = SplitSettings(schemes=["group"], folds={"group": 3}, seeds=[0], fractions=[1.0], halves=4)
SETTINGS = CompareSettings(bootstrap=200)
N_GROUPS, WIDTH = 48, 8
STORES = {"shifted": 1.5, "clean": 0.0}


def jobs_of(folder):
    """Run the step on two stores and their corrections, and return their files."""
    group = np.repeat(np.arange(N_GROUPS), 3)
    label, batch = group % 3, group // 3 % 4
    names = np.array([f"p{n}" for n in batch], dtype=object)
    ids = [f"t{n:03}" for n in range(len(group))]
    table = pd.DataFrame(
        {"tile_id": ids, "group": [f"g{n}" for n in group], "labels": [f"c{n}" for n in label]}
    ).assign(fov=ids, batch=names, donor=[f"d{n}" for n in group])
    card = DatasetCard(
        name="d", sheet="s", channels=["x"], labels=["c0", "c1", "c2"], task="single-label"
    )
    splits = make_splits(table, card, SPLITS)
    asked = NuisanceSettings(columns=["batch", "donor"], k=5, permutations=99)
    job = NuisanceProbe(nuisance=asked, splits=SPLITS)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, WIDTH))[label] + 0.5 * rng.normal(size=(N_GROUPS, WIDTH))[group]
    values += 0.7 * rng.normal(size=values.shape)
    shifts = rng.normal(size=(4, WIDTH))[batch]
    found = {}
    rows = Rows.of(names, np.zeros(len(group), dtype=bool))
    for store, strength in STORES.items():
        own = values + strength * shifts
        for correction in ("none", "center"):
            name = store if correction == "none" else f"{store}+{correction}"
            corrected = correct(own, rows, correction).embeddings
            identity = {"dataset": "d", "backbone": name, "channels": "map"}
            data = ProbeData.of(corrected, table, splits, [1.0], ["macro_f1"], identity)
            files = {each: folder / f"{name}.{each}.parquet" for each in TABLES}
            measure_nuisances(data, table, None, job, folder / "t", list(files.values()))
            found[Probed("d", name, "map")] = files
    return found


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nuisance")
    compare_nuisances(jobs_of(folder), SETTINGS, folder)
    return folder, NuisanceTables.read(folder)


def test_a_planted_batch_is_shown_and_a_corrected_one_is_not(compared):
    _, tables = compared
    assert list(tables.nuisance) == NUISANCE_COLUMNS
    own = tables.nuisance[tables.nuisance["target"] == "batch"].set_index("backbone")
    assert own["shown"].to_dict() == {
        "shifted": True,
        "shifted+center": False,
        "clean": False,
        "clean+center": False,
    }
    assert (own["ci_low"] <= own["value"]).all()
    assert (own["value"] <= own["ci_high"]).all()
    assert (own["floor"] == 0.25).all()
    assert (own["n_groups"] == N_GROUPS).all()
    assert own.loc["clean", "ci_low"] < 0.25 < own.loc["clean", "ci_high"] + 0.1
    # Corrected for all targets and stores at once.
    assert (own["p_adjusted"] >= own["p"]).all()
    assert (own["n_comparisons"] == 4).all()


def test_the_index_before_and_after_a_correction(compared):
    _, tables = compared
    assert list(tables.robustness) == ROBUSTNESS_COLUMNS
    rows = tables.robustness.set_index("backbone")
    assert rows["shown"].to_dict() == {
        "shifted": True,
        "shifted+center": False,
        "clean": False,
        "clean+center": False,
    }
    gained = rows.loc["shifted+center"]
    index = rows["robustness_index"]
    assert gained["gain"] == pytest.approx(index["shifted+center"] - index["shifted"], abs=1e-6)
    assert gained["gain"] > 0.5 * (index["clean"] - index["shifted"])
    assert gained["gain_low"] > 0
    assert gained["gain_shown"]
    assert not rows.loc["clean+center", "gain_shown"]
    assert rows.loc[["shifted", "clean"], "gain"].isna().all()


def test_what_is_said(compared):
    _, tables = compared
    chosen = pd.DataFrame([{"backbone": "shifted", "channels": "map"}])
    said = list(nuisances_in_short("d", chosen, tables, SETTINGS))
    text = " ".join(said)
    assert "knows `batch`: balanced accuracy" in text
    assert "`batch` is shown to matter" in text
    assert "`donor` cannot be predicted: each of its 48 values is in one fold" in text
    assert "`shifted+center / map` +" in text
    assert ", shown)" in text
    at_length = list(nuisances_at_length("d", chosen, tables, SETTINGS))
    assert at_length[: len(said)] == said
    assert sum("clean / map" in line for line in at_length) == 2
    nothing = chosen.iloc[:0]
    assert "cannot be predicted" in " ".join(nuisances_in_short("d", nothing, tables, SETTINGS))


def test_the_figure_is_drawn(compared, tmp_path):
    folder, tables = compared
    outputs = [tmp_path / "nuisance.svg"]
    draw_nuisances(folder, SETTINGS, FigureSettings(dpi=60), outputs)
    text = outputs[0].read_text()
    assert all(store in text for store in tables.nuisance["backbone"].unique())
    assert "robustness index" in text

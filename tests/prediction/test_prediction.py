"""Labels of new tiles: heads that say what the study said, probabilities that keep their word."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.config.probes import HeadKind, HeadSettings, SplitSettings
from transferscope.errors import UserError
from transferscope.prediction.calibrate import Calibration
from transferscope.prediction.deploy import Deployment, deploy
from transferscope.prediction.deployed import DeployedHead, Labels
from transferscope.prediction.table import DEPLOYED, OUT_OF_FOLD, label_table, write_label_table
from transferscope.probes.calibration import calibration
from transferscope.probes.evaluation import ProbeData
from transferscope.probes.heads import run_heads
from transferscope.probes.splits import make_splits

CLASSES = ["er", "golgi", "nucleus", "vesicles"]
WIDTH, TILES = 24, 6
NEW = 6000


class World:
    """Embeddings of groups: classes overlap, and tiles of a group are alike."""

    def __init__(self, seed: int, several: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(0, 0.9, (len(CLASSES), WIDTH))
        self.several = several

    def draw(self, groups: int, tiles: int = TILES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return embeddings, label indicators and groups."""
        own = self.rng.random((groups, len(CLASSES))) < 0.3
        first = self.rng.integers(0, len(CLASSES), groups)
        if not self.several:
            own[:] = False
        own[np.arange(groups), first] = True
        of_group = own @ self.centres + self.rng.normal(0, 0.7, (groups, WIDTH))
        values = np.repeat(of_group, tiles, axis=0)
        values = values + self.rng.normal(0, 1, values.shape)
        names = np.repeat([f"G{g:04d}" for g in range(groups)], tiles)
        return values.astype(np.float32), np.repeat(own, tiles, axis=0), names


def read(world: World, n_groups: int, fractions: Sequence[float] = (1.0,)) -> ProbeData:
    values, truth, groups = world.draw(n_groups)
    labels = [";".join(np.array(CLASSES)[row]) for row in truth]
    labels[-2 * TILES :] = [""] * (2 * TILES)
    ids = [f"{group}_{i}" for i, group in enumerate(groups)]
    table = pd.DataFrame({"tile_id": ids, "group": groups, "labels": labels, "fov": ids})
    task = "multi-label" if world.several else "single-label"
    settings = SplitSettings(
        schemes=["group"], folds={"group": 3}, seeds=[0], fractions=list(fractions), halves=0
    )
    card = DatasetCard(name="world", sheet="s", channels=["x"], task=task, labels=CLASSES)
    splits = make_splits(table, card, settings)
    identity = {"dataset": "world", "backbone": "b", "channels": "map"}
    return ProbeData.of(values, table, splits, fractions, ["macro_f1"], identity)


def deployed(data: ProbeData, kind: HeadKind, settings: HeadSettings | None = None) -> Deployment:
    chosen = settings or HeadSettings(kinds=[kind])
    stored = run_heads(data, chosen).predictions()
    return deploy(kind, data, chosen, "group", stored, {"dataset": "world"})


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kind", ["logreg", "linear", "mlp"])
def test_the_heads_of_the_folds_say_what_they_said(kind: HeadKind, several: bool) -> None:
    data = read(World(1, several), 40, (0.5, 1.0))
    settings = HeadSettings(kinds=["linear", "logreg", "mlp"], epochs=6, hidden=[16])
    found = deployed(data, kind, settings)
    assert found.difference == 0
    assert found.n_heads == 3
    assert len(found.out_of_fold.rows) == data.tiles.labelled.sum()
    stored = run_heads(data, settings).predictions()
    stored.loc[stored["head"] == kind, "score_0"] += 0.25
    other = deploy(kind, data, settings, "group", stored, {})
    assert other.difference == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kind", ["logreg", "mlp"])
def test_probabilities_of_new_groups_are_calibrated(kind: HeadKind, several: bool) -> None:
    world = World(2, several)
    found = deployed(read(world, 120), kind, HeadSettings(kinds=[kind], hidden=[32], epochs=20))
    values, truth, _ = world.draw(NEW // TILES)
    assert len(values) >= 5000
    said = found.head.label(values)
    assert calibration(truth, said.probabilities)["calibration_error"] < 0.05
    # Of the class that is told, too.
    top = said.probabilities.max(axis=1)
    right = truth[np.arange(len(truth)), said.probabilities.argmax(axis=1)]
    bins = np.minimum((top * 10).astype(int), 9)
    gaps = np.bincount(bins, weights=top - right, minlength=10)
    assert np.abs(gaps).sum() / len(top) < 0.05
    assert found.evidence.calibration_error < 0.08
    # What is said of the error holds for new groups.
    wrong = (said.predicted != truth).any(axis=1).mean()
    assert found.evidence.error_low - 0.05 < wrong < found.evidence.error_high + 0.02
    assert found.evidence.error_low < found.evidence.error < found.evidence.error_high


def test_a_calibration_corrects_scores_that_are_too_sure() -> None:
    rng = np.random.default_rng(0)
    true = 1 / (1 + np.exp(-rng.normal(0, 2, (4000, 3))))
    truth = rng.random(true.shape) < true
    sure = 1 / (1 + np.exp(-3 * np.log(true / (1 - true)) - 1))
    fitted = Calibration.fit(truth, sure, is_multi_label=True)
    assert calibration(truth, sure)["calibration_error"] > 0.1
    assert calibration(truth, fitted.probabilities(sure))["calibration_error"] < 0.02
    assert fitted.slopes == pytest.approx(1 / 3, abs=0.05)


def test_tiles_unlike_all_labelled_ones_are_flagged() -> None:
    world = World(3, False)
    found = deployed(read(world, 60), "logreg")
    alike, _, _ = world.draw(300)
    assert (found.head.label(alike).distances > 1).mean() < 0.04
    assert (found.head.label(alike + 8).distances > 1).all()
    assert (found.head.label(np.zeros_like(alike) + 1e3).distances > 1).all()


@pytest.mark.parametrize("kind", ["logreg", "mlp"])
def test_a_head_is_kept_as_data(tmp_path: Path, kind: HeadKind) -> None:
    world = World(4, True)
    settings = HeadSettings(kinds=[kind], hidden=[16, 8], epochs=3)
    found = deployed(read(world, 40), kind, settings)
    found.head.write(tmp_path / "head.safetensors")
    kept = DeployedHead.read(tmp_path / "head.safetensors")
    values, _, _ = world.draw(20)
    before, after = found.head.label(values), kept.label(values)
    assert np.array_equal(before.predicted, after.predicted)
    assert np.array_equal(before.probabilities, after.probabilities)
    assert np.allclose(before.distances, after.distances, rtol=1e-5)
    assert kept.classes == CLASSES
    assert kept.about["kind"] == kind
    assert b"pickle" not in (tmp_path / "head.safetensors").read_bytes()


def test_what_is_no_head_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3)}, tmp_path / "weights.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("weights", "text"):
        with pytest.raises(UserError, match="is no head"):
            DeployedHead.read(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("several", [False, True])
def test_wrong_labels_are_the_most_doubtful(several: bool) -> None:
    rng, hits = np.random.default_rng(7), []
    for seed in range(4):
        data = read(World(20 + seed, several), 80)
        given = data.tiles.matrix
        labelled = np.flatnonzero(data.tiles.labelled)
        wrong = rng.choice(labelled, round(0.05 * len(labelled)), replace=False)
        for row in wrong:
            if several and given[row].sum() > 1:
                given[row, rng.choice(np.flatnonzero(given[row]))] = False
            else:
                given[row] = np.roll(given[row], rng.integers(1, len(CLASSES)))
        found = deployed(data, "logreg")
        rows = found.out_of_fold.rows
        said = Labels(found.out_of_fold.predicted, found.probabilities, np.full(len(rows), np.nan))
        tiles = pd.DataFrame({"tile_id": rows.astype(str), "labels": "?"})
        table = label_table(tiles, said, CLASSES, OUT_OF_FOLD, given[rows])
        top = table.sort_values("doubt", ascending=False)["tile_id"].astype(int)[: len(wrong)]
        hits.append(np.isin(top, wrong).mean())
        assert table["doubt"].between(0, 1).all()
    # Drawn at random, 5 % of as many tiles would have one.
    assert np.mean(hits) > 3 * 0.05
    assert set(table["in_doubt"]) <= set(CLASSES)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_tables_name_the_classes(tmp_path: Path, ending: str) -> None:
    world = World(5, True)
    found = deployed(read(world, 40), "logreg")
    values, _, groups = world.draw(10)
    tiles = pd.DataFrame({"tile_id": [f"=t{i}" for i in range(len(values))], "group": groups})
    table = label_table(tiles, found.head.label(values), CLASSES, DEPLOYED)
    path = tmp_path / f"labels.{ending}"
    write_label_table(table, path)
    if ending == "parquet":
        back = pd.read_parquet(path)
    else:
        back = pd.read_csv(path, sep="\t" if ending == "tsv" else ",")
        assert back["tile_id"].str.startswith("'=").all(), "no spreadsheet runs it"
    assert set(back.columns) >= {"tile_id", "predicted", *(f"p_{name}" for name in CLASSES)}
    told = set(";".join(back["predicted"].dropna()).split(";"))
    assert told <= {*CLASSES, ""}

"""Fields that are alike get one group: by the microscope, and where a place is shown twice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage

from command_tree import run
from factories import write_yaml
from transferscope.proposal.alike import by_look, joined, look, reduced, same_place

SIDE = 96
# Level of the background, its noise, and blur in px: what sets experiments apart.
EXPERIMENTS = ((100, 2.0, 1.0), (400, 12.0, 3.0), (1500, 40.0, 0.7))


def _field(rng: np.random.Generator, experiment: int, n_blobs: int | None = None) -> np.ndarray:
    level, noise, blur = EXPERIMENTS[experiment]
    points = np.zeros((SIDE, SIDE))
    # What a field shows differs within an experiment.
    for y, x in rng.integers(0, SIDE, (n_blobs or rng.integers(4, 30), 2)):
        points[y, x] = 1
    blobs = ndimage.gaussian_filter(ndimage.binary_dilation(points, iterations=4) * 1.0, blur)
    values = level * (1 + 4 * blobs) + rng.normal(0, noise, points.shape)
    return np.clip(values, 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("seed", range(5))
def test_experiments_are_told_apart_by_what_the_microscope_did(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.repeat(np.arange(3), 12))
    found = by_look(np.stack([look(_field(rng, n)) for n in true]), 3)
    assert all(len(set(found[true == n])) == 1 for n in range(3))
    assert len(set(found)) == 3


@pytest.mark.parametrize("seed", range(5))
def test_a_place_is_found_again_in_other_light_and_shifted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fields = [_field(rng, 0, 25) for _ in range(12)]
    moved = np.roll(fields[3], rng.integers(-8, 9, 2), axis=(0, 1)) * 3.0 + 50
    pairs = same_place([reduced(f) for f in [*fields, moved + rng.normal(0, 3, moved.shape)]])
    assert pairs == [(3, 12)]


def test_blank_fields_are_no_pair() -> None:
    assert same_place([reduced(np.full((SIDE, SIDE), 7)) for _ in range(3)]) == []


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_joined_as_the_graph_of_their_pairs_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 8, 20).tolist()
    pairs = [tuple(p) for p in rng.integers(0, 20, (4, 2)).tolist()]
    found = joined(groups, pairs)
    links = [(a, b) for a in range(20) for b in range(20) if groups[a] == groups[b]] + pairs
    reach = np.eye(20, dtype=bool)
    for a, b in links:
        reach[a, b] = reach[b, a] = True
    reach = np.linalg.matrix_power(reach.astype(float), 20) > 0
    assert (np.equal.outer(found, found) == reach).all()


def _dataset(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(9):
        tifffile.imwrite(folder / f"{number}.tif", _field(rng, number % 3))
        rows.append((f"f{number}", f"{number}.tif", f"own{min(number, 7)}", "a"))
    table = pd.DataFrame(rows, columns=["tile_id", "path", "group", "labels"])
    table.to_csv(folder / "samples.tsv", sep="\t", index=False)
    card = {"name": "d", "sheet": "samples.tsv", "channels": ["nucleus"], "labels": ["a", "b"]}
    write_yaml(folder / "d.yaml", card)


def test_the_command_writes_a_sheet_with_groups_that_hold_what_was_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _dataset(tmp_path)
    monkeypatch.chdir(tmp_path)
    ended = run(["alike", "--card", "d.yaml", "--output", "alike.tsv", "--looks", "3"])
    assert ended.code == 0, ended.err
    made = pd.read_csv("alike.tsv", sep="\t")
    # Fields 7 and 8 had one group, so that two experiments are joined.
    assert made["group"].tolist() == ["look-0", "look-1", "look-1"] * 3
    assert made["group_before"].tolist() == [f"own{min(n, 7)}" for n in range(9)]
    again = run(["alike", "--card", "d.yaml", "--output", "alike.tsv"])
    assert again.code != 0
    assert "is there already" in again.err
    (tmp_path / "other").mkdir()
    other = run(["alike", "--card", "d.yaml", "--output", "other/alike.tsv"])
    assert other.code != 0
    assert "would mean other files" in other.err

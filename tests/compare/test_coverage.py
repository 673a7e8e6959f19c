"""A small cell of benchmarks/coverage_of_verdicts.py: whole studies with equally good stores.

Intervals and errors at their level need hundreds of studies; here it is checked that the parts fit
together, and that verdicts are not wrong several times as often as they say.
"""

import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from coverage_of_verdicts import (
    DESIGNS,
    PAIR,
    Design,
    Share,
    simulate,
    studies_to_run,
    summarised,
    with_groups,
)

STUDIES = 16
SMALL = Design(40, 2, 1, 4, head="knn", stores=3, halves=4, bootstrap=200)


@pytest.fixture(scope="module")
def found():
    return [simulate(SMALL, study) for study in range(STUDIES)]


def share(row, name):
    return row[name].percent


def test_equal_stores_are_rarely_called_different(found):
    (row,) = summarised(found, [SMALL]).to_dict("records")
    assert row["studies"] == STUDIES
    assert share(row, "score covered") >= 85
    assert share(row, "difference covered") >= 85
    assert share(row, "pairs with p < .05") <= 15
    assert share(row, "any claim in the text") <= 20
    assert 0.7 < float(row["SE / SD"]) < 2


def test_a_much_better_store_is_found():
    design = replace(SMALL, better=0.1, groups=80)
    (row,) = summarised([simulate(design, study) for study in range(4)], [design]).to_dict(
        "records"
    )
    assert share(row, "best ruled out") == 0
    assert share(row, "power, one pair") >= 75


def test_the_same_study_gives_the_same_verdicts(found):
    assert json.dumps(simulate(SMALL, 3)) == json.dumps(found[3])


def test_both_splits_have_an_interval_of_their_difference():
    design = replace(SMALL, stores=2, schemes=("group", "image"))
    (row,) = summarised([simulate(design, study) for study in range(2)], [design]).to_dict(
        "records"
    )
    assert float(row["split gap"]) > 0.05
    assert share(row, "gap covered") >= 50


@pytest.mark.parametrize(("noise", "named"), [(1.0, 0), (5.0, 100)])
def test_fine_tuning_is_worth_it_only_where_it_gains(noise, named):
    design = replace(
        SMALL, stores=1, modes=1, repeats=3, halves=0, fractions=(0.5, 1.0), better=noise
    )
    (row,) = summarised([simulate(design, study) for study in range(2)], [design]).to_dict(
        "records"
    )
    assert share(row, "fraction named") == named
    assert share(row, "said to be worth it") == named


def test_equal_means_a_difference_below_the_margin(found):
    design = replace(SMALL, margin=0.5, halves=0)
    (wide,) = [simulate(design, 0)]
    verdicts = {pair[PAIR.index("verdict")] for pair in wide["pairs"]}
    assert verdicts == {"equal"}
    assert "equal" not in {p[PAIR.index("verdict")] for study in found for p in study["pairs"]}


def test_shares_of_designs_are_pooled_by_their_studies():
    rng = np.random.default_rng(0)
    parts = [rng.random(40) < 0.1, rng.random(160) < 0.3]
    pooled = Share.pooled([Share.of(part) for part in parts])
    both = np.concatenate(parts)
    assert pooled.percent == pytest.approx(100 * both.mean())
    assert pooled.error == pytest.approx(
        100 * np.sqrt(sum(len(p) * p.var(ddof=1) for p in parts)) / len(both)
    )


def test_the_number_of_groups_is_where_power_crosses_80_percent():
    sweep = [replace(SMALL, groups=groups, better=0.7, sweep=True) for groups in (60, 100, 200)]
    # The probit is a line against the root of the number of groups, with 80 % at 144.
    power = 100 * norm.cdf(0.25 * np.sqrt([60, 100, 200]) - 2.1584) + [-1, 1, -1]
    table = pd.DataFrame(
        {
            "design": [design.name for design in sweep],
            "studies": [400] * len(sweep),
            "true difference": ["0.100", "0.100", "0.100"],
            "power, corrected": [Share(p, 2, 400) for p in power],
        }
    )
    pair = dict.fromkeys(PAIR, 0.0) | {"detectable": 0.15}
    rows = [{"design": sweep[0].name, "pairs": [list(pair.values())]}]
    table, needed = with_groups(table, rows, sweep)
    assert table["groups for 80 %, predicted"].tolist() == ["135"] * 3
    assert needed.groups == pytest.approx(144, rel=0.05)
    assert needed.predicted == pytest.approx(60 * 1.5**2)
    assert 1 < needed.error < 20


def test_a_tenth_of_a_run_has_all_designs_alike(tmp_path):
    arguments = Namespace(output=tmp_path / "none.jsonl", only="", studies=None, share=1.0, first=0)
    runs = studies_to_run(arguments)
    assert len(set(runs)) == len(runs) == sum(design.studies for design in DESIGNS)
    begun = pd.Series([design.name for design, _ in runs[: len(runs) // 10]]).value_counts()
    for design in DESIGNS:
        assert begun[design.name] == pytest.approx(design.studies / 10, abs=1)


def test_a_stopped_run_continues(tmp_path):
    output = tmp_path / "some.jsonl"
    arguments = Namespace(output=output, only="knn", studies=None, share=0.002, first=0)
    runs = studies_to_run(arguments)
    done = [{"design": design.name, "study": study} for design, study in runs[:5]]
    output.write_text("".join(json.dumps(row) + "\n" for row in done))
    assert studies_to_run(arguments) == runs[5:]

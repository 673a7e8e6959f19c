"""A small cell of benchmarks/coverage.py: whole studies with equally good stores.

Intervals and errors at their level need hundreds of studies; here it is checked that the parts fit
together, and that verdicts are not wrong several times as often as they say.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from coverage_of_verdicts import Design, simulate, summarised

STUDIES = 16
SMALL = Design(40, 2, 1, 4, head="knn", stores=3, halves=4, bootstrap=200)


@pytest.fixture(scope="module")
def found():
    return [simulate(SMALL, study) for study in range(STUDIES)]


def share(row, name):
    return float(row[name].split()[0])


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

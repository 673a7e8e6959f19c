"""Differences over several datasets, against formulas written out for equal errors."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from transferscope.compare.datasets import across_datasets

A, B = ("a", "map"), ("b", "map")


def gaps(*rows, error=0.02):
    """Return differences; each row is dataset, first store, second store, difference."""
    return pd.DataFrame(
        [
            {
                "kind": "stores",
                "dataset": dataset,
                "scheme": "group",
                "head": "logreg",
                "k": pd.NA,
                "first_backbone": first[0],
                "first_channels": first[1],
                "second_backbone": second[0],
                "second_channels": second[1],
                "difference": value,
                "standard_error": error,
            }
            for dataset, first, second, value in rows
        ]
    ).astype({"k": "Int64"})


def test_mean_and_intervals_of_equally_sure_datasets():
    values = np.array([0.10, -0.02, 0.16, 0.06])
    rows = [(f"d{i}", A, B, v) if v > 0 else (f"d{i}", B, A, -v) for i, v in enumerate(values)]
    (found,) = across_datasets(gaps(*rows), 0.95).to_dict("records")
    assert (found["first_backbone"], found["second_backbone"]) == A[:1] + B[:1]
    assert found["n_datasets"] == 4
    spread = values.std(ddof=1)
    assert found["difference"] == pytest.approx(values.mean(), abs=1e-6)
    assert found["between_sd"] == pytest.approx(np.sqrt(spread**2 - 0.02**2), abs=1e-4)
    reach = stats.t.ppf(0.975, 3) * spread / 2
    assert found["ci_low"] == pytest.approx(values.mean() - reach, abs=1e-4)
    assert found["ci_high"] == pytest.approx(values.mean() + reach, abs=1e-4)
    new = stats.t.ppf(0.975, 2) * np.sqrt(spread**2 - 0.02**2 + spread**2 / 4)
    assert found["new_high"] == pytest.approx(values.mean() + new, abs=1e-4)


def test_datasets_that_agree_by_chance_do_not_narrow_the_interval():
    (found,) = across_datasets(
        gaps(("d", A, B, 0.05), ("e", A, B, 0.05), error=0.03), 0.95
    ).to_dict("records")
    reach = stats.t.ppf(0.975, 1) * 0.03 / np.sqrt(2)
    assert found["ci_high"] - 0.05 == pytest.approx(reach, abs=1e-5)
    assert np.isnan(found["new_low"])
    assert found["between_sd"] == 0


def test_the_better_store_on_average_is_first():
    (found,) = across_datasets(gaps(("d", A, B, 0.01), ("e", B, A, 0.05)), 0.95).to_dict("records")
    assert found["first_backbone"] == "b"
    assert found["difference"] == pytest.approx(0.02)
    assert found["ci_low"] < 0.02 < found["ci_high"]


@pytest.mark.parametrize(
    "table",
    [
        gaps(("d", A, B, 0.1)),
        gaps(("d", A, B, 0.1), ("e", A, ("c", "map"), 0.1)),
        gaps(("d", A, B, 0.0), ("e", A, B, 0.0), error=0.0),
    ],
    ids=["one dataset", "no shared pair", "copies"],
)
def test_nothing_is_averaged_where_datasets_share_nothing(table):
    assert across_datasets(table, 0.95).empty

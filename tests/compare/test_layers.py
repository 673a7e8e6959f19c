"""Score against depth: which block is chosen, by what, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferscope.compare.layers import layer_table, layers_in_sentences
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import VALIDATION_SCORE

OF_HEAD = {"head": "logreg", "k": pd.NA}


def tables(test, validation, *, scheme="group", suffix=""):
    """Return summary, chosen and differences of one backbone, block by block, and of another."""
    names = [f"vit@block{n + 1}{suffix}" for n in range(len(test))] + ["other@block1"]
    rows = pd.DataFrame(
        {
            "dataset": "cells",
            "scheme": scheme,
            "backbone": names,
            "channels": "map",
            "metric": "macro_f1",
            "fraction": 1.0,
            "mean": [*test, 0.9],
            "ci_low": [value - 0.1 for value in [*test, 0.9]],
            "ci_high": [value + 0.1 for value in [*test, 0.9]],
            VALIDATION_SCORE: [*validation, 0.9],
            **OF_HEAD,
        }
    ).astype({"k": "Int64"})
    chosen = pd.DataFrame([{"dataset": "cells", "scheme": scheme, **OF_HEAD}])
    pairs = []
    for i in range(len(test)):
        for j in range(i):
            first, second = (i, j) if test[i] >= test[j] else (j, i)
            difference = test[first] - test[second]
            pairs.append(
                {
                    "kind": "stores",
                    "dataset": "cells",
                    "scheme": scheme,
                    **OF_HEAD,
                    "first_backbone": names[first],
                    "first_channels": "map",
                    "second_backbone": names[second],
                    "second_channels": "map",
                    "difference": difference,
                    "ci_low": difference - 0.05,
                    "ci_high": difference + 0.07,
                    "verdict": "better",
                    "n_comparisons": 3,
                }
            )
    columns = ["kind", "dataset", "scheme", "head", "k", "first_backbone", "first_channels"]
    columns += ["second_backbone", "second_channels"]
    return rows, chosen, pd.DataFrame(pairs) if pairs else pd.DataFrame(columns=columns)


SCORES = st.lists(
    st.tuples(st.integers(0, 999), st.integers(0, 999)),
    min_size=1,
    max_size=14,
    unique_by=(lambda pair: pair[0], lambda pair: pair[1]),
)


@settings(max_examples=50, deadline=None)
@given(SCORES, st.sampled_from(["", "+tvn"]))
def test_validation_alone_chooses_and_differences_are_from_the_last_block(scores, suffix):
    test, validation = ([value / 1000 for value in each] for each in zip(*scores, strict=True))
    found = layer_table(*tables(test, validation, suffix=suffix), ["vit"], "macro_f1")
    assert list(found["block"]) == list(range(1, len(test) + 1))
    assert set(found["backbone"]) == {f"vit{suffix}"}
    assert list(np.flatnonzero(found["is_chosen"])) == [int(np.argmax(validation))]
    expected = np.array(test[:-1]) - test[-1]
    np.testing.assert_allclose(found["difference"][:-1].astype(float), expected, atol=1e-12)
    assert np.isnan(found["difference"].iloc[-1])
    inside = (found["difference_low"] <= found["difference"]) & (
        found["difference"] <= found["difference_high"]
    )
    assert inside[:-1].all()
    assert list(found["verdict"][:-1]) == ["better" if d >= 0 else "worse" for d in expected]


def test_only_backbones_whose_blocks_were_asked_for_are_in_it():
    found = layer_table(*tables([0.3, 0.5], [0.4, 0.2]), [], "macro_f1")
    assert found.empty


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        ([0.2, 0.6, 0.4], "block 2 of 3 is to be used. On test groups, its macro F1 is 0.500"),
        ([0.2, 0.4, 0.6], "block 3 of 3 is to be used. On test groups, its macro F1 is 0.300"),
        ([np.nan] * 3, "no score on validation tiles says which of 3 blocks to use"),
    ],
)
def test_what_is_said(validation, said):
    table = layer_table(*tables([0.4, 0.5, 0.3], validation), ["vit"], "macro_f1")
    [sentence] = layers_in_sentences(table, "cells", CompareSettings())
    assert sentence.startswith("`vit / map`: ")
    assert said in sentence
    if validation[1] == 0.6:
        assert (
            "minus that of the last block: +0.200 (+0.150 to +0.270), shown to be better"
            in sentence
        )

"""Families of backbones: scores against size, and what the largest is worth over the smallest."""

import numpy as np
import pandas as pd
import pytest
from test_layers import OF_HEAD, tables

from transferscope.cards import BackboneCard
from transferscope.cards.lookup import SHIPPED
from transferscope.compare.families import families_in_sentences, family_table
from transferscope.config.jobs import FamilyMember
from transferscope.config.model import read_model
from transferscope.config.results import CompareSettings
from transferscope.figures.curves import looks_of_study
from transferscope.figures.families import draw
from transferscope.figures.results import Results

SIZES = {"s": 2_000_000, "b": 8_000_000, "l": 30_000_000}
SCORES = {"l": 0.5, "s": 0.4, "b": 0.52}
COSTS = {"cells": {f"{name} / map": 100.0 * size for name, size in SIZES.items()}}


def in_study():
    """Return the tables of a study with a family of three networks, and another one."""
    summary, chosen, gaps = tables(list(SCORES.values()), [0.1, 0.2, 0.3])
    names = dict(zip([f"vit@block{n}" for n in (1, 2, 3)], SCORES, strict=True))
    summary["backbone"] = summary["backbone"].replace(names)
    gaps = gaps.replace({f"{side}_backbone": names for side in ("first", "second")})
    return summary, chosen, gaps


@pytest.fixture
def found():
    """Return the family."""
    members = {name: FamilyMember(family="fam", size=n) for name, n in SIZES.items()}
    return family_table(*in_study(), members, COSTS, "macro_f1")


def test_members_are_in_order_of_size_with_differences_from_the_smallest(found):
    assert list(found["backbone"]) == ["s", "b", "l"]
    assert list(found["mean"]) == [0.4, 0.52, 0.5]
    assert list(found["operations"]) == [100.0 * size for size in SIZES.values()]
    assert np.isnan(found["difference"].iloc[0])
    np.testing.assert_allclose(found["difference"][1:].astype(float), [0.12, 0.1])
    assert (found["head"] == OF_HEAD["head"]).all()


def test_what_the_largest_is_worth_is_said(found):
    [sentence] = families_in_sentences(found, "cells", CompareSettings())
    assert sentence.startswith(
        "`fam` with `map`: from `s` (2 M weights, 0.2 GFLOP per tile) to `l`"
    )
    assert "+0.100 (+0.050 to +0.170), shown to be better" in sentence
    unknown = found.assign(size=np.nan, operations=np.nan)
    [sentence] = families_in_sentences(unknown, "cells", CompareSettings())
    assert "`s` (of unknown size)" in sentence


def test_a_member_alone_is_no_family(found):
    summary, chosen, gaps = tables([0.4], [0.1])
    members = {"vit": FamilyMember(family="fam", size=1)}
    assert family_table(summary, chosen, gaps, members, {}, "macro_f1").empty


def results_with(families):
    """Return what figures are drawn from."""
    summary, chosen, _ = in_study()
    chosen, summary = chosen.assign(metric="macro_f1"), summary.assign(n_folds=2)
    return Results(summary, chosen, *[pd.DataFrame()] * 5, families=families)


def test_every_member_is_a_point_on_both_axes(found):
    results = results_with(found)
    figure = draw(results)
    weights, operations = figure.axes
    for panel, values in ((weights, SIZES.values()), (operations, COSTS["cells"].values())):
        assert list(panel.lines[0].get_xdata()) == list(values)
        assert panel.get_xscale() == "log"
    known = looks_of_study(results)
    shown = {key.get_label(): key.get_color() for key in operations.get_legend().legend_handles}
    assert shown == {f"{name} / map": known[f"{name} / map"][0] for name in SIZES}


def test_a_family_is_prose_and_changes_no_store():
    path = SHIPPED / "resources/backbones/efficientnet-lite1.yaml"
    card = read_model(path, BackboneCard)
    assert card.family == "efficientnet-lite"
    assert card.fingerprint() == card.model_copy(update={"family": None}).fingerprint()


def of_sweep(axis, verdicts):
    """Return a line of a sweep, from the smallest size, and the verdict of each on the finest."""
    sizes = [32, 64, 128] if axis == "input_size" else [0.5, 1.0, 2.0]
    scores = [0.4, 0.5, 0.52] if axis == "input_size" else [0.52, 0.5, 0.4]
    rows = [
        {
            "dataset": "cells", "scheme": "group", **OF_HEAD, "axis": axis, "family": "net",
            "representation": "", "channels": "map", "backbone": f"net_{size}", "size": size,
            "operations": 1e9, "mean": score, "ci_low": score - 0.1, "ci_high": score + 0.1,
            "difference": score - 0.52, "difference_low": score - 0.6,
            "difference_high": score - 0.4, "verdict": verdict, "n_comparisons": 3,
        }
        for size, score, verdict in zip(sizes, scores, verdicts, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("axis", "verdicts", "said"),
    [
        (
            "input_size",
            ["worse", "equal", ""],
            "64 px is enough: the difference from 128 px is −0.02",
        ),
        ("input_size", ["equal", "worse", ""], "A loss is shown at 64 px: the difference from 128"),
        ("input_size", ["equal", "better", ""], "32 px is enough"),
        ("input_size", ["undecided", "equal", ""], "64 px is enough"),
        ("input_size", ["equal", "undecided", ""], "No loss is shown, and no equality, down to 32"),
        ("pixel_size_um", ["", "equal", "worse"], "1 um/px is enough: the difference from 0.5 um"),
        ("pixel_size_um", ["", "worse", "worse"], "A loss is shown at 1 um/px"),
    ],
)
def test_how_far_tiles_can_be_reduced_is_said(axis, verdicts, said):
    [sentence] = families_in_sentences(of_sweep(axis, verdicts), "cells", CompareSettings())
    assert said in sentence
    assert sentence.index("0.520") < sentence.index("0.400")


def test_a_scale_is_a_point_at_its_own_value():
    sizes = dict(zip(SIZES, (32, 64, 128), strict=True))
    members = {n: FamilyMember(family="net", axis="input_size", size=v) for n, v in sizes.items()}
    table = family_table(*in_study(), members, COSTS, "macro_f1")
    size, operations = draw(results_with(table)).axes
    assert [text.get_text() for text in size.get_xticklabels()] == ["32", "64", "128"]
    assert size.get_xlabel() == "Side of the input (px)"
    assert operations.get_xlabel() == "Operations per tile"


def test_scales_are_compared_with_the_finest():
    summary, chosen, gaps = tables([0.5, 0.4, 0.52], [0.1, 0.2, 0.3])
    names = {f"vit@block{n}": f"net_{n}" for n in (1, 2, 3)}
    summary["backbone"] = summary["backbone"].replace(names)
    gaps = gaps.replace({f"{side}_backbone": names for side in ("first", "second")})
    for axis, finest in (("input_size", "net_3"), ("pixel_size_um", "net_1")):
        members = {
            name: FamilyMember(family="net", axis=axis, size=n)
            for n, name in enumerate(names.values(), 1)
        }
        found = family_table(summary, chosen, gaps, members, {}, "macro_f1")
        assert list(found[found["difference"].isna()]["backbone"]) == [finest]

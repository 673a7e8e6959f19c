"""Roles of columns: what is named counts, and else the usual name, if the sheet has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from transferscope.config.roles import GROUP, YES, RoleSettings

ROLES = {"perturbation": "perturbation", "batch": "batch", "control": "control", "position": "well"}
columns = st.sets(st.sampled_from([*ROLES.values(), "gene", "plate", "kind", GROUP]))
named = st.fixed_dictionaries({}, optional=dict.fromkeys(ROLES, st.sampled_from(["gene", "kind"])))


@given(named=named, columns=columns)
def test_a_column_that_is_named_counts_and_else_the_usual_one(named, columns):
    found = RoleSettings(**named).of(columns)
    for role, name in ROLES.items():
        usual = name if name in columns else None
        fallback = GROUP if role == "perturbation" else None
        assert getattr(found, role) == (named.get(role) or usual or fallback)
    assert set(RoleSettings(**named).named()) == set(named.values())


@given(mark=st.text(max_size=5), value=st.sampled_from(["DMSO", "1"]))
def test_controls_are_what_is_named_or_else_a_yes(mark, value):
    by_value = RoleSettings(control="kind", control_values=[value]).of(["kind"])
    assert by_value.are_controls([mark, value]) == [mark == value, True]
    usual = RoleSettings().of(["control"])
    assert usual.are_controls([mark, "TRUE", "Yes", "1"])[1:] == [True] * 3
    assert usual.are_controls([mark]) == [mark.casefold() in YES]


def test_values_need_their_column():
    with pytest.raises(ValidationError, match="`control_values` needs `control`"):
        RoleSettings(control_values=["DMSO"])

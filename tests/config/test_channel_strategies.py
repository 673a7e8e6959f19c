import re

import pytest

from transferscope.config.channel_strategies import (
    REQUESTED,
    STRATEGIES,
    WILDCARD,
    check_name,
    family_of,
    random_order,
    store_strategy,
)

STORED = ["replicate", "map", "map-random-12", "mean", "adapt", "agnostic", "features"]


@pytest.mark.parametrize("name", [*STRATEGIES, "only-protein", "only-h2b_2"])
def test_every_strategy_may_be_asked_for(name: str) -> None:
    assert check_name(name) == name
    assert re.search(REQUESTED, name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("replicat", 'Did you mean "replicate"'),
        ("map_random", 'Did you mean "map-random"'),
        ("map-random-1", 'Did you mean "map-random"'),
        ("only-", "only-<channel>"),
        ("features", "Known: replicate"),
        ("mean ", 'Did you mean "mean"'),
    ],
)
def test_any_other_name_is_refused_with_what_is_known(name: str, message: str) -> None:
    assert not re.search(REQUESTED, name)
    with pytest.raises(ValueError, match="no such channel strategy") as caught:
        check_name(name)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", [*STORED, "only-protein"])
def test_names_in_paths_are_told_apart_from_what_follows_them(name: str) -> None:
    assert re.fullmatch(WILDCARD, name)
    assert not re.fullmatch(WILDCARD, f"{name}.predictions")


def test_per_channel_views_share_the_store_of_replicate_and_orders_have_their_own() -> None:
    assert {store_strategy(s) for s in ("replicate", "mean", "only-er")} == {"replicate"}
    names = ["map", "adapt", "agnostic", "features", random_order(0), random_order(1)]
    assert [store_strategy(name) for name in names] == names


def test_random_orders_are_one_family() -> None:
    assert {family_of(random_order(seed)) for seed in (0, 7)} == {"map-random"}
    assert family_of("only-random") == "only-random"

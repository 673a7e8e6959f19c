from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferscope.cards import HandcraftedCard, Slot, TimmCard, network
from transferscope.channels.assignment import adapted_values, assign, column_layout, strategies_for
from transferscope.errors import UserError

NAMES = ["nucleus", "protein", "er", "microtubules", "actin", "mitochondria"]
RGB = [
    Slot(name="red", accepts=["microtubules"]),
    Slot(name="green", accepts=["protein"]),
    Slot(name="blue", accepts=["nucleus"]),
]
HPA = [Slot(name=n) for n in ("microtubules", "protein", "nucleus", "er")]

channel_lists = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)
slot_lists = st.lists(
    st.builds(
        Slot,
        name=st.sampled_from([*NAMES, "red", "green", "blue"]),
        accepts=st.lists(st.sampled_from(NAMES), unique=True),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda slot: slot.name,
)


def card_with(slots: list[Slot]) -> TimmCard:
    return TimmCard(source="timm", name="x", architecture="vit", slots=slots)


def mapped(strategy: str, channels: list[str], slots: list[Slot]):
    try:
        return assign(strategy, channels, slots)
    except UserError:
        return None


def test_replicate_makes_one_pass_a_channel_that_fills_every_slot() -> None:
    assignment = assign("replicate", ["nucleus", "protein"], RGB)
    assert [p.channel for p in assignment.passes] == ["nucleus", "protein"]
    assert assignment.slot_tables() == [
        {"red": "nucleus", "green": "nucleus", "blue": "nucleus"},
        {"red": "protein", "green": "protein", "blue": "protein"},
    ]
    assert assignment.dropped == ()


@pytest.mark.parametrize("view", ["mean", "only-nucleus"])
def test_views_read_the_passes_of_replicate(view: str) -> None:
    channels = ["nucleus", "protein"]
    assert assign(view, channels, RGB) == assign("replicate", channels, RGB)


def test_a_single_channel_that_the_dataset_lacks_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="no channel nuclues") as caught:
        assign("only-nuclues", ["nucleus", "protein"], RGB)
    assert 'Did you mean "nucleus"?' in str(caught.value)


def test_adapt_names_the_inputs_by_the_channels_and_repeats_the_slots() -> None:
    assignment = assign("adapt", ["er", "nucleus", "protein", "actin"], RGB)
    assert assignment.slot_tables() == [
        {"er": "er", "nucleus": "nucleus", "protein": "protein", "actin": "actin"}
    ]
    assert assignment.n_inputs == 4
    assert assignment.adapted == {
        "er": ("red",),
        "nucleus": ("green",),
        "protein": ("blue",),
        "actin": ("red",),
    }


def test_adapt_to_one_channel_meets_all_slots() -> None:
    assert assign("adapt", ["er"], RGB).adapted == {"er": ("red", "green", "blue")}
    assert adapted_values([1.0, 2.0, 6.0], 1) == [3.0]
    assert adapted_values([1.0, 2.0], 5) == [1.0, 2.0, 1.0, 2.0, 1.0]


def test_map_fills_by_name_leaves_the_rest_empty_and_records_what_it_drops() -> None:
    assignment = assign("map", ["nucleus", "protein", "actin"], HPA)
    assert assignment.slot_tables() == [
        {"microtubules": None, "protein": "protein", "nucleus": "nucleus", "er": None}
    ]
    assert assignment.dropped == ("actin",)
    assert assignment.passes[0].channel is None


def test_map_uses_what_a_slot_accepts() -> None:
    tables = assign("map", ["nucleus", "protein"], RGB).slot_tables()
    assert tables == [{"red": None, "green": "protein", "blue": "nucleus"}]


def test_a_slot_of_the_channel_s_own_name_comes_before_one_that_accepts_it() -> None:
    slots = [Slot(name="red", accepts=["protein"]), Slot(name="protein")]
    assert assign("map", ["protein"], slots).slot_tables() == [{"red": None, "protein": "protein"}]


def test_map_moves_a_channel_on_where_that_places_one_more() -> None:
    slots = [Slot(name="red", accepts=["er", "actin"]), Slot(name="green", accepts=["er"])]
    tables = assign("map", ["er", "actin"], slots).slot_tables()
    assert tables == [{"red": "actin", "green": "er"}]


def test_map_prefers_the_first_accepted_channel() -> None:
    slots = [Slot(name="red", accepts=["er", "actin"])]
    assert assign("map", ["actin", "er"], slots).slot_tables() == [{"red": "er"}]


def test_agnostic_takes_every_channel_in_one_pass() -> None:
    assignment = assign("agnostic", ["nucleus", "protein"], [])
    assert assignment.slot_tables() == [{"nucleus": "nucleus", "protein": "protein"}]


def test_without_slots_replicate_feeds_each_channel_alone() -> None:
    tables = assign("replicate", ["nucleus", "protein"], []).slot_tables()
    assert tables == [{"nucleus": "nucleus"}, {"protein": "protein"}]


def test_fixed_slots_cannot_be_agnostic() -> None:
    with pytest.raises(UserError, match="expect fixed slots"):
        assign("agnostic", ["nucleus"], RGB)


def test_no_fitting_channel_is_an_error_that_names_both_sides() -> None:
    with pytest.raises(UserError) as caught:
        assign("map", ["brightfield"], RGB)
    assert "brightfield" in str(caught.value)
    assert "blue accepts nucleus" in str(caught.value)


def test_one_slot_has_no_other_order() -> None:
    with pytest.raises(UserError, match="one slot"):
        assign("map-random-0", ["nucleus"], [Slot(name="nucleus")])


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        assign("shuffle", ["nucleus"], RGB)


@given(channel_lists, slot_lists, st.randoms())
def test_map_ignores_the_order_of_channels_and_places_or_drops_each(channels, slots, random):
    first = mapped("map", channels, slots)
    if first is None:
        fits = {s.name for s in slots} | {c for s in slots for c in s.accepts}
        assert not fits & set(channels)
        return
    shuffled = random.sample(channels, len(channels))
    assert assign("map", shuffled, slots).slot_tables() == first.slot_tables()
    placed = [c for c in first.passes[0].slots.values() if c is not None]
    assert len(placed) == len(set(placed))
    assert sorted([*placed, *first.dropped]) == sorted(channels)
    for slot in slots:
        channel = first.passes[0].slots[slot.name]
        assert channel is None or channel == slot.name or channel in slot.accepts
        # A slot stays empty only where nothing that was dropped would fit it.
        assert channel is not None or not set(slot.accepts) & set(first.dropped)


@given(channel_lists, slot_lists, st.integers(0, 2**31))
def test_map_random_moves_every_channel_that_map_uses(channels, slots, seed):
    natural = mapped("map", channels, slots)
    moved = mapped(f"map-random-{seed}", channels, slots)
    if moved is None:
        assert natural is None or len(slots) == 1
        return
    before, after = natural.passes[0].slots, moved.passes[0].slots
    used = sorted(c for c in before.values() if c)
    assert sorted(c for c in after.values() if c) == used
    assert moved.dropped == natural.dropped
    assert list(after) == [slot.name for slot in slots]
    assert all(after[s] is None or after[s] != before[s] for s in after)
    again = assign(f"map-random-{seed}", list(reversed(channels)), slots)
    assert again.slot_tables() == moved.slot_tables()


def test_map_random_reaches_every_order_that_is_free_of_natural_places() -> None:
    orders = {
        tuple(assign(f"map-random-{seed}", ["nucleus", "protein"], RGB).slot_tables()[0].values())
        for seed in range(200)
    }
    assert orders == {
        ("nucleus", None, "protein"),
        ("protein", "nucleus", None),
        (None, "nucleus", "protein"),
    }


@given(channel_lists, slot_lists)
def test_replicate_never_drops(channels, slots):
    assignment = assign("replicate", channels, slots)
    assert [p.channel for p in assignment.passes] == channels
    assert not assignment.dropped


def test_the_handcrafted_baseline_always_has_exactly_one_store() -> None:
    card = HandcraftedCard(source="handcrafted", name="handcrafted")
    assert strategies_for(card, ["replicate", "map", "mean"]) == (["features"], {})


def test_a_network_serves_what_its_slots_allow() -> None:
    requested = ["replicate", "map", "mean", "only-nucleus", "adapt"]
    assert strategies_for(card_with(RGB), requested) == (requested, {})
    requested = [*requested, "map-random", "agnostic"]
    served, refused = strategies_for(card_with(RGB), requested, ["brightfield"])
    assert served == ["replicate", "mean", "adapt"]
    assert set(refused) == {"map", "map-random", "only-nucleus", "agnostic"}
    served, refused = strategies_for(card_with([Slot(name="nucleus")]), requested)
    assert served == ["replicate", "map", "mean", "only-nucleus", "adapt"]
    assert "one slot" in refused["map-random"]


def test_random_orders_have_their_seeds_in_their_names_and_none_comes_twice() -> None:
    channels = ["nucleus", "protein"]
    served, _ = strategies_for(card_with(RGB), ["map-random"], channels, range(40))
    orders = [assign(name, channels, RGB).slot_tables() for name in served]
    assert served[0] == "map-random-0"
    assert len(served) == 3
    assert all(orders.count(order) == 1 for order in orders)
    two_slots = card_with([Slot(name="nucleus"), Slot(name="protein")])
    assert strategies_for(two_slots, ["map-random"], channels, (5, 6)) == (["map-random-5"], {})


def test_a_network_for_any_channels_takes_them_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "CHANNEL_AGNOSTIC", frozenset({"vit"}))
    requested = ["replicate", "mean", "only-er", "map", "map-random", "adapt"]
    served = strategies_for(card_with(RGB), requested, ["er", "brightfield"])
    assert served == (["replicate", "mean", "only-er", "agnostic"], {})
    assert strategies_for(card_with(RGB), ["agnostic"], ["er"]) == (["agnostic"], {})


def test_columns_are_contiguous_with_passes_outermost() -> None:
    layout = column_layout(assign("replicate", ["er", "actin"], RGB), {"cls": 3, "mean": 2})
    assert [(c["output"], c["channel"], c["start"], c["stop"]) for c in layout] == [
        ("cls", "er", 0, 3),
        ("mean", "er", 3, 5),
        ("cls", "actin", 5, 8),
        ("mean", "actin", 8, 10),
    ]

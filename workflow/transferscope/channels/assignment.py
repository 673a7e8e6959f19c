"""Channel strategies: which dataset channel goes into which input slot of a backbone.

A strategy is a pure function of named channels and named slots. Its outcome is written into the
embedding store, so that it is known afterwards what a network saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

from transferscope.cards import BackboneCard, Slot
from transferscope.channels.slot_matching import natural_slots, shuffled_slots
from transferscope.config.channel_strategies import (
    ADAPT,
    AGNOSTIC,
    FEATURES,
    MAP,
    MAP_RANDOM,
    REPLICATE,
    random_order,
    seed_of,
    single_channel,
    store_strategy,
)
from transferscope.errors import Problem, UserError, suggest


@dataclass(frozen=True)
class Pass:
    """What one forward pass is fed.

    Parameters
    ----------
    slots
        Input of the network -> dataset channel, in the order of its weights; None: the slot is
        empty and is exactly zero after normalisation. Where the inputs are made for the channels
        (`adapt`, `agnostic`), they bear the channels' names.
    channel
        The one channel that the pass is about (`replicate`), or None where all go in together.
    """

    slots: Mapping[str, str | None]
    channel: str | None = None

    @property
    def filled(self) -> list[int]:
        """Positions of the slots that are not empty."""
        return [slot for slot, channel in enumerate(self.slots.values()) if channel is not None]


@dataclass(frozen=True)
class Assignment:
    """All passes of one dataset through one backbone.

    Parameters
    ----------
    strategy
        Name of the strategy that has an embedding store (`mean` is `replicate` here).
    passes
        The forward passes, whose outputs are concatenated.
    dropped
        Dataset channels that no pass sees, in the order of the dataset.
    adapted
        With `adapt`: channel -> the slots whose input weights it meets.
    """

    strategy: str
    passes: tuple[Pass, ...]
    dropped: tuple[str, ...] = ()
    adapted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def n_inputs(self) -> int:
        """Number of input channels that the network has in each pass."""
        return len(self.passes[0].slots)

    def slot_tables(self) -> list[dict[str, str | None]]:
        """Return slot -> channel of each pass, ready for JSON."""
        return [dict(one.slots) for one in self.passes]


def assign(strategy: str, channels: Sequence[str], slots: Sequence[Slot]) -> Assignment:
    """Return which channel goes into which slot.

    Parameters
    ----------
    strategy
        ``replicate``: one pass per channel, which fills every slot; ``mean`` and
        ``only-<channel>`` read these passes. ``map``: each channel goes to the slot of its name,
        else to a slot that accepts it. ``map-random-<seed>``: the channels that ``map`` places,
        each in another slot than ``map`` chose. ``adapt``: one pass, the input weights are made
        to fit the number of channels. ``agnostic``: one pass that takes every channel as it is.
    channels
        What the dataset's channels show, in the dataset's order.
    slots
        The backbone's input slots, in the order of its weights; none where it takes any channels.

    Returns
    -------
    Assignment
        ``map`` and ``map-random`` do not depend on the order of `channels`.

    Raises
    ------
    UserError
        Where the backbone cannot serve the strategy on these channels.
    """
    wanted = single_channel(strategy)
    if wanted is not None and wanted not in channels:
        what = f"the dataset has no channel {wanted}. {suggest(wanted, list(channels))}"
        raise UserError(Problem(f"channel strategy {strategy}", what, "Leave it out here."))
    strategy = store_strategy(strategy)
    if strategy == REPLICATE:
        names = [slot.name for slot in slots]
        passes = (Pass(dict.fromkeys(names or [channel], channel), channel) for channel in channels)
        return Assignment(strategy, tuple(passes))
    together = (Pass({channel: channel for channel in channels}),)
    if strategy == ADAPT:
        return Assignment(strategy, together, adapted=_adapted(channels, slots))
    if strategy == AGNOSTIC:
        if slots:
            what = f"its weights expect fixed slots ({', '.join(slot.name for slot in slots)})"
            fix = "Use map, replicate or adapt; agnostic is for backbones without fixed slots."
            raise UserError(Problem(f"channel strategy {AGNOSTIC}", what, fix))
        return Assignment(strategy, together)
    return _mapped(strategy, channels, slots)


def strategies_for(
    card: BackboneCard,
    requested: Sequence[str],
    channels: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
) -> tuple[list[str], dict[str, str]]:
    """Return the strategies that a backbone can serve, and why it cannot serve the others.

    Parameters
    ----------
    card
        The backbone. Hand-crafted features take all channels natively: ``features``, whatever
        is requested. For a network that takes any channels ``agnostic`` stands for every strategy
        that needs named slots.
    requested
        Strategies that the study asks for.
    channels
        Channels of the dataset; None: judge by the card alone.
    seeds
        Seeds of ``map-random``. An order that an earlier seed drew is left out.

    Returns
    -------
    served
        Strategies, in the order requested; each random order has a name of its own.
    refused
        Strategy -> reason.
    """
    if not card.is_network:
        return [FEATURES], {}
    slots = card.named_slots
    # Without a dataset the slots stand in for its channels: each finds its place.
    given = channels if channels is not None else [slot.name for slot in card.slots]
    served: list[str] = []
    refused: dict[str, str] = {}
    for strategy in requested:
        if channels is None and single_channel(strategy) is not None:
            served.append(strategy)
            continue
        try:
            served += _orders(strategy, given, slots, seeds)
        except UserError as error:
            refused[strategy] = "; ".join(problem.what for problem in error.problems)
    return list(dict.fromkeys(served)), refused


def column_layout(assignment: Assignment, widths: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return which columns of an embedding store each pass and output fill.

    Parameters
    ----------
    assignment
        The passes.
    widths
        Output name -> number of features.

    Returns
    -------
    list of dict
        ``output``, ``channel``, ``start``, ``stop``; passes outermost, [start, stop) contiguous.
    """
    layout: list[dict[str, Any]] = []
    start = 0
    for one in assignment.passes:
        for output, width in widths.items():
            stop = start + width
            layout.append({"output": output, "channel": one.channel, "start": start, "stop": stop})
            start = stop
    return layout


def adapted_values(values: Sequence[float], n_inputs: int) -> list[float]:
    """Return one value per input from one value per slot, as `adapt` treats the input weights.

    Parameters
    ----------
    values
        One per slot.
    n_inputs
        Number of input channels: for one the values are averaged, for several they are repeated
        in the order of the slots and cut off.

    Examples
    --------
    >>> adapted_values([1.0, 3.0], 1), adapted_values([1.0, 3.0], 3)
    ([2.0], [1.0, 3.0, 1.0])
    """
    if n_inputs == 1:
        return [sum(values) / len(values)]
    return list(islice(cycle(values), n_inputs))


def _orders(
    strategy: str, channels: Sequence[str], slots: Sequence[Slot], seeds: Sequence[int]
) -> list[str]:
    """Return the names under which a strategy is run: for `map-random` its distinct orders."""
    if not slots and strategy in (MAP, MAP_RANDOM, ADAPT):
        strategy = AGNOSTIC
    if strategy != MAP_RANDOM:
        assign(strategy, channels, slots)
        return [strategy]
    drawn: dict[str, list[dict[str, str | None]]] = {}
    for name in map(random_order, seeds):
        order = assign(name, channels, slots).slot_tables()
        if order not in drawn.values():
            drawn[name] = order
    return list(drawn)


def _adapted(channels: Sequence[str], slots: Sequence[Slot]) -> dict[str, tuple[str, ...]]:
    names = [slot.name for slot in slots]
    if len(channels) == 1:
        return {channels[0]: tuple(names)}
    return {channel: (name,) for channel, name in zip(channels, cycle(names), strict=False)}


def _mapped(strategy: str, channels: Sequence[str], slots: Sequence[Slot]) -> Assignment:
    seed = seed_of(strategy)
    if strategy != MAP and seed is None:
        raise ValueError(f"unknown channel strategy: {strategy}")
    natural = natural_slots(channels, slots)
    _check_mappable(strategy, natural, channels, slots)
    chosen = natural if seed is None else shuffled_slots(natural, slots, seed)
    channel_of = {slot: channel for channel, slot in chosen.items()}
    one = Pass({slot.name: channel_of.get(slot.name) for slot in slots})
    return Assignment(strategy, (one,), tuple(c for c in channels if c not in chosen))


def _check_mappable(
    strategy: str, natural: dict[str, str], channels: Sequence[str], slots: Sequence[Slot]
) -> None:
    where = f"channel strategy {strategy}"
    if not natural:
        known = "; ".join(
            f"{slot.name} accepts {', '.join(slot.accepts)}" if slot.accepts else slot.name
            for slot in slots
        )
        raise UserError(
            Problem(
                where,
                f"no channel ({', '.join(channels)}) fits a slot ({known})",
                "Add the channel to a slot's `accepts` in the backbone card, or use replicate.",
            )
        )
    if strategy != MAP and len(slots) == 1:
        what = f"the backbone has one slot ({slots[0].name}), so no other order exists"
        raise UserError(Problem(where, what, "Leave map-random out for this backbone."))

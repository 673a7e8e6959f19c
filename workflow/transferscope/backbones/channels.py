"""Channel strategies: which dataset channel goes into which input slot of a backbone.

A strategy is a pure function of named channels and named slots. Its outcome is written into the
embedding store, so that nobody has to guess afterwards what a network saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transferscope.cards import HandcraftedCard, NetworkCard, Slot
from transferscope.errors import Problem, UserError
from transferscope.seeds import derive_rng

REPLICATE = "replicate"
MAP = "map"
MAP_RANDOM = "map-random"
MEAN = "mean"
AGNOSTIC = "agnostic"
STRATEGIES = (REPLICATE, MAP, MAP_RANDOM, MEAN, AGNOSTIC)

# `mean` averages over the passes of the `replicate` store and needs no store of its own.
STORE_OF_STRATEGY = {MEAN: REPLICATE}


@dataclass(frozen=True)
class Pass:
    """What one forward pass is fed.

    Parameters
    ----------
    slots
        Slot name -> dataset channel, in the order of the slots; None: the slot is empty and is
        exactly zero after normalisation.
    channel
        The one channel that the pass is about (`replicate`), or None where all go in together.
    """

    slots: Mapping[str, str | None]
    channel: str | None = None


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
    """

    strategy: str
    passes: tuple[Pass, ...]
    dropped: tuple[str, ...] = ()

    def slot_tables(self) -> list[dict[str, str | None]]:
        """Return slot -> channel of each pass, ready for JSON."""
        return [dict(one.slots) for one in self.passes]


def store_strategy(strategy: str) -> str:
    """Return the strategy whose embedding store a strategy reads (`mean` reads `replicate`)."""
    return STORE_OF_STRATEGY.get(strategy, strategy)


def assign(
    strategy: str, channels: Sequence[str], slots: Sequence[Slot], seed: int = 0
) -> Assignment:
    """Return which channel goes into which slot.

    Parameters
    ----------
    strategy
        ``replicate``: one pass a channel, which fills every slot. ``map``: each channel goes to
        the slot of its name, else to a slot that accepts it. ``map-random``: the channels that
        ``map`` places, each in another slot than ``map`` chose. ``mean``: as ``replicate``.
        ``agnostic``: one pass that takes every channel as it is.
    channels
        What the dataset's channels show, in the dataset's order.
    slots
        The backbone's input slots, in the order of its weights; unused by ``agnostic``.
    seed
        Seed of ``map-random``.

    Returns
    -------
    Assignment
        ``map`` and ``map-random`` do not depend on the order of `channels`.

    Raises
    ------
    UserError
        Where no channel fits any slot, or ``map-random`` meets a backbone with one slot.
    """
    strategy = store_strategy(strategy)
    if strategy == REPLICATE:
        return Assignment(strategy, tuple(_replicated(channel, slots) for channel in channels))
    if strategy == AGNOSTIC:
        return Assignment(strategy, (Pass({channel: channel for channel in channels}),))
    if strategy not in (MAP, MAP_RANDOM):
        raise ValueError(f"unknown channel strategy: {strategy}")
    natural = _natural_slots(channels, slots)
    _check_mappable(strategy, natural, channels, slots)
    chosen = natural if strategy == MAP else _shuffled(natural, slots, seed)
    channel_of = {slot: channel for channel, slot in chosen.items()}
    one = Pass({slot.name: channel_of.get(slot.name) for slot in slots})
    return Assignment(strategy, (one,), tuple(c for c in channels if c not in chosen))


def strategies_for(
    card: NetworkCard | HandcraftedCard,
    requested: Sequence[str],
    channels: Sequence[str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Return the strategies that a backbone can serve, and why it cannot serve the others.

    Parameters
    ----------
    card
        The backbone. Hand-crafted features take all channels natively: ``agnostic``, whatever
        is requested.
    requested
        Strategies that the study asks for.
    channels
        Channels of the dataset; None: judge by the card alone.

    Returns
    -------
    served
        Strategies, in the order requested.
    refused
        Strategy -> reason.
    """
    if isinstance(card, HandcraftedCard):
        return [AGNOSTIC], {}
    served: list[str] = []
    refused: dict[str, str] = {}
    # Without a dataset the slots stand in for its channels: each finds its place.
    given = channels if channels is not None else [slot.name for slot in card.slots]
    for strategy in requested:
        try:
            assign(strategy, given, card.slots)
            served.append(strategy)
        except UserError as error:
            refused[strategy] = "; ".join(problem.what for problem in error.problems)
    return served, refused


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
            layout.append(
                {"output": output, "channel": one.channel, "start": start, "stop": start + width}
            )
            start += width
    return layout


def _replicated(channel: str, slots: Sequence[Slot]) -> Pass:
    return Pass({slot.name: channel for slot in slots}, channel)


def _natural_slots(channels: Sequence[str], slots: Sequence[Slot]) -> dict[str, str]:
    """Return channel -> slot: by name first, then as many as the `accepts` lists can place."""
    placed = {slot.name: slot.name for slot in slots if slot.name in channels}
    open_slots = [slot for slot in slots if slot.name not in placed]
    waiting = set(channels) - set(placed)
    holder: dict[str, Slot] = {}
    for slot in open_slots:
        _place(slot, waiting, holder, set())
    return {**placed, **{channel: slot.name for channel, slot in holder.items()}}


def _place(slot: Slot, waiting: set[str], holder: dict[str, Slot], tried: set[str]) -> bool:
    """Give a slot the first channel it accepts, moving other slots' channels where that helps.

    This is Kuhn's augmenting path for bipartite matching: it places as many channels as possible,
    and it prefers what stands first in `accepts`.
    """
    for channel in slot.accepts:
        if channel not in waiting or channel in tried:
            continue
        tried.add(channel)
        if channel not in holder or _place(holder[channel], waiting, holder, tried):
            holder[channel] = slot
            return True
    return False


def _check_mappable(
    strategy: str, natural: dict[str, str], channels: Sequence[str], slots: Sequence[Slot]
) -> None:
    where = f"channel strategy {strategy}"
    if not natural:
        known = "; ".join(_described(slot) for slot in slots)
        raise UserError(
            Problem(
                where,
                f"no channel ({', '.join(channels)}) fits a slot ({known})",
                "Add the channel to a slot's `accepts` in the backbone card, or use replicate.",
            )
        )
    if strategy == MAP_RANDOM and len(slots) == 1:
        what = f"the backbone has one slot ({slots[0].name}), so no other order exists"
        raise UserError(Problem(where, what, "Leave map-random out for this backbone."))


def _described(slot: Slot) -> str:
    return f"{slot.name} accepts {', '.join(slot.accepts)}" if slot.accepts else slot.name


def _shuffled(natural: dict[str, str], slots: Sequence[Slot], seed: int) -> dict[str, str]:
    """Return channel -> slot with no channel where `natural` has it, uniformly among those."""
    names = [slot.name for slot in slots]
    channels = sorted(natural, key=lambda channel: names.index(natural[channel]))
    rng = derive_rng(MAP_RANDOM, seed, *names, *channels)
    while True:
        # With two slots or more about a third of the draws is free of natural places.
        drawn = [names[i] for i in rng.permutation(len(names))[: len(channels)]]
        if all(slot != natural[channel] for channel, slot in zip(channels, drawn, strict=True)):
            return dict(zip(channels, drawn, strict=True))

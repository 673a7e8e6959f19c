"""Which dataset channel belongs into which input slot, and random orders as the control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transferscope.cards import Slot
from transferscope.config.channel_strategies import MAP_RANDOM
from transferscope.runtime.seeds import derive_rng


def natural_slots(channels: Sequence[str], slots: Sequence[Slot]) -> dict[str, str]:
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


def shuffled_slots(natural: Mapping[str, str], slots: Sequence[Slot], seed: int) -> dict[str, str]:
    """Return channel -> slot with no channel where `natural` has it, uniformly among those.

    Parameters
    ----------
    natural
        From `natural_slots`.
    slots
        All slots, two or more.
    seed
        Seed of the order.
    """
    names = [slot.name for slot in slots]
    channels = sorted(natural, key=lambda channel: names.index(natural[channel]))
    rng = derive_rng(MAP_RANDOM, seed, *names, *channels)
    while True:
        # With two slots or more about a third of the draws is free of natural places.
        drawn = [names[i] for i in rng.permutation(len(names))[: len(channels)]]
        if all(slot != natural[channel] for channel, slot in zip(channels, drawn, strict=True)):
            return dict(zip(channels, drawn, strict=True))

"""Names of the channel strategies, and which of them share a store.

The strategies themselves are in `channels`; this module only parses and formats their names for
config, paths, tables and figures.
"""

from __future__ import annotations

import re

from transferscope.errors import suggest

REPLICATE = "replicate"
MAP = "map"
MAP_RANDOM = "map-random"
MEAN = "mean"
ADAPT = "adapt"
AGNOSTIC = "agnostic"
# For hand-crafted features, which use all channels.
FEATURES = "features"
# For features that a table holds, of whatever images they were computed.
GIVEN = "given"
ONLY = "only-"

# Strategies of a study, in addition to `only-<channel>`.
STRATEGIES = (REPLICATE, MAP, MAP_RANDOM, MEAN, ADAPT, AGNOSTIC)
_CHANNEL = r"[a-z0-9][a-z0-9_-]*"
REQUESTED = rf"^({'|'.join(STRATEGIES)}|{ONLY}{_CHANNEL})$"
# Pattern in the paths of a study, where a random order has its seed in its name.
WILDCARD = "|".join(
    (rf"{MAP_RANDOM}-\d+|{ONLY}{_CHANNEL}", REPLICATE, MAP, MEAN, ADAPT, AGNOSTIC, FEATURES, GIVEN)
)


def check_name(name: str) -> str:
    """Return a name if it is that of a strategy that a study may request.

    Raises
    ------
    ValueError
        If there is no such strategy; the message suggests the closest one.
    """
    if re.match(REQUESTED, name):
        return name
    known = [*STRATEGIES, f"{ONLY}<channel>"]
    raise ValueError(f"no such channel strategy. {suggest(name, known)}")


def random_order(seed: int) -> str:
    """Return the name of one random order.

    Examples
    --------
    >>> random_order(2)
    'map-random-2'
    """
    return f"{MAP_RANDOM}-{seed}"


def seed_of(strategy: str) -> int | None:
    """Return the seed of a random order; None for any other strategy."""
    found = re.fullmatch(rf"{MAP_RANDOM}-(\d+)", strategy)
    return int(found[1]) if found else None


def family_of(strategy: str) -> str:
    """Return the strategy without its seed: all random orders are `map-random`.

    Examples
    --------
    >>> family_of("map-random-2"), family_of("map")
    ('map-random', 'map')
    """
    return strategy if seed_of(strategy) is None else MAP_RANDOM


def single_channel(strategy: str) -> str | None:
    """Return the channel that `only-<channel>` names; None for any other strategy.

    Examples
    --------
    >>> single_channel("only-nucleus")
    'nucleus'
    """
    return strategy.removeprefix(ONLY) if strategy.startswith(ONLY) else None


def store_strategy(strategy: str) -> str:
    """Return the strategy whose embedding store a strategy reads.

    `mean` and `only-<channel>` are computed from the `replicate` store, which has one pass per
    channel, so that each channel is embedded only once.
    """
    shares = strategy == MEAN or single_channel(strategy) is not None
    return REPLICATE if shares else strategy

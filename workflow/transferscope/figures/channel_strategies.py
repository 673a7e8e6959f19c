"""Pictures of the channel strategies: which channel meets which slot, in which pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

from transferscope.cards import DatasetCard, NetworkCard
from transferscope.channels.assignment import Assignment, Pass, assign
from transferscope.config.channel_strategies import (
    ADAPT,
    AGNOSTIC,
    MAP,
    MAP_RANDOM,
    MEAN,
    REPLICATE,
    seed_of,
    single_channel,
)
from transferscope.figures.style import BLACK, GREY, PALE, new_figure, text_colour, wrapped

# Colours of the channels, in the dataset's order (Okabe and Ito).
CHANNEL_COLOURS = ["#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7", "#0072B2", "#F0E442"]
NOT_READ = 0.22
WHOLE = "#4d4d4d"
COLUMNS = 2
COLUMN_INCHES = 5.6
SLOT_INCHES = 0.25
# Places on the horizontal axis, and the height of a box where a slot is one high.
CHANNELS_AT, SLOTS_AT, NETWORK_AT, FEATURES_AT, RIGHT = 0.0, 4.6, 7.6, 10.0, 13.2
BOX_WIDTH, BOX_HEIGHT = 2.8, 0.82
PASS_GAP = 0.7
TITLE_HEIGHT = 2.0


def draw_channel_strategies(
    dataset: DatasetCard, backbone: NetworkCard, strategies: Sequence[str]
) -> Figure:
    """Draw what each strategy feeds a backbone, from the assignments that the embeddings use.

    Parameters
    ----------
    dataset, backbone
        Whose channels meet whose slots.
    strategies
        Strategies that the backbone can serve; a random order with its seed.

    Raises
    ------
    UserError
        Where the backbone cannot serve a strategy on these channels.
    """
    slots = backbone.named_slots
    assignments = [assign(strategy, dataset.channels, slots) for strategy in strategies]
    n_rows = math.ceil(len(strategies) / COLUMNS)
    # Down the columns, so that what belongs together stands together.
    cells = [(i % n_rows, i // n_rows) for i in range(len(strategies))]
    heights = [
        max(
            _height(assignment, len(dataset.channels))
            for (row, _), assignment in zip(cells, assignments, strict=True)
            if row == number
        )
        for number in range(n_rows)
    ]
    columns = min(COLUMNS, len(strategies))
    figure = new_figure(COLUMN_INCHES * columns, SLOT_INCHES * sum(heights) + 0.6)
    grid: Any = figure.subplots(n_rows, columns, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set_axis_off()
    for (row, column), strategy, assignment in zip(cells, strategies, assignments, strict=True):
        axes = grid[row, column]
        axes.set_xlim(-0.1, RIGHT)
        axes.set_ylim(heights[row], 0)
        _draw_strategy(axes, strategy, assignment, dataset.channels)
    note = (
        f"{dataset.name} into {backbone.name}. Left to right: the channels of the dataset, the "
        "input slots of the network, the features of one tile. A box with 0 is an empty slot."
    )
    lines = wrapped(note, figure.get_figwidth(), 8)
    figure.supxlabel(lines, x=0.01, ha="left", fontsize=8).set_color("#444444")
    return figure


def describe(strategy: str, assignment: Assignment) -> str:
    """Return what a strategy does, in one line.

    Parameters
    ----------
    strategy
        Its name.
    assignment
        What `assign` made of it.
    """
    n = len(assignment.passes)
    channel = single_channel(strategy)
    if channel is not None:
        return f"the features of the {channel} pass of replicate"
    if strategy == MEAN:
        return f"the average of the features of replicate's {n} passes"
    if strategy == REPLICATE:
        return f"{n} passes, each channel in all slots; features joined"
    if strategy == ADAPT:
        return "one pass; the channels take over the slots' input weights, in order"
    if strategy == AGNOSTIC:
        return "one pass; the network takes any channels"
    natural = "each channel in its own slot" if strategy == MAP else "no channel in its own slot"
    left_out = f"; not shown: {', '.join(assignment.dropped)}" if assignment.dropped else ""
    return f"one pass, {natural}{left_out}"


def _title(strategy: str) -> str:
    """Return the name as a study writes it."""
    seed = seed_of(strategy)
    return strategy if seed is None else f"{MAP_RANDOM} (order of seed {seed})"


def _height(assignment: Assignment, n_channels: int) -> float:
    n = len(assignment.passes)
    return TITLE_HEIGHT + max(n * assignment.n_inputs + (n - 1) * PASS_GAP, n_channels) + 0.4


def _draw_strategy(
    axes: Axes, strategy: str, assignment: Assignment, channels: Sequence[str]
) -> None:
    colours = {c: CHANNEL_COLOURS[i % len(CHANNEL_COLOURS)] for i, c in enumerate(channels)}
    axes.text(0, 0.55, _title(strategy), fontsize=10, fontweight="bold", va="center")
    axes.text(0, 1.35, describe(strategy, assignment), fontsize=8, color=BLACK, va="center")
    depth = _height(assignment, len(channels)) - TITLE_HEIGHT - 0.4
    first = TITLE_HEIGHT + (depth - len(channels)) / 2
    sources = {channel: first + i + 0.5 for i, channel in enumerate(channels)}
    for channel, y in sources.items():
        faded = channel in assignment.dropped or _is_unread(strategy, channel)
        _box(axes, CHANNELS_AT, y, channel, colours[channel], faded=faded)
    ends = _draw_passes(axes, strategy, assignment, sources, colours, depth)
    _draw_features(axes, strategy, assignment, ends, colours)


def _is_unread(strategy: str, channel: str | None) -> bool:
    wanted = single_channel(strategy)
    return wanted is not None and channel != wanted


def _draw_passes(
    axes: Axes,
    strategy: str,
    assignment: Assignment,
    sources: dict[str, float],
    colours: dict[str, str],
    depth: float,
) -> list[float]:
    """Draw slots, wires and network of each pass; return the height at which each one ends."""
    n = len(assignment.passes)
    top = TITLE_HEIGHT + (depth - n * assignment.n_inputs - (n - 1) * PASS_GAP) / 2
    ends = []
    for one in assignment.passes:
        faded = _is_unread(strategy, one.channel)
        for i, (slot, channel) in enumerate(one.slots.items()):
            _draw_slot(axes, assignment, slot, channel, (top + i + 0.5, sources, colours, faded))
        bottom = top + len(one.slots)
        ends.append((top + bottom) / 2)
        _draw_network(axes, top, bottom, faded)
        top = bottom + PASS_GAP
    return ends


def _draw_slot(
    axes: Axes,
    assignment: Assignment,
    slot: str,
    channel: str | None,
    place: tuple[float, dict[str, float], dict[str, str], bool],
) -> None:
    y, sources, colours, faded = place
    if channel is None:
        _box(axes, SLOTS_AT, y, f"{slot}: 0", "white", faded=faded)
        return
    weights = assignment.adapted.get(channel, ())
    name = f"as {weights[0]}" if len(weights) == 1 else "as all slots" if weights else slot
    _box(axes, SLOTS_AT, y, name, colours[channel], faded=faded)
    axes.plot(
        [CHANNELS_AT + BOX_WIDTH + 0.08, SLOTS_AT - 0.08],
        [sources[channel], y],
        color=colours[channel],
        linewidth=1.6,
        alpha=NOT_READ if faded else 1,
        solid_capstyle="round",
    )


def _draw_network(axes: Axes, top: float, bottom: float, faded: bool) -> None:
    middle, right = (top + bottom) / 2, FEATURES_AT - 0.9
    corners = [
        (NETWORK_AT, top + 0.1),
        (right, middle - 0.5),
        (right, middle + 0.5),
        (NETWORK_AT, bottom - 0.1),
    ]
    axes.add_patch(
        Polygon(corners, facecolor="#eeeeee", edgecolor=GREY, alpha=NOT_READ if faded else 1)
    )
    # In the wide part of the network, where the name has room.
    axes.text(
        (NETWORK_AT + right) / 2 - 0.05,
        middle,
        "network",
        ha="center",
        va="center",
        fontsize=6.5,
        alpha=NOT_READ if faded else 1,
    )


def _draw_features(
    axes: Axes,
    strategy: str,
    assignment: Assignment,
    ends: Sequence[float],
    colours: dict[str, str],
) -> None:
    """Draw the blocks of features, and how they come from the passes."""
    if strategy == MEAN:
        blocks = [("mean", WHOLE, sum(ends) / len(ends))]
        links = [(end, blocks[0][2]) for end in ends]
    else:
        kept = [
            (one, end)
            for one, end in zip(assignment.passes, ends, strict=True)
            if not _is_unread(strategy, one.channel)
        ]
        blocks = [(_block_name(one), colours.get(one.channel or "", WHOLE), e) for one, e in kept]
        links = [(end, end) for _, end in kept]
    for start, end in links:
        axes.annotate(
            "",
            (FEATURES_AT - 0.05, end),
            (FEATURES_AT - 0.88, start),
            arrowprops={"arrowstyle": "-|>", "color": BLACK, "linewidth": 1, "shrinkA": 0},
        )
    for name, colour, y in blocks:
        _box(axes, FEATURES_AT, y, name, colour)
    if len(blocks) > 1:
        x = FEATURES_AT + BOX_WIDTH + 0.2
        axes.plot([x, x], [blocks[0][2], blocks[-1][2]], color=BLACK, linewidth=1)
        for _, _, y in blocks:
            axes.plot([x - 0.2, x], [y, y], color=BLACK, linewidth=1)


def _block_name(one: Pass) -> str:
    return "features" if one.channel is None else f"of {one.channel}"


def _box(
    axes: Axes, left: float, middle: float, text: str, colour: str, *, faded: bool = False
) -> None:
    alpha = NOT_READ if faded else 1
    axes.add_patch(
        FancyBboxPatch(
            (left, middle - BOX_HEIGHT / 2),
            BOX_WIDTH,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.2",
            facecolor=colour,
            edgecolor=PALE if colour == "white" else colour,
            linestyle=(0, (3, 2)) if colour == "white" else "-",
            alpha=alpha,
        )
    )
    shown = GREY if colour == "white" else text_colour(to_rgba(colour))
    axes.text(
        left + BOX_WIDTH / 2,
        middle,
        text,
        ha="center",
        va="center",
        fontsize=7.5,
        color=BLACK if faded else shown,
        alpha=0.5 if faded else 1,
    )

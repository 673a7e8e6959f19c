"""Pictures of the channel strategies: which channel meets which slot, in which pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon

from transferscope.cards import DatasetCard, NetworkCard
from transferscope.channels.assignment import Assignment, assign
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
from transferscope.figures.style import BLACK, GREY, PALE, new_grid, text_colour, wrapped

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
    channels, slots = dataset.channels, backbone.named_slots
    pictures = [_Picture(s, assign(s, channels, slots), channels) for s in strategies]
    n_rows = math.ceil(len(pictures) / COLUMNS)
    # Down the columns, so that related strategies stand together.
    heights = [max(p.height for p in pictures[row::n_rows]) for row in range(n_rows)]
    columns = min(COLUMNS, len(pictures))
    figure, grid = new_grid(
        COLUMN_INCHES * columns,
        SLOT_INCHES * sum(heights) + 0.6,
        n_rows,
        columns,
        height_ratios=heights,
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for i, picture in enumerate(pictures):
        row, column = i % n_rows, i // n_rows
        axes = grid[row, column]
        axes.set_xlim(-0.1, RIGHT)
        axes.set_ylim(heights[row], 0)
        picture.draw(axes)
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
    if channel := single_channel(strategy):
        return f"the features of the {channel} pass of replicate"
    plain = {
        MEAN: f"the average of the features of replicate's {n} passes",
        REPLICATE: f"{n} passes, each channel in all slots; features joined",
        ADAPT: "one pass; the channels take over the slots' input weights, in order",
        AGNOSTIC: "one pass; the network takes any channels",
    }
    if strategy in plain:
        return plain[strategy]
    natural = "each channel in its own slot" if strategy == MAP else "no channel in its own slot"
    left_out = f"; not shown: {', '.join(assignment.dropped)}" if assignment.dropped else ""
    return f"one pass, {natural}{left_out}"


@dataclass(frozen=True)
class _Picture:
    """One strategy, left to right: channels, slots and network of each pass, features."""

    strategy: str
    assignment: Assignment
    channels: Sequence[str]

    @property
    def depth(self) -> float:
        """Height of passes and channels, in slots."""
        n = len(self.assignment.passes)
        slots = n * self.assignment.n_inputs + (n - 1) * PASS_GAP
        return max(slots, len(self.channels))

    @property
    def height(self) -> float:
        """Height with the title, in slots."""
        return TITLE_HEIGHT + self.depth + 0.4

    @property
    def colours(self) -> dict[str, str]:
        """Channel -> colour."""
        return dict(zip(self.channels, cycle(CHANNEL_COLOURS), strict=False))

    def draw(self, axes: Axes) -> None:
        """Draw the strategy, with its name as a study writes it."""
        seed = seed_of(self.strategy)
        title = self.strategy if seed is None else f"{MAP_RANDOM} (order of seed {seed})"
        line = describe(self.strategy, self.assignment)
        axes.text(0, 0.55, title, fontsize=10, fontweight="bold", va="center")
        axes.text(0, 1.35, line, fontsize=8, color=BLACK, va="center")
        first = TITLE_HEIGHT + (self.depth - len(self.channels)) / 2
        sources = {channel: first + i + 0.5 for i, channel in enumerate(self.channels)}
        for channel, y in sources.items():
            faded = channel in self.assignment.dropped or self._is_unread(channel)
            _box(axes, CHANNELS_AT, y, channel, self.colours[channel], faded=faded)
        self._draw_features(axes, self._draw_passes(axes, sources))

    def _is_unread(self, channel: str | None) -> bool:
        return single_channel(self.strategy) not in (None, channel)

    def _draw_passes(self, axes: Axes, sources: dict[str, float]) -> list[float]:
        """Draw slots, wires and network of each pass; return the height at which each one ends."""
        passes = self.assignment.passes
        n = len(passes)
        slots = n * self.assignment.n_inputs + (n - 1) * PASS_GAP
        top = TITLE_HEIGHT + (self.depth - slots) / 2
        ends = []
        for one in passes:
            faded = self._is_unread(one.channel)
            for i, (slot, channel) in enumerate(one.slots.items()):
                self._draw_slot(axes, slot, channel, top + i + 0.5, sources, faded)
            bottom = top + len(one.slots)
            ends.append((top + bottom) / 2)
            _draw_network(axes, top, bottom, faded)
            top = bottom + PASS_GAP
        return ends

    def _draw_slot(
        self,
        axes: Axes,
        slot: str,
        channel: str | None,
        y: float,
        sources: dict[str, float],
        faded: bool,
    ) -> None:
        if channel is None:
            _box(axes, SLOTS_AT, y, f"{slot}: 0", "white", faded=faded)
            return
        weights, colour = self.assignment.adapted.get(channel, ()), self.colours[channel]
        name = f"as {weights[0]}" if len(weights) == 1 else "as all slots" if weights else slot
        _box(axes, SLOTS_AT, y, name, colour, faded=faded)
        axes.plot(
            [CHANNELS_AT + BOX_WIDTH + 0.08, SLOTS_AT - 0.08],
            [sources[channel], y],
            color=colour,
            linewidth=1.6,
            alpha=NOT_READ if faded else 1,
            solid_capstyle="round",
        )

    def _draw_features(self, axes: Axes, ends: Sequence[float]) -> None:
        """Draw the blocks of features, and how they come from the passes."""
        if self.strategy == MEAN:
            middle = sum(ends) / len(ends)
            blocks, links = [("mean", WHOLE, middle)], [(end, middle) for end in ends]
        else:
            blocks = [
                (
                    f"of {one.channel}" if one.channel else "features",
                    self.colours.get(one.channel or "", WHOLE),
                    end,
                )
                for one, end in zip(self.assignment.passes, ends, strict=True)
                if not self._is_unread(one.channel)
            ]
            links = [(end, end) for _, _, end in blocks]
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


def _draw_network(axes: Axes, top: float, bottom: float, faded: bool) -> None:
    middle, right, alpha = (top + bottom) / 2, FEATURES_AT - 0.9, NOT_READ if faded else 1
    corners = [
        (NETWORK_AT, top + 0.1),
        (right, middle - 0.5),
        (right, middle + 0.5),
        (NETWORK_AT, bottom - 0.1),
    ]
    axes.add_patch(Polygon(corners, facecolor="#eeeeee", edgecolor=GREY, alpha=alpha))
    # In the wide part of the network, where there is space for the name.
    x = (NETWORK_AT + right) / 2 - 0.05
    axes.text(x, middle, "network", ha="center", va="center", fontsize=6.5, alpha=alpha)


def _box(
    axes: Axes, left: float, middle: float, text: str, colour: str, *, faded: bool = False
) -> None:
    empty = colour == "white"
    axes.add_patch(
        FancyBboxPatch(
            (left, middle - BOX_HEIGHT / 2),
            BOX_WIDTH,
            BOX_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.2",
            facecolor=colour,
            edgecolor=PALE if empty else colour,
            linestyle=(0, (3, 2)) if empty else "-",
            alpha=NOT_READ if faded else 1,
        )
    )
    shown = GREY if empty else text_colour(to_rgba(colour))
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

"""How all figures look: colours, sizes, full names, footnotes, and deterministic files.

Colours are those of Okabe and Ito (2008), which any kind of colour vision can tell apart.
"""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, NullFormatter
from matplotlib.transforms import Bbox

from transferscope.config.channel_strategies import seed_of, single_channel
from transferscope.errors import Problem, UserError
from transferscope.runtime.atomic_files import replacing

BLACK, GREY, PALE = "#222222", "#7f7f7f", "#c8c8c8"
OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"]
# For what has more members than these: the same, and others that differ from them in lightness.
MANY_COLOURS = [
    *OKABE_ITO,
    *("#000000", "#7F3C8D", "#8B4513", "#66C2A5", "#A6761D", "#E7298A", "#1B5E20", "#B2182B"),
    *("#3F51B5", "#9ACD32", "#FF9896", "#17BECF", "#6A6A6A"),
]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
STRATEGY_COLOURS = {
    "map": "#0072B2",
    "map-random": "#D55E00",
    "replicate": "#E69F00",
    "mean": "#009E73",
    "adapt": "#CC79A7",
    "agnostic": "#000000",
    "features": "#999999",
    "given": "#8C6D31",
}
# In turn for single channels, whose names are not known beforehand.
SINGLE_COLOURS = ["#56B4E9", "#F0E442", "#B07AA1", "#8C6D31", "#5F5F5F"]
STRATEGY_LABELS = {
    "map": "map (natural slots)",
    "map-random": "map-random (control)",
    "replicate": "replicate",
    "mean": "mean of replicate",
    "adapt": "adapt (input weights fitted)",
    "agnostic": "agnostic (any channels)",
    "features": "hand-crafted features",
    "given": "given features",
}
SCHEME_LABELS = {"group": "split by group", "image": "split by image"}
SCHEME_COLOURS = {"group": "#0072B2", "image": "#E69F00"}
SCHEME_NOTES = {
    "group": "split by group: no group is both in training and in test",
    "image": "split by image: groups are on both sides",
}
EXTENSIONS = (".png", ".svg")
DASHES = (0, (4, 2))
FLOOR_LABEL = "floor: labels alone"
POINTS_PER_CHARACTER = 0.58
RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": BLACK,
    "axes.axisbelow": True,
    "figure.titlesize": 12,
    "figure.titleweight": "bold",
    "grid.color": "#e3e3e3",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "transferscope",
    # Names of classes and backbones are shown as they are, also where they hold a dollar sign.
    "text.parse_math": False,
    "text.usetex": False,
}


def strategy_label(strategy: str) -> str:
    """Return a channel strategy in words.

    Examples
    --------
    >>> strategy_label("only-protein"), strategy_label("map-random-2")
    ('protein only', 'map-random, order 2')
    """
    if channel := single_channel(strategy):
        return f"{channel} only"
    if (seed := seed_of(strategy)) is not None:
        return f"map-random, order {seed}"
    return STRATEGY_LABELS.get(strategy, strategy)


def strategy_colours(strategies: Iterable[str]) -> dict[str, str]:
    """Return strategy -> colour, in the order of figures: known ones first, single channels last.

    Parameters
    ----------
    strategies
        All that a figure shows.
    """
    shown = set(strategies)
    others = sorted(shown - set(STRATEGY_COLOURS))
    known = {name: colour for name, colour in STRATEGY_COLOURS.items() if name in shown}
    return known | dict(zip(others, cycle(SINGLE_COLOURS), strict=False))


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Apply the style, whatever the user's matplotlibrc says, for as long as it is entered."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.08, h_pad=0.08)
    return figure


def new_grid(
    width: float, height: float, rows: int, columns: int, **options: Any
) -> tuple[Figure, Any]:
    """Return an empty figure of a size in inches, and its axes [rows, columns].

    Parameters
    ----------
    width, height
        In inches.
    rows, columns
        Number of axes.
    **options
        Of `Figure.subplots`.
    """
    figure = new_figure(width, height)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def annotate(figure: Figure, title: str, footnote: str) -> None:
    """Put the title over a figure, and under it a footnote, both wrapped to its width."""
    inches = figure.get_figwidth()
    figure.suptitle(wrapped(title, inches, 12), x=0.01, ha="left")
    note = figure.supxlabel(wrapped(footnote, inches, 8), x=0.01, ha="left", fontsize=8)
    note.set_color("#444444")


def wrapped(text: str, inches: float, points: float) -> str:
    """Break a text into lines that fit into a width at a font size."""
    characters = max(20, int(inches * 72 / (points * POINTS_PER_CHARACTER)))
    return "\n".join(textwrap.wrap(text, characters, break_long_words=True))


def label_of(name: str, characters: int = 30, lines: int = 2) -> str:
    """Return a name in at most about this many lines, broken between its parts.

    An output (`backbone@output`) begins a line where that fits. A longer name loses its middle.
    """
    text = " ".join(name.split())
    backbone, at, output = text.partition("@")
    halves = [backbone.strip(), f"{at}{output}"]
    if lines > 1 and at and halves[0] and len(text) > characters >= max(map(len, halves)):
        return "\n".join(halves)
    longest = characters * lines
    if len(text) > longest:
        text = f"{text[: longest // 2 - 1]}…{text[-(longest // 2 - 1) :]}"
    broken = [""]
    for part in re.findall(rf"[^ _./@-]{{1,{characters - 1}}}[ _./@-]?|[ _./@-]", text):
        if len((broken[-1] + part).rstrip()) <= characters:
            broken[-1] += part
        else:
            broken.append(part)
    return "\n".join(line.rstrip(" ") for line in broken).strip() or "(no name)"


def panel_title(dataset: str, scheme: str) -> str:
    """Return dataset and split scheme, as they stand over an axes."""
    return f"{label_of(dataset, 40, 1)}, {SCHEME_LABELS.get(scheme, f'split by {scheme}')}"


def legend_key(label: str, **look: Any) -> Line2D:
    """Return an entry of a legend for a line or marker."""
    return Line2D([], [], label=label, **look)


def legend_on_the_right(
    axes: Axes, handles: Sequence[Any], title: str | None = None, x: float = 1.02
) -> None:
    """Put a legend to the right of an axes, outside its data."""
    axes.legend(
        handles=list(handles),
        title=title,
        loc="upper left",
        bbox_to_anchor=(x, 1.0),
        borderaxespad=0,
        alignment="left",
    )


def score_axis(axes: Axes, right: float) -> None:
    """Let the horizontal axis show scores, with space to the right of 1 for their values."""
    axes.set_xlim(0, right)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(axis="x")


def label_rows(axes: Axes, names: Sequence[str], characters: int, margin: float) -> None:
    """Name the rows of an axes, the first one at the top.

    Parameters
    ----------
    axes
        Rows lie at 0, 1, 2 and so on.
    names
        One per row.
    characters
        Of a line; longer names take two.
    margin
        Space above the first row and below the last, in rows.
    """
    axes.set_yticks(range(len(names)), [label_of(name, characters) for name in names])
    axes.set_ylim(len(names) - 1 + margin, -margin)
    axes.tick_params(axis="y", length=0)


def note_that_nothing_is_shown(text: str) -> Figure:
    """Return a figure that says why it is empty."""
    figure = new_figure(6.5, 1.6)
    figure.text(0.03, 0.5, wrapped(text, 6, 10), va="center", fontsize=10)
    return figure


def text_colour(rgba: Sequence[float]) -> str:
    """Return black or white, whichever is read better on a colour (relative luminance, WCAG 2)."""
    channels = np.asarray(rgba[:3], dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "white" if float(linear @ [0.2126, 0.7152, 0.0722]) < 0.18 else "black"


def check_outputs(outputs: Sequence[Path]) -> None:
    """Check that every file has the extension of a supported format.

    Raises
    ------
    UserError
        Naming every file that has not.
    """
    wrong = [o for o in outputs if o.suffix not in EXTENSIONS]
    if wrong:
        fix = f"Use {' or '.join(EXTENSIONS)}."
        raise UserError([Problem(str(o), "no known figure format", fix) for o in wrong])


def save(figure: Figure, outputs: Sequence[Path], dpi: int) -> None:
    """Write a figure by rename; equal figures give equal bytes."""
    check_outputs(outputs)
    _settle_layout(figure)
    nothing = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}
    for output in outputs:
        metadata: Any = nothing[output.suffix]
        with replacing(output) as temporary:
            figure.savefig(temporary, dpi=dpi, metadata=metadata, format=output.suffix[1:])


def _settle_layout(figure: Figure) -> None:
    """Lay a figure out once, and round where its axes came to lie.

    The solver of the layout orders its variables by their addresses in memory: its last bits
    change from run to run, and with them the names of the clipping paths in an SVG.
    """
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        # Powers of ten as math text, which is off: they would be shown with their backslashes.
        if isinstance(axis.get_major_formatter(), LogFormatter):
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        box = axes.get_position(original=True)
        axes.set_position(Bbox(box.get_points().round(6)), which="original")

"""Grids: one card of a training that stands for many, which differ in size, data or seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.names import Name
from transferscope.config.vocabulary import Fraction

Count = Annotated[int, Field(ge=1)]
# Axes that a training has values of; places along it are the last axis.
OF_TRAININGS = ("architecture", "width", "depth", "patch", "fraction", "steps")
AT = "at"
# Axes in the order of the names of cells; seeds come last.
AXES = (*OF_TRAININGS, AT)
# Axes that change the size of the backbone, and those of the data: what it counts -> by what.
MODEL_AXES = ("architecture", "width", "depth")
DATA_AXES = {"images": ("fraction",), "images_seen": ("steps", AT)}
# Of transformers, as timm names their arguments.
ARGUMENTS = {"depth": "depth", "patch": "patch_size"}
SEED = "seed"


class GridSettings(Model):
    """Values of which every combination is trained, as a backbone of its own.

    A cell is named after the card and its own values, such as `mae_width64_fraction0.25_seed0`.
    A value more adds its cells, and trains no other again.
    """

    architecture: list[Name] = Field([], description="timm models of one family, such as resnet18.")
    width: list[Count] = Field(
        [],
        description=(
            "Features per token of a transformer. The card gives the network that its learning "
            "rate is for, `arguments: {embed_dim, num_heads}`; the width per head stays the same."
        ),
    )
    depth: list[Count] = Field([], description="Blocks of a transformer.")
    patch: list[Count] = Field([], description="Side of a patch in px.")
    fraction: list[Fraction] = Field(
        [],
        description=(
            "Fractions of the groups that are trained on; nested: a smaller one is part of a "
            "larger one. Needs `steps`, so that all are trained for equally long."
        ),
    )
    steps: list[Count] = Field([], description="Numbers of steps.")
    at_steps: list[Count] = Field(
        [],
        description=(
            "Numbers of steps after which the weights of every training are kept, as a backbone "
            "of its own; needs `steps` in the card, the last of them."
        ),
    )
    seeds: int = Field(
        1, ge=1, description="Trainings per combination, with `seed`, `seed` + 1 and so on."
    )
    rate: Literal["inverse-width", "same"] = Field(
        "inverse-width",
        description=(
            "inverse-width: the learning rate falls as `arguments.embed_dim` / width; same: it is "
            "the card's at every width."
        ),
    )
    most_cells: int = Field(
        200, ge=1, description="More cells than this are refused: raise it if they are meant."
    )

    _unique = field_validator(*OF_TRAININGS, "at_steps")(without_repeats)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The axes of trainings with values, in the order of `AXES`."""
        return {axis: values for axis in OF_TRAININGS if (values := getattr(self, axis))}

    @property
    def n_cells(self) -> int:
        """Number of trainings."""
        return self.seeds * math.prod(map(len, self.axes.values()))

    def combinations(self, first_seed: int, n_steps: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the values of each cell, by axis, with its seed.

        Parameters
        ----------
        first_seed
            Of the repeats.
        n_steps
            Of every training, where it is not an axis.
        """
        axes: dict[str, Any] = dict(self.axes)
        if self.at_steps and n_steps is not None:
            axes[AT] = [*sorted(self.at_steps), n_steps]
        axes[SEED] = range(first_seed, first_seed + self.seeds)
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))


@dataclass(frozen=True)
class Cell:
    """What a cell of a grid differs in.

    Parameters
    ----------
    grid
        Name of the card with the grid.
    values
        Axis -> value, with the seed.
    """

    grid: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the backbone.

        Examples
        --------
        >>> Cell("mae", {"width": 64, "fraction": 0.25, "seed": 0}).name
        'mae_width64_fraction0.25_seed0'
        """
        return "_".join([self.grid, *(f"{axis}{_text(v)}" for axis, v in self.values.items())])

    def training(self, n_steps: int | None) -> str:
        """Return the name of the cell at the end of the training that this one is of.

        Examples
        --------
        >>> Cell("mae", {"at": 100, "seed": 0}).training(400)
        'mae_at400_seed0'
        """
        end = {AT: n_steps} if AT in self.values else {}
        return Cell(self.grid, {**self.values, **end}).name


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def spans_surface(cells: Iterable[Cell], least: int = 3) -> bool:
    """Return whether a grid has so many sizes of the model, and of the data, or more.

    Parameters
    ----------
    cells
        Of all grids of a study.
    least
        Sizes of each.
    """
    by_grid: dict[str, list[dict[str, Any]]] = {}
    for cell in cells:
        by_grid.setdefault(cell.grid, []).append(cell.values)

    def n_sizes(found: list[dict[str, Any]], axes: Iterable[str]) -> int:
        return len({tuple(values.get(axis) for axis in axes) for values in found})

    return any(
        n_sizes(found, MODEL_AXES) >= least
        and any(n_sizes(found, axes) >= least for axes in DATA_AXES.values())
        for found in by_grid.values()
    )


def arguments_of(values: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a cell's network.

    Parameters
    ----------
    values
        Of the cell, by axis.
    arguments
        Of the card: with a width, `embed_dim` and `num_heads`.
    """
    found = {name: values[axis] for axis, name in ARGUMENTS.items() if axis in values}
    if "width" in values:
        per_head = arguments["embed_dim"] // arguments["num_heads"]
        found |= {"embed_dim": values["width"], "num_heads": values["width"] // per_head}
    return {**arguments, **found}

"""Cards of backbones that are trained in the study, on its tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from transferscope.cards.grid import SEED, Cell, GridSettings, arguments_of
from transferscope.cards.methods import METHODS, MethodSettings
from transferscope.cards.network import ArchitectureBase, Output, block_outputs, with_blocks
from transferscope.config.model import PROSE, Model
from transferscope.config.names import Name
from transferscope.config.training import AugmentationSettings, OptimiserSettings
from transferscope.config.vocabulary import Fraction
from transferscope.errors import Problem
from transferscope.runtime.fingerprint import fingerprint

# Images per step for which learning rates are given; they are scaled in proportion.
REFERENCE_BATCH = 256
# Keys for the use or the description of a trained network, which do not affect training.
NOT_TRAINED = {"name", "outputs", "blocks", "pixel_size_um", "scale", "exclude_test_groups", *PROSE}
# Keys that say nothing at their defaults, and did not exist when older backbones were trained.
LATER = ("data_fraction", "steps", "grid")


class HeldOut(Model):
    """One division of the split scheme `group`, whose test groups are excluded from training."""

    seed: int | None = Field(
        None, ge=0, description="Seed of the division. Null: the first of `splits.seeds`."
    )
    fold: int = Field(0, ge=0, description="Fold of the division.")


class TrainCard(ArchitectureBase):
    """A network that is trained in the study before it embeds anything."""

    trained_here: ClassVar[Literal[True]] = True
    has_checkpoint: ClassVar[Literal[False]] = False
    needs_weights: ClassVar[Literal[True]] = True
    # Nothing but `datasets`.
    trained_on: ClassVar[Sequence[str]] = ()

    source: Literal["train"]
    objective: MethodSettings = Field(
        description="Training objective: `method`, and the settings of that method."
    )
    datasets: list[Name] = Field(
        min_length=1,
        description=(
            "Datasets of the study to train on, with or without labels: among `datasets` or "
            "`training_datasets` of the config."
        ),
    )
    epochs: int = Field(100, ge=1, description="Passes over all tiles.")
    steps: int | None = Field(
        None, ge=1, description="Steps of the training, in place of `epochs`. Null: as many epochs."
    )
    data_fraction: Fraction = Field(
        1.0,
        description=(
            "Fraction of the groups of each dataset to train on, drawn by `seed`; a smaller "
            "fraction is part of a larger one. Needs `steps`."
        ),
    )
    batch_size: int = Field(64, ge=1, description="Tiles per step, all from one dataset.")
    optimiser: OptimiserSettings = Field(
        OptimiserSettings(),
        description=(
            "AdamW; by default as published for the method. `learning_rate` is that at 256 tiles "
            "per step, and is scaled in proportion."
        ),
    )
    augmentation: AugmentationSettings = Field(
        AugmentationSettings(),
        description="How images are augmented; `objective` has the crops.",
    )
    seed: int = Field(0, ge=0, description="Seed of initial weights, order, views and masks.")
    exclude_test_groups: bool | HeldOut = Field(
        False,
        description=(
            "true, or one division: its test groups, of all datasets of the study that are "
            "evaluated, are excluded from training by name, in every dataset, and the backbone is "
            "evaluated on this division only. false: it is trained on all groups, which the score "
            "tables state."
        ),
    )
    grid: GridSettings | None = Field(
        None, description="Trains every combination of these values. Null: one training."
    )

    @model_validator(mode="before")
    @classmethod
    def _published_optimiser(cls, value: Any) -> Any:
        """Fill in the optimiser settings published for the method."""
        if not isinstance(value, dict) or not isinstance(value.get("objective"), dict):
            return value
        given, method = value.get("optimiser", {}), METHODS.get(value["objective"].get("method"))
        if method is None or not isinstance(given, dict):
            return value
        return {**value, "optimiser": {**method.published_optimiser, **given}}

    @model_validator(mode="after")
    def _crops_belong_to_the_method(self) -> TrainCard:
        if "crop_scale" in self.augmentation.model_fields_set:
            raise ValueError("augmentation.crop_scale: set the area of crops in `objective`")
        return self

    @model_validator(mode="after")
    def _trained_at_one_scale(self) -> TrainCard:
        if self.sweep is not None:
            raise ValueError("sweep: what is trained here sees tiles as it is trained")
        return self

    @property
    def held_out(self) -> HeldOut | None:
        """The division whose test groups are excluded, if there is one."""
        chosen = self.exclude_test_groups
        return (HeldOut() if chosen else None) if isinstance(chosen, bool) else chosen

    def fingerprint(self) -> str:
        """Return a sha256 over the model's canonical JSON, without its prose."""
        return fingerprint(self.model_dump(mode="json", exclude={*PROSE, *self._unused}))

    def training_fingerprint(self) -> str:
        """Return a sha256 of everything in the card that the weights depend on."""
        return fingerprint(self.model_dump(mode="json", exclude={*NOT_TRAINED, *self._unused}))

    def network_fingerprint(self) -> str:
        """Return a sha256 of what decides whether the network can be built and trained."""
        rest = {"name", "seed", "data_fraction", "steps", "epochs", "optimiser", "grid", *PROSE}
        return fingerprint(self.model_dump(mode="json", exclude=rest))

    @property
    def _unused(self) -> set[str]:
        fields = type(self).model_fields
        return {key for key in LATER if getattr(self, key) == fields[key].default}

    def cells(self) -> dict[str, tuple[Cell, TrainCard]]:
        """Return the trainings of a grid, by name; the card has passed `grid_problems`."""
        if self.grid is None:
            return {}
        every = self.grid.combinations(self.seed, self.steps)
        found = [Cell(self.name, values) for values in every]
        return {cell.name: (cell, self._of(cell)) for cell in found}

    @property
    def own_outputs(self) -> list[Output]:
        """The outputs except those of every block."""
        of_blocks = block_outputs(self.blocks or 0, self.outputs[0].pooling)
        return [output for output in self.outputs if output not in of_blocks]

    def _of(self, cell: Cell) -> TrainCard:
        values, rates = cell.values, {}
        arguments: dict[str, Any] = dict(self.arguments)
        if "width" in values and self.grid is not None and self.grid.rate == "inverse-width":
            share = arguments["embed_dim"] / values["width"]
            given = self.optimiser.model_dump(include={"learning_rate", "final_learning_rate"})
            rates = {key: share * rate for key, rate in given.items()}
        changes = {
            "name": cell.name,
            "architecture": values.get("architecture", self.architecture),
            "arguments": arguments_of(values, arguments),
            "data_fraction": values.get("fraction", self.data_fraction),
            "steps": values.get("steps", self.steps),
            "seed": values[SEED],
            "optimiser": self.optimiser.model_copy(update=rates),
            "grid": None,
        }
        if self.blocks is not None and "depth" in values:
            outputs = with_blocks(self.own_outputs, values["depth"])
            changes |= {"blocks": values["depth"], "outputs": outputs}
        return self.model_copy(update=changes)


def grid_problems(card: TrainCard, path: Path) -> list[Problem]:
    """Return everything that a card asks of a grid that cannot be trained.

    Parameters
    ----------
    card, path
        The card and its file.
    """
    return [Problem(f"{path}, key {key}", what, fix) for key, what, fix in _wrong(card)]


def _wrong(card: TrainCard) -> Iterator[tuple[str, str, str]]:
    grid = card.grid or GridSettings()
    equal = "Give `steps`, so that a part of the data is trained on for as long as all of it."
    if card.steps is None and not grid.steps:
        if card.data_fraction < 1:
            yield "data_fraction", "fewer groups would be trained on for fewer steps", equal
        if grid.fraction:
            yield "grid.fraction", "fewer groups would be trained on for fewer steps", equal
    if card.grid is None:
        return
    if grid.n_cells > grid.most_cells:
        what = f"{grid.n_cells:,} trainings, more than `most_cells` ({grid.most_cells:,})"
        yield "grid", what, f"Give fewer values, or write `most_cells: {grid.n_cells}`."
    if grid.at_steps and card.steps is None:
        what = "are along a training, whose length is not given"
        yield "grid.at_steps", what, "Give `steps` in the card, not in the grid."
    for late in grid.at_steps:
        if card.steps is not None and late >= card.steps:
            what = f"{late} is not before the end of a training of {card.steps} steps"
            yield "grid.at_steps", what, "Leave it out, or raise `steps`: the end is kept anyway."
    if grid.steps and card.steps is not None:
        yield "grid.steps", "is also given by the key `steps`", "Leave one of them out."
    if grid.fraction and card.data_fraction < 1:
        what = "is also given by the key `data_fraction`"
        yield "grid.fraction", what, "Leave one of them out."
    if grid.architecture and (grid.width or grid.depth or grid.patch):
        what = "each architecture has its own width, depth and patch"
        yield "grid.architecture", what, "Put them in two cards."
    yield from _wrong_widths(card, grid)
    for depth in grid.depth:
        for output in card.own_outputs:
            if output.layer is not None and not -depth <= output.layer < depth:
                what = f"{depth} blocks: output {output.name} is of layer {output.layer}"
                yield "grid.depth", what, "Count layers from the end, such as `layer: -2`."
    sides = {"input_size": card.input_size, **card.objective.view_sizes(card.input_size)}
    for patch in grid.patch:
        for key, side in sides.items():
            if side % patch:
                what = f"{key}, {side} px, is no whole number of patches of {patch} px"
                yield "grid.patch", what, "Choose sides that every patch divides."


def _wrong_widths(card: TrainCard, grid: GridSettings) -> Iterator[tuple[str, str, str]]:
    if not grid.width:
        return
    width, heads = (card.arguments.get(key) for key in ("embed_dim", "num_heads"))
    if not (isinstance(width, int) and isinstance(heads, int) and width > 0 and heads > 0):
        what = "needs the network that the learning rate is for"
        fix = "Give `arguments: {embed_dim: ..., num_heads: ...}`, as whole numbers above 0."
        yield "grid.width", what, fix
        return
    if width % heads:
        what = f"{width} features are not divisible by {heads} heads"
        yield "arguments.embed_dim", what, "Give a multiple of `num_heads`."
        return
    per_head = width // heads
    for value in grid.width:
        if value % per_head:
            what = f"{value} is not a multiple of {per_head}, the width per head of `arguments`"
            nearest = max(1, round(value / per_head)) * per_head
            yield "grid.width", what, f"Use {nearest}, for example, or other `num_heads`."

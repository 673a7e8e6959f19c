"""Roles of columns of a sample sheet: perturbation, batch, and negative controls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pydantic import Field, field_validator, model_validator

from transferscope.config.model import Model, without_repeats

USUAL_NAMES = ("perturbation", "batch", "control", "well")
PERTURBATION, BATCH, CONTROL, POSITION = USUAL_NAMES
GROUP = "group"
# Marks of a negative control, in any case, where no others are named.
YES = ("true", "yes", "1")


class RoleSettings(Model):
    """Columns of the sample sheet with a role; those of the usual names are found by themselves."""

    perturbation: str | None = Field(
        None,
        min_length=1,
        description=(
            "Column of the gene, compound or protein of a tile. Null: `perturbation` if the sheet "
            "has it, or else `group`."
        ),
    )
    batch: str | None = Field(
        None,
        min_length=1,
        description="Column of the batch, such as the plate. Null: `batch` if the sheet has it.",
    )
    control: str | None = Field(
        None,
        min_length=1,
        description=(
            "Column that tells the negative controls. Null: `control` if the sheet has it."
        ),
    )
    control_values: list[str] = Field(
        [], description="Its values for a negative control. Empty: true, yes or 1, in any case."
    )

    _unique = field_validator("control_values")(without_repeats)

    position: str | None = Field(
        None,
        min_length=1,
        description=(
            "Column of the well, within its plate. Null: `well` if the sheet has it. Perturbations "
            "that are always in one are told: their replicates may be alike for their position."
        ),
    )

    @model_validator(mode="after")
    def _values_are_of_a_column(self) -> RoleSettings:
        if self.control_values and self.control is None:
            raise ValueError("`control_values` needs `control`, the column that has them")
        return self

    def named(self) -> list[str]:
        """Return the columns that are named, each once, which a sheet must therefore have."""
        own = [self.perturbation, self.batch, self.control, self.position]
        return list(dict.fromkeys(column for column in own if column is not None))

    def of(self, columns: Collection[str]) -> RoleColumns:
        """Return the column of each role in a table with these columns."""

        def usual(name: str) -> str | None:
            return name if name in columns else None

        return RoleColumns(
            perturbation=self.perturbation or usual(PERTURBATION) or GROUP,
            batch=self.batch or usual(BATCH),
            control=self.control or usual(CONTROL),
            control_values=tuple(self.control_values),
            position=self.position or usual(POSITION),
        )


@dataclass(frozen=True)
class RoleColumns:
    """The columns of a table with a role; None: it has no such column.

    Parameters
    ----------
    perturbation, batch, control, position
        Names of columns.
    control_values
        Values of `control` for a negative control; none: `YES`, in any case.
    """

    perturbation: str
    batch: str | None
    control: str | None
    control_values: tuple[str, ...]
    position: str | None = None

    @property
    def named(self) -> list[str]:
        """All columns."""
        own = [self.perturbation, self.batch, self.control, self.position]
        return [column for column in own if column is not None]

    def are_controls(self, marks: Sequence[str]) -> list[bool]:
        """Return which of the values of the column `control` mark a negative control."""
        if self.control_values:
            return [mark in self.control_values for mark in marks]
        return [mark.casefold() in YES for mark in marks]

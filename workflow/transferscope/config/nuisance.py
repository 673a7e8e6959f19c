"""Settings of what embeddings know besides biology."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats

# The split by which everything besides biology is predicted.
SCHEME = "group"
# Columns that are predicted where none are named, if the sheet has them.
USUAL_COLUMNS = ("batch", "plate", "site", "well")
# The card whose measures are predicted: numbers of cells, brightness and focus.
MEASURES = "count-and-quality"
# Tables of a store, and those of the comparison.
TABLES = ("targets", "predictions", "halves", "index", "replicates")
NUISANCE, ROBUSTNESS = COMPARED = ("nuisance", "robustness")

Column = Annotated[str, Field(min_length=1)]


class NuisanceSettings(Model):
    """What is predicted from embeddings besides biology, and whether neighbours share it."""

    columns: list[Column] | None = Field(
        None,
        description=(
            "Columns of the sheet that are predicted. Wells such as B07 (`roles.position`) are "
            "predicted as row and column of the plate. Null: the batch (`roles.batch`), and batch, "
            "plate, site and well, as far as the sheet has them."
        ),
    )
    numbers: list[Column] = Field(
        [],
        description="Columns of numbers, such as passage or days, predicted by ridge regression.",
    )
    measures: bool = Field(
        True,
        description=(
            "Whether number of cells, brightness and focus of each tile are predicted (those of "
            "the card count-and-quality)."
        ),
    )
    robustness: list[Column] | None = Field(
        None,
        description=(
            "Columns against which the robustness index is measured: do neighbours share the class "
            "or this? Null: the batch (`roles.batch`), if the sheet has it."
        ),
    )
    k: int = Field(10, ge=1, description="Neighbours of the robustness index.")
    permutations: int = Field(
        999, ge=99, description="Permutations of its null: batches shuffled within classes."
    )

    _unique = field_validator("columns", "numbers", "robustness")(without_repeats)

    @property
    def named(self) -> dict[str, list[str]]:
        """Key -> columns that a sheet must have, because the study names them."""
        given = {
            "columns": self.columns,
            "numbers": self.numbers,
            "robustness": self.robustness,
        }
        return {key: columns for key, columns in given.items() if columns}

"""Settings of the recall of known pairs, of replicates and of corrections for batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from transferscope.config.correction import METHODS, NONE, PUBLISHED, CorrectionName
from transferscope.config.model import Model, without_repeats

AggregateName = Literal["mean", "median"]
Share = Annotated[float, Field(gt=0, lt=0.5)]


class Relating(Model):
    """How known pairs are looked for among the cosines of all pairs of entities."""

    aggregate: AggregateName = Field(
        "mean", description="How the rows of an entity become one vector: mean or median."
    )
    thresholds: list[Share] = Field(
        [0.05],
        min_length=1,
        description="Shares of all pairs, at either end, among which a known pair is a hit.",
    )
    min_entities: int = Field(
        20, ge=3, description="Least number of entities of a map that is scored."
    )
    permutations: int = Field(
        200, ge=0, description="Permutations of the entities' names for p and the chance band."
    )
    draws: int = Field(1000, ge=100, description="Bootstrap draws of entities for intervals.")
    level: float = Field(0.95, gt=0.5, lt=1, description="Level of intervals and chance bands.")
    seed: int = Field(0, ge=0, description="Seed of draws and permutations.")

    _different_shares = field_validator("thresholds")(without_repeats)


class RelationSettings(Relating):
    """Settings of `transferscope relate`: in addition, how embeddings are corrected."""

    corrections: list[CorrectionName] = Field([NONE], min_length=1, description=METHODS)
    published: bool = Field(False, description=PUBLISHED)

    _different_corrections = field_validator("corrections")(without_repeats)


class StudyRelations(Relating):
    """Known pairs that the stores of a study are asked for; the columns are those of the sheet."""

    sources: list[str] = Field(
        [],
        description=(
            "Relation cards by name or by path, or tables of two columns. Empty: stores are not "
            "related."
        ),
    )
    corrections: list[CorrectionName] | None = Field(
        None,
        min_length=1,
        description="Corrections that are compared. Null: those of `correction.methods`.",
    )
    labels: str | None = Field(
        "labels",
        description="Column of labels, for recall among pairs that share one. Null: none.",
    )
    targets: str | None = Field(
        None, description="Column of targets, separated by `;`, for their consistency."
    )

    _different = field_validator("sources", "corrections")(without_repeats)

    @property
    def columns(self) -> list[str]:
        """Columns that are named, each once."""
        own = [self.labels, self.targets]
        return list(dict.fromkeys(column for column in own if column is not None))

"""Settings of the recall of known pairs, of replicates and of corrections for batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from transferscope.config.model import Model, without_repeats

CorrectionName = Literal["none", "center", "standardise", "sphere", "tvn"]
AggregateName = Literal["mean", "median"]
ON_CONTROLS = ("standardise", "sphere", "tvn")
Share = Annotated[float, Field(gt=0, lt=0.5)]


class RelationSettings(Model):
    """How known pairs are looked for among the cosines of all pairs of entities."""

    corrections: list[CorrectionName] = Field(
        ["none"],
        min_length=1,
        description=(
            "none; center: the mean of each batch is subtracted; standardise: centred and scaled "
            "on the controls of each batch; sphere: then whitened by all controls; tvn: then each "
            "batch whitened by its own controls."
        ),
    )
    published: bool = Field(
        False, description="Corrections exactly as published, without any limit for few controls."
    )
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

    @field_validator("corrections", "thresholds")
    @classmethod
    def _no_repeats(cls, values: list[object]) -> list[object]:
        repeated: list[object] = without_repeats(values)
        return repeated


class StudyRelations(RelationSettings):
    """Known pairs that the stores of a study are asked for; the columns are those of the sheet."""

    sources: list[str] = Field(
        [],
        description=(
            "Relation cards by name or by path, or tables of two columns. Empty: stores are not "
            "related."
        ),
    )
    entity: str = Field(
        "group", min_length=1, description="Column of the gene, protein or compound of a tile."
    )
    batch: str | None = Field(None, description="Column of the batch, such as the plate.")
    control: str | None = Field(None, description="Column that tells the negative controls.")
    control_values: list[str] = Field([], description="Its values for a negative control.")
    labels: str | None = Field(
        "labels",
        description="Column of labels, for recall among pairs that share one. Null: none.",
    )
    targets: str | None = Field(
        None, description="Column of targets, separated by `;`, for their consistency."
    )

    @field_validator("sources", "control_values")
    @classmethod
    def _different(cls, values: list[object]) -> list[object]:
        repeated: list[object] = without_repeats(values)
        return repeated

    @model_validator(mode="after")
    def _controls_are_told(self) -> StudyRelations:
        if (self.control is None) == bool(self.control_values):
            raise ValueError("give both `control` (a column) and `control_values`, or neither")
        needing = [name for name in self.corrections if name in ON_CONTROLS]
        if needing and self.control is None:
            raise ValueError(f"`{needing[0]}` needs `control` and `control_values`")
        return self

    @property
    def columns(self) -> list[str]:
        """All columns with a role, each once."""
        own = [self.entity, self.batch, self.control, self.labels, self.targets]
        return list(dict.fromkeys(column for column in own if column is not None))

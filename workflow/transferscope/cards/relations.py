"""Relation cards: tables of known pairs of genes, proteins or compounds, and their origin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from transferscope.config.model import Model
from transferscope.config.names import Name

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
ColumnName = Annotated[str, Field(min_length=1)]


class RelationCard(Model):
    """A source of known pairs: a table with two columns of names."""

    name: Name = Field(description="Name of the source in all results.")
    description: str = Field("", description="What the pairs have in common.")
    path: Path | None = Field(
        None, description="The table, TSV or CSV, relative to the card; instead of `url`."
    )
    url: str | None = Field(
        None,
        pattern="^https?://",
        description="Address of the table, which is downloaded once; instead of `path`.",
    )
    sha256: Sha256 | None = Field(None, description="Checksum of the table, verified if given.")
    columns: tuple[ColumnName, ColumnName] = Field(
        ("entity1", "entity2"), description="The two columns with the names of a pair."
    )
    at_least: dict[ColumnName, float] = Field(
        {},
        description=(
            "Column with numbers: least value of the rows to use, such as a score of confidence."
        ),
    )
    licence: str = Field(description="Licence of the table; `unknown` if it is not stated.")
    citation: str = Field("", description="What to cite.")

    @model_validator(mode="after")
    def _one_place(self) -> RelationCard:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either `path` or `url`")
        if self.columns[0] == self.columns[1]:
            raise ValueError(f'`columns` names "{self.columns[0]}" twice')
        return self

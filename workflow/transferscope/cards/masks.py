"""What the values of a dataset's masks mean, as far as a dataset card says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from transferscope.config.model import Model

MaskKind = Literal["instances", "binary", "classes"]
ClassName = Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f\x7f;]+$")]
# Name of the foreground where masks tell no classes apart.
OBJECT = "object"
# Values of the foreground of a binary mask, as programs write it.
BINARY_VALUES = (1, 255, 65535)
LARGEST_ID = 2**32 - 2


class MaskSettings(Model):
    """What the values in the masks of the column `mask` mean; 0 is the background."""

    kind: MaskKind = Field(
        description=(
            "instances: the number of the object, of which each field has its own; binary: "
            "foreground is 1, 255 or 65535; classes: the class of each pixel, see `classes`."
        )
    )
    classes: dict[Annotated[int, Field(ge=1, le=LARGEST_ID)], ClassName] = Field(
        default_factory=dict,
        description="With `kind: classes`: value in the mask -> name of the class, except 0.",
    )
    ignore: int | None = Field(
        None,
        ge=1,
        description=(
            "Value of the pixels of which the truth is not known, such as 255: they are neither "
            "trained on nor scored. Null: none."
        ),
    )

    @field_validator("classes")
    @classmethod
    def _differ(cls, value: dict[int, str]) -> dict[int, str]:
        names = list(value.values())
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"given to several values: {', '.join(repeated)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> MaskSettings:
        if self.kind == "classes" and not self.classes:
            raise ValueError("kind: classes needs `classes`, such as {1: gland, 2: stroma}")
        if self.kind != "classes" and self.classes:
            raise ValueError(f"classes: of `kind: classes`, not of {self.kind}: take it out")
        if self.ignore in self.classes:
            raise ValueError(f"ignore: {self.ignore} is a class, too")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes of the foreground, in the order of their ids in a target store."""
        return tuple(self.classes.values()) or (OBJECT,)

"""Types that several sections of the config share."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    WithJsonSchema,
)

from transferscope.config.channel_strategies import REQUESTED, check_name
from transferscope.config.schemes import check_scheme

Scheme = Annotated[
    str, AfterValidator(check_scheme), WithJsonSchema({"type": "string", "minLength": 1})
]
SeenInTraining = Literal["no", "images", "images and groups", "in another dataset"]
HeadKind = Literal["linear", "logreg", "mlp"]
Strategy = Annotated[
    str, AfterValidator(check_name), WithJsonSchema({"type": "string", "pattern": REQUESTED})
]
Metric = Literal[
    "macro_f1",
    "micro_f1",
    "class_f1",
    "macro_average_precision",
    "accuracy",
    "brier",
    "calibration_error",
]
METRICS: list[Metric] = list(get_args(Metric))
Fraction = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0)]
# Of a square image, in px.
LEAST_SIDE, MOST_SIDE = 16, 16_384
Side = Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE)]
CardRef = Annotated[
    str,
    Field(min_length=1, description="Name of a card in the card folders, or path of a card file."),
]

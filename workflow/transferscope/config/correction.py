"""Settings of the corrections of embeddings for batches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.roles import RoleSettings

CorrectionName = Literal["none", "center", "scale", "standardise", "sphere", "tvn", "harmony"]
NONE: CorrectionName = "none"
HARMONY: CorrectionName = "harmony"
SCALE: CorrectionName = "scale"
ON_CONTROLS = ("scale", "standardise", "sphere", "tvn")
METHODS = (
    "none; center: the mean of each batch is subtracted; scale: centred and scaled on the controls "
    "of all batches together; standardise: on those of each batch; sphere: then whitened by all "
    "controls; tvn: then each batch whitened by its own controls; harmony: principal components, "
    "mixed over batches by Harmony (an extra)."
)
PUBLISHED = "Corrections exactly as published, without any limit for few controls."


class CorrectionSettings(Model):
    """How stores are corrected for batches; each correction gives a store that is evaluated."""

    methods: list[CorrectionName] = Field(
        [NONE],
        min_length=1,
        description=f"Every probe of frozen embeddings runs on each of them. {METHODS}",
    )
    published: bool = Field(False, description=PUBLISHED)

    _unique = field_validator("methods")(without_repeats)


class CorrectionJob(Model):
    """Settings of the step `transferscope correct`."""

    method: CorrectionName = "center"
    published: bool = False
    roles: RoleSettings = RoleSettings()

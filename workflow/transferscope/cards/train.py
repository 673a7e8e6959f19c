"""Cards of backbones that are trained in the study, on tiles of its own."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from transferscope.cards.methods import METHODS, MethodSettings
from transferscope.cards.network import ArchitectureBase
from transferscope.config.model import PROSE, Model
from transferscope.config.names import Name
from transferscope.config.training import AugmentationSettings, OptimiserSettings
from transferscope.runtime.fingerprint import fingerprint

# Learning rates are given for so many images a step, and scaled in proportion.
REFERENCE_BATCH = 256
# What is read out of a trained network, or told about it, does not change the training.
NOT_TRAINED = {"name", "outputs", "pixel_size_um", "scale", "exclude_test_groups", *PROSE}


class HeldOut(Model):
    """One division of the split scheme `group`, whose test groups a training never sees."""

    seed: int | None = Field(
        None, ge=0, description="Seed of the division. Null: the first of `splits.seeds`."
    )
    fold: int = Field(0, ge=0, description="Fold of the division.")


class TrainCard(ArchitectureBase):
    """A network that is trained in the study before it embeds anything."""

    trained_here: ClassVar[Literal[True]] = True
    has_checkpoint: ClassVar[Literal[False]] = False
    needs_weights: ClassVar[Literal[True]] = True

    source: Literal["train"]
    objective: MethodSettings = Field(
        description="What it learns: `method`, and the settings of that method."
    )
    datasets: list[Name] = Field(
        min_length=1,
        description=(
            "Datasets of the study whose tiles it sees, with or without labels: among `datasets` "
            "or `training_datasets` of the config."
        ),
    )
    epochs: int = Field(100, ge=1, description="Passes over all tiles.")
    batch_size: int = Field(64, ge=1, description="Tiles a step; all of one dataset.")
    optimiser: OptimiserSettings = Field(
        OptimiserSettings(),
        description=(
            "AdamW; what is not given is as published for the method. `learning_rate` is that at "
            "256 tiles a step, and is scaled in proportion."
        ),
    )
    augmentation: AugmentationSettings = Field(
        AugmentationSettings(),
        description="How images are changed; which part of a tile is shown stands in `objective`.",
    )
    seed: int = Field(0, ge=0, description="Seed of weights, order, views and masks.")
    exclude_test_groups: bool | HeldOut = Field(
        False,
        description=(
            "true, or one division: groups that are tested there are never read, and the backbone "
            "is evaluated there alone. false: it sees images of all groups, and its scores say so."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _published_optimiser(cls, value: Any) -> Any:
        """Fill the optimiser's settings in with those published for the method."""
        if not isinstance(value, dict) or not isinstance(value.get("objective"), dict):
            return value
        given, method = value.get("optimiser", {}), METHODS.get(value["objective"].get("method"))
        if method is None or not isinstance(given, dict):
            return value
        return {**value, "optimiser": {**method.published_optimiser, **given}}

    @model_validator(mode="after")
    def _crops_belong_to_the_method(self) -> TrainCard:
        if "crop_scale" in self.augmentation.model_fields_set:
            raise ValueError("augmentation.crop_scale: the share of a tile stands in `objective`")
        return self

    @property
    def held_out(self) -> HeldOut | None:
        """The division whose test groups are never read, if there is one."""
        chosen = self.exclude_test_groups
        return (HeldOut() if chosen else None) if isinstance(chosen, bool) else chosen

    def training_fingerprint(self) -> str:
        """Return a sha256 over everything in the card that the weights depend on."""
        return fingerprint(self.model_dump(mode="json", exclude=NOT_TRAINED))

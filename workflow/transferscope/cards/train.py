"""Cards of backbones that are trained in the study, on its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from transferscope.cards.methods import METHODS, MethodSettings
from transferscope.cards.network import ArchitectureBase
from transferscope.config.model import PROSE, Model
from transferscope.config.names import Name
from transferscope.config.training import AugmentationSettings, OptimiserSettings
from transferscope.runtime.fingerprint import fingerprint

# Images per step for which learning rates are given; they are scaled in proportion.
REFERENCE_BATCH = 256
# Keys for the use or the description of a trained network, which do not affect training.
NOT_TRAINED = {"name", "outputs", "pixel_size_um", "scale", "exclude_test_groups", *PROSE}


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

    @property
    def held_out(self) -> HeldOut | None:
        """The division whose test groups are excluded, if there is one."""
        chosen = self.exclude_test_groups
        return (HeldOut() if chosen else None) if isinstance(chosen, bool) else chosen

    def training_fingerprint(self) -> str:
        """Return a sha256 of everything in the card that the weights depend on."""
        return fingerprint(self.model_dump(mode="json", exclude=NOT_TRAINED))

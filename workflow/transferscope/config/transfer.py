"""Settings of the test on other datasets, and the names of what is trained there."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from transferscope.config.model import Model, without_repeats
from transferscope.config.names import Name

# What a head was trained on, as the column `scheme` of the tables names it: the other dataset; the
# other and k labelled groups per class of the tested one; these alone; all training groups of the
# tested one.
ZERO_SHOT, FEW_SHOT, ALONE, OWN = "zero-shot", "few-shot", "alone", "own"
SCHEME = "group"


def with_labels(kind: str, k: int) -> str:
    """Return the name of a training with k labelled groups per class of the tested dataset.

    Examples
    --------
    >>> with_labels(FEW_SHOT, 5)
    'few-shot-5'
    """
    return f"{kind}-{k}"


def n_labelled(scheme: str) -> int:
    """Return the number of labelled groups per class of such a training; 0 of any other.

    Examples
    --------
    >>> n_labelled("alone-5"), n_labelled("zero-shot")
    (5, 0)
    """
    found = re.fullmatch(rf"(?:{FEW_SHOT}|{ALONE})-(\d+)", scheme)
    return int(found[1]) if found else 0


class TransferSettings(Model):
    """Heads and k-NN trained on one dataset of the study and tested on another one."""

    datasets: list[Name] | None = Field(
        None,
        min_length=2,
        description="Which of the study's datasets take part. Null: all.",
    )
    few_shot: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 5],
        description=(
            "Numbers of labelled groups per class of the tested dataset that are added to the "
            "training, and that are trained on alone. Empty: none."
        ),
    )

    _unique = field_validator("datasets", "few_shot")(without_repeats)


class SharedClass(Model):
    """A class that two datasets share, and what the labels of each call it."""

    name: str
    source: list[str] = Field(min_length=1)
    target: list[str] = Field(min_length=1)

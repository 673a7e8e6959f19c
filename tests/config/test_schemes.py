"""Which schemes a study may name, and how many folds they have."""

import pytest
from pydantic import ValidationError

from transferscope.config.probes import SplitSettings


@pytest.mark.parametrize("name", ["", " ", "fov", "labels", "path", "plate+shuffled"])
def test_what_is_no_column_to_split_by_is_refused(name):
    with pytest.raises(ValidationError, match=r"cannot be split by|name `group`"):
        SplitSettings(schemes=["group", name])


def test_a_column_needs_no_number_of_folds_and_has_a_control():
    settings = SplitSettings(schemes=["image", "Plate ID", "group"], folds={"group": 3, "image": 3})
    assert settings.columns == ["Plate ID"]
    assert settings.divided == ["image", "Plate ID", "Plate ID+shuffled", "group"]
    assert settings.most_folds("Plate ID") == settings.most_folds("Plate ID+shuffled") > 3
    with pytest.raises(ValidationError, match="give a number for image"):
        SplitSettings(schemes=["image", "plate"], folds={"group": 3})

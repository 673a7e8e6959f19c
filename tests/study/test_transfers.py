"""What is tested on another dataset follows from config and cards, or a sentence says why not."""

import pytest

from factories import DATASET_CARD, STUDY, write_study, write_yaml
from transferscope.cards.lookup import SHIPPED
from transferscope.errors import UserError
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study
from transferscope.study.transfers import not_transferred, shared_classes, transfers

OTHER = {**DATASET_CARD, "name": "others", "sheet": "../../raw/samples.tsv"}


def study_of(folder, other, **changes):
    """Return a study of two datasets, one of which is `other`."""
    settings = {"transfer": {"few_shot": [1]}, **changes}
    write_study(folder, **settings)
    write_yaml(folder / "cards/datasets/others.yaml", {**OTHER, **other})
    cards = [*STUDY["datasets"], "cards/datasets/others.yaml"]
    write_yaml(folder / "study.yaml", {**STUDY, **settings, "datasets": cards})
    path = folder / "study.yaml"
    return load_study(merged_config(path), [folder, SHIPPED], str(path))


def test_every_store_of_both_is_tested_both_ways(tmp_path):
    study = study_of(tmp_path, {})
    found = transfers(study)
    assert {(each.source, each.probed.dataset) for each in found} == {
        ("cells", "others"),
        ("others", "cells"),
    }
    assert {(each.trained.dataset, each.source) for each in found} == {
        ("cells", "cells"),
        ("others", "others"),
    }
    assert len(found) == len(study.probed())
    assert not not_transferred(study)


def test_without_the_section_nothing_is(tmp_path):
    study = study_of(tmp_path, {}, transfer=None)
    assert not transfers(study)
    assert not not_transferred(study)


def test_columns_per_channel_need_the_same_channels(tmp_path):
    study = study_of(tmp_path, {"channels": list(reversed(DATASET_CARD["channels"]))})
    assert {each.probed.channels for each in transfers(study)} == {"map"}
    reasons = " ".join(not_transferred(study))
    assert "`tiny / replicate` is not tested between `cells` and `others`" in reasons
    assert "one channel after the other" in reasons


def test_names_of_classes_are_mapped_also_two_to_one(tmp_path):
    labels = DATASET_CARD["labels"]
    renamed = {f"{name} {n}": name for name in labels for n in (1, 2)}
    study = study_of(tmp_path, {"labels": list(renamed), "class_names": renamed})
    cards = [study.datasets[name].card for name in ("cells", "others")]
    found = shared_classes(*cards)
    assert [(each.name, each.source) for each in found] == [(name, [name]) for name in labels]
    assert all(each.target == [f"{each.name} 1", f"{each.name} 2"] for each in found)
    assert transfers(study)


@pytest.mark.parametrize(
    ("other", "changes", "text"),
    [
        ({"labels": ["x", "y"]}, {}, "they share 0 classes"),
        ({"task": "single-label"}, {}, "one has several labels per tile"),
        ({}, {"transfer": {"datasets": ["cells", "nobody"]}}, '"nobody" is no dataset'),
        ({}, {"scored": False}, "needs scores or their splits"),
        ({"class_names": {"nothing": "x"}}, {}, "not among `labels`: nothing"),
    ],
)
def test_what_cannot_be_tested_stops_the_study_and_says_why(tmp_path, other, changes, text):
    with pytest.raises(UserError, match=text):
        study_of(tmp_path, other, **changes)

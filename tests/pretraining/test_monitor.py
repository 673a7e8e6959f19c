"""The collapse alarm, and the nearest neighbours of a training."""

import math

import numpy as np
import pytest
import torch

from transferscope.pretraining.monitor import CollapseAlarm, _votes, collapse_signs, spread
from transferscope.training.loop import StopTraining

SOUND = {"embedding_spread": 0.3, "teacher_entropy": 0.7, "teacher_diversity": 0.6}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"embedding_spread": 1e-4}, "alike"),
        ({"teacher_entropy": 1.0}, "uniform"),
        ({"teacher_diversity": 0.0}, "same of every tile"),
        ({"teacher_information": 0.0}, "no tile from another"),
    ],
)
def test_each_kind_of_collapse_stops_the_training_with_its_reason(changes, expected):
    alarm = CollapseAlarm()
    for _ in range(2):
        alarm.check({**SOUND, **changes})
    with pytest.raises(StopTraining, match=expected):
        alarm.check({**SOUND, **changes})


def test_a_sound_epoch_calms_the_alarm_and_a_checkpoint_keeps_its_state():
    alarm, bad = CollapseAlarm(), {"embedding_spread": 0.0}
    alarm.check(bad)
    alarm.check(bad)
    resumed = CollapseAlarm()
    resumed.load_state_dict(alarm.state_dict())
    alarm.check(SOUND)
    alarm.check(bad)
    with pytest.raises(StopTraining):
        resumed.check(bad)


def test_what_a_method_does_not_measure_is_no_sign():
    assert collapse_signs({}) == []
    assert collapse_signs(SOUND) == []


def test_spread_is_the_distance_from_the_mean_direction():
    angles = torch.linspace(0, 2 * math.pi, 9)[:-1]
    everywhere = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert spread(everywhere) == pytest.approx(1)
    assert spread(everywhere[:1].expand(5, 2)) == pytest.approx(0)
    found = torch.nn.functional.normalize(torch.randn(50, 8), dim=1)
    cosine = (found @ found.T).mean()
    assert spread(found) == pytest.approx(float((1 - cosine).sqrt()), abs=1e-5)


def test_neighbours_are_of_other_groups_and_any_own_label_counts():
    # Two clusters; within each group all tiles lie together.
    directions = torch.nn.functional.normalize(
        torch.tensor([[1, 0.0], [1, 0.01], [1, 0.1], [0, 1], [0.01, 1], [0.1, 1]]), dim=1
    )
    groups = np.array(["a", "a", "b", "c", "c", "d"])
    labels = np.array(["golgi", "golgi", "golgi;er", "nucleus", "nucleus", "golgi"])
    # Neighbours of any tile: all tiles of other groups, of which golgi is the most frequent label
    # (a: b, c, c, d -> golgi twice, nucleus twice: the first by name, golgi).
    assert _votes(directions, labels, groups) == [True, True, True, False, False, True]
    assert _votes(directions, np.array([""] * 6), groups) == []
    assert _votes(directions, labels, np.array(["a"] * 6)) == []

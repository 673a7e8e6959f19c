"""Training feeds a network just what embedding feeds it later."""

import numpy as np
import pytest
import torch

from transferscope.backbones.preprocessing import Preprocessor, normalization_for
from transferscope.cards import Normalization, Slot
from transferscope.channels.assignment import assign
from transferscope.pretraining.methods.inputs import NetworkInputs

SLOTS = [Slot(name="microtubules"), Slot(name="protein"), Slot(name="nucleus")]
RANGE = np.array([[100, 2500], [0, 4000]], dtype=np.float32)
CHANNELS = ("nucleus", "protein")
NORMALIZATIONS = [
    Normalization(mean=[0.1, 0.2, 0.3], std=[0.5]),
    Normalization(kind="self"),
    Normalization(kind="none", bits=8),
]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("slots", [SLOTS, []])
def test_inputs_are_those_of_the_embedding(normalization, slots):
    raw = torch.from_numpy(np.random.default_rng(0).integers(0, 3000, (2, 2, 16, 16)))
    assignment = assign("map" if slots else "agnostic", CHANNELS, slots)
    fitted = normalization_for(assignment, normalization)
    embedding = Preprocessor(CHANNELS, RANGE, 16, fitted, assignment.n_inputs)
    expected = embedding.fill(embedding.resize(raw), assignment.passes[0])

    low, high = (torch.from_numpy(RANGE[:, i])[:, None, None] for i in (0, 1))
    images = ((raw - low) / (high - low)).clamp(0, 1)
    found = NetworkInputs(slots, normalization)(images, CHANNELS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_channels_of_each_dataset_go_to_their_slots_and_the_others_are_zero():
    inputs = NetworkInputs(SLOTS, Normalization(mean=[0.5], std=[0.5]))
    images = torch.rand(1, 2, 8, 8)
    two = inputs(images, ("nucleus", "protein"))
    assert not two[:, 0].any()
    torch.testing.assert_close(two[:, 1:], (images[:, [1, 0]] - 0.5) / 0.5)
    other = inputs(images, ("protein", "microtubules"))
    torch.testing.assert_close(other[:, :2], (images[:, [1, 0]] - 0.5) / 0.5)
    assert not other[:, 2].any()

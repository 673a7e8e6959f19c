"""From augmented images of any dataset to what a network is fed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from transferscope.backbones.preprocessing import Preprocessor, normalization_for
from transferscope.cards import Normalization, Slot
from transferscope.channels.assignment import Assignment, assign
from transferscope.config.channel_strategies import AGNOSTIC, MAP


class NetworkInputs:
    """Normalises images and puts their channels into the slots, just as embedding does.

    Parameters
    ----------
    slots
        Input slots of the network; none where it takes any channels. A channel of a dataset goes
        to the slot that `map` gives it, and an empty slot is zero.
    normalization
        The card's.
    """

    def __init__(self, slots: Sequence[Slot], normalization: Normalization) -> None:
        self.slots = list(slots)
        self.normalization = normalization
        self._prepared: dict[
            tuple[tuple[str, ...], int, torch.device], tuple[Preprocessor, Assignment]
        ] = {}

    def __call__(self, images: Tensor, channels: Sequence[str]) -> Tensor:
        """Return [B, slots, S, S] float32 of images [B, C, S, S] from 0 to 1."""
        key = (tuple(channels), images.shape[-1], images.device)
        if key not in self._prepared:
            self._prepared[key] = self._prepare(*key)
        preprocessor, assignment = self._prepared[key]
        return preprocessor.fill(preprocessor.resize(images), assignment.passes[0])

    def _prepare(
        self, channels: tuple[str, ...], size: int, device: torch.device
    ) -> tuple[Preprocessor, Assignment]:
        assignment = assign(MAP if self.slots else AGNOSTIC, channels, self.slots)
        black_and_white = np.tile(np.array([0, 1], dtype=np.float32), (len(channels), 1))
        preprocessor = Preprocessor(
            channels,
            black_and_white,
            size,
            normalization_for(assignment, self.normalization),
            assignment.n_inputs,
            device,
        )
        return preprocessor, assignment

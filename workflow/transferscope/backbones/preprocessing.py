"""From raw tiles to network input, on the device: scale, resize, normalise, fill the slots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferscope.backbones.resizing import resized
from transferscope.cards import Normalization
from transferscope.channels.assignment import Assignment, Pass, adapted_values
from transferscope.config.channel_strategies import ADAPT, AGNOSTIC

# A channel whose standard deviation over the tile is smaller than this, on a scale of 0 to 1, is
# constant: 16-bit data cannot vary less. `self` normalisation makes it zero.
CONSTANT = 1e-6
# Levels of an 8-bit image above black.
WHITE = 255
# Added to the standard deviation by `self`, as the Human Protein Atlas DINO models were trained.
SELF_EPSILON = 1e-7
# Lowest and highest value, [1 or B, C, 1, 1] each.
Limits = tuple[Tensor, Tensor]


class Preprocessor:
    """Turns raw integer tiles into what a network expects.

    Parameters
    ----------
    channels
        Channels of the tiles, in their order.
    intensity_range
        Raw values of black and white, [C, 2].
    input_size
        Side of the network's input in px; tiles that are not square are squeezed.
    normalization
        The backbone's normalisation.
    n_inputs
        Number of the network's input channels.
    device
        Where the tensors lie.
    clip_range
        Raw values to which pixels are clipped before they are resized, [C, 2]; None: black and
        white.
    """

    def __init__(
        self,
        channels: Sequence[str],
        intensity_range: npt.NDArray[np.float32],
        input_size: int,
        normalization: Normalization,
        n_inputs: int,
        device: torch.device | str = "cpu",
        clip_range: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self.channels = list(channels)
        self.input_size = input_size
        self.normalization = normalization
        self._range = _low_and_high(intensity_range, device)
        self._clip = self._range if clip_range is None else _low_and_high(clip_range, device)
        self._mean = _per_input(normalization.mean, n_inputs, device)
        self._std = _per_input(normalization.std, n_inputs, device)

    def resize(self, raw: Tensor) -> Tensor:
        """Return tiles with intensities from 0 to 1, at the size of the network's input.

        Parameters
        ----------
        raw
            Raw tiles [B, C, H, W] of any integer or floating type, on the device.

        Returns
        -------
        Tensor
            [B, C, S, S] float32. Values outside the intensity range are clipped to it before the
            resize, so that a hot pixel does not bleed; the antialiased bicubic filter may then
            overshoot 0 and 1 a little. With `self` normalisation, that is applied, too. With
            `joint` intensity the raw values are only resized: `fill` knows which channels count.
        """
        size = self.input_size
        if self.normalization.intensity == "joint":
            return resized(raw, size, _floats, *self._range)
        (low, high), clip = self._limits(raw)
        if self.normalization.bits is not None:
            # An 8-bit file was rounded when it was written, and again when it was resized.
            levels = resized(raw, size, _levels, low, high)
            scaled = torch.round(levels).clamp(0, WHITE) / WHITE
        else:
            # Scaling commutes with resizing and is cheaper on the smaller image.
            scaled = _between(resized(raw, size, _clipped, *clip), low, high)
        if self.normalization.kind != "self":
            return scaled
        std, mean = torch.std_mean(scaled, dim=(-2, -1), keepdim=True)
        return torch.where(std > CONSTANT, (scaled - mean) / (std + SELF_EPSILON), 0.0)

    def fill(self, resized: Tensor, one: Pass) -> Tensor:
        """Return the network's input for one pass, [B, slots, S, S] float32.

        Parameters
        ----------
        resized
            What `resize` returned.
        one
            Which channel goes into which slot; an empty slot is exactly zero.
        """
        if self.normalization.intensity == "joint":
            fed = [i for i, c in enumerate(self.channels) if c in one.slots.values()]
            # One by one: a list as an index would be copied to the device each time.
            used = [resized[:, i] for i in fed]
            low = torch.stack([one.amin((1, 2)) for one in used]).amin(0)[:, None, None, None]
            high = torch.stack([one.amax((1, 2)) for one in used]).amax(0)[:, None, None, None]
            resized = _between(resized, low, high)
        batch, _, height, width = resized.shape
        filled = resized.new_zeros((batch, len(one.slots), height, width))
        for slot, channel in enumerate(one.slots.values()):
            if channel is None:
                continue
            values = resized[:, self.channels.index(channel)]
            if self.normalization.kind == "mean-std":
                values = (values - self._mean[slot]) / self._std[slot]
            filled[:, slot] = values
        return filled

    def _limits(self, raw: Tensor) -> tuple[Limits, Limits]:
        """Return black and white, and the values to which pixels are clipped."""
        if self.normalization.intensity == "range":
            return self._range, self._clip
        low, high = percentiles(raw.to(torch.float32), self.normalization.percentiles)
        return (low, high), (low, high)


def _low_and_high(limits: npt.NDArray[np.float32], device: torch.device | str) -> Limits:
    of_channels = torch.as_tensor(limits, dtype=torch.float32, device=device)
    low, high = (of_channels[None, :, i, None, None] for i in (0, 1))
    return low, high


def _floats(raw: Tensor, *_: Tensor) -> Tensor:
    # Casting is all that torch does with uint16 on every device.
    return raw.to(torch.float32)


def _clipped(raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
    pixels = raw.to(torch.float32, copy=True)
    if low.numel() == 1 and low.device.type == "cpu":
        # Several times as fast as with tensors.
        return pixels.clamp_(float(low), float(high))
    return torch.minimum(torch.maximum(pixels, low), high)


def _levels(raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the levels of an 8-bit file."""
    return torch.round(WHITE * _between(_clipped(raw, low, high), low, high))


def percentiles(pixels: Tensor, percents: Sequence[float]) -> list[Tensor]:
    """Return percentiles of each tile and channel, interpolated as `numpy.percentile` does.

    Parameters
    ----------
    pixels
        [B, C, H, W] float32.
    percents
        0 to 100.

    Returns
    -------
    list of Tensor
        [B, C, 1, 1] each.
    """
    # Selection is linear in the pixels, and torch.quantile refuses more than 16 million values.
    flat = pixels.flatten(2)
    found = []
    for percent in percents:
        rank = percent / 100 * (flat.shape[-1] - 1)
        below = flat.kthvalue(math.floor(rank) + 1, dim=-1, keepdim=True).values
        above = flat.kthvalue(math.ceil(rank) + 1, dim=-1, keepdim=True).values
        found.append(torch.lerp(below, above, rank - math.floor(rank)).unsqueeze(-1))
    return found


def _between(pixels: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return pixels so that `low` is 0 and `high` is 1; zero where the two are equal."""
    span = high - low
    if span.device.type == "cpu" and bool((span > 0).all()):
        # The same, without two more passes over the pixels; a GPU would have to be waited for.
        return (pixels - low).div_(span.clamp_min(1e-12))
    return torch.where(span > 0, (pixels - low) / span.clamp_min(1e-12), 0.0)


def _per_input(values: Sequence[float], n_inputs: int, device: torch.device | str) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).expand(n_inputs)


def normalization_for(assignment: Assignment, normalization: Normalization) -> Normalization:
    """Return the normalisation with one mean and deviation per input of the network.

    Parameters
    ----------
    assignment
        With `adapt`, the values of the slots are repeated over the channels as the weights are.
        With `agnostic`, every channel gets their average, as no channel has a slot.
    normalization
        The backbone's, with one value, or one per slot.
    """
    n_values = {ADAPT: assignment.n_inputs, AGNOSTIC: 1}.get(assignment.strategy)
    if n_values is None:
        return normalization
    fitted = {key: adapted_values(getattr(normalization, key), n_values) for key in ("mean", "std")}
    return normalization.model_copy(update=fitted)

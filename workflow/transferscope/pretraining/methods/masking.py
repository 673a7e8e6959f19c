"""Random masks over patches, and the losses on what they hide."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Added to the variance of a patch before it divides, as He et al. have it.
TARGET_EPSILON = 1e-6


@dataclass(frozen=True)
class Mask:
    """Which patches an encoder sees.

    Parameters
    ----------
    kept
        Indices of the visible patches, int64 [B, K].
    hidden
        Whether each patch is hidden, bool [B, N].
    """

    kept: Tensor
    hidden: Tensor


def random_mask(
    batch: int, n_patches: int, ratio: float, generator: torch.Generator, device: torch.device
) -> Mask:
    """Draw a mask for each image, with the same number of visible patches in all.

    Parameters
    ----------
    batch, n_patches
        B and N.
    ratio
        Share of the patches that is hidden; int(N (1 - ratio)) are visible, at least one.
    generator
        On the processor: the same masks on every device.
    device
        Where the mask lies.
    """
    n_kept = max(1, int(n_patches * (1 - ratio)))
    order = torch.rand(batch, n_patches, generator=generator).argsort(dim=1)
    kept = order[:, :n_kept].to(device)
    hidden = torch.ones(batch, n_patches, dtype=torch.bool, device=device)
    return Mask(kept, hidden.scatter_(1, kept, False))


def normalized_patches(patches: Tensor) -> Tensor:
    """Return patches [..., V] less their mean, over their deviation (He et al., section 4.1)."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + TARGET_EPSILON).sqrt()


def pixel_loss(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean squared error over the hidden patches.

    Parameters
    ----------
    predicted, target
        Values of each patch, [B, N, V].
    hidden
        bool [B, N].
    """
    return _mean_of_hidden((predicted - target).square().mean(dim=-1), hidden)


def fourier_loss(predicted: Tensor, target: Tensor, hidden: Tensor, side: int) -> Tensor:
    """Return the mean absolute difference of the Fourier magnitudes of the hidden patches.

    It asks for the right texture, where the squared error is content with a blur (Kraus et al.,
    CVPR 2024, arXiv 2404.10242). The transform is not normalised, as there.

    Parameters
    ----------
    predicted, target
        Values of each patch, [B, N, V]; V = side x side x channels, channels innermost.
    hidden
        bool [B, N].
    side
        Of a patch, in px.
    """
    difference = _magnitudes(predicted, side) - _magnitudes(target, side)
    return _mean_of_hidden(difference.abs().mean(dim=(2, 3, 4)), hidden)


def masked_losses(
    predicted: Tensor,
    target: Tensor,
    hidden: Tensor,
    side: int,
    *,
    normalize_targets: bool,
    fourier_weight: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return (1 - w) pixel loss + w Fourier loss, and both parts.

    Parameters
    ----------
    predicted, target, hidden, side
        As in `fourier_loss`.
    normalize_targets
        Whether `normalized_patches` of the target are to be predicted.
    fourier_weight
        w; 0: the Fourier loss is not computed.
    """
    wanted = normalized_patches(target) if normalize_targets else target
    # Spectra have no reduced precision, and squares of small errors would be rounded.
    predicted, wanted = predicted.float(), wanted.float()
    pixels = pixel_loss(predicted, wanted, hidden)
    parts = {"pixels": pixels.detach()}
    if not fourier_weight:
        return pixels, parts
    spectra = fourier_loss(predicted, wanted, hidden, side)
    parts["fourier"] = spectra.detach()
    return (1 - fourier_weight) * pixels + fourier_weight * spectra, parts


def _magnitudes(patches: Tensor, side: int) -> Tensor:
    images = patches.reshape(*patches.shape[:2], side, side, -1)
    magnitudes: Tensor = torch.fft.fft2(images, dim=(2, 3)).abs()
    return magnitudes


def _mean_of_hidden(values: Tensor, hidden: Tensor) -> Tensor:
    return (values * hidden).sum() / hidden.sum()

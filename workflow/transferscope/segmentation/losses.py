"""Losses of predicted masks, of many decoders at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from transferscope.config.segmentation import LossName

# Pixels that both masks have in common at least, so that a batch without foreground has a loss.
SMOOTH = 1.0


def mask_losses(logits: Tensor, shares: Tensor, known: Tensor, name: LossName) -> Tensor:
    """Return the loss of a batch of each decoder, [M].

    Parameters
    ----------
    logits
        [B, M, K, h, w]: of one class one logit, of several K = 1 + classes, background first.
    shares
        Share of each pixel that each class of the foreground takes, [B, M, classes, h, w].
    known
        Share of each pixel of which the truth is known, [B, M, h, w]; the rest counts nothing.
    name
        Which loss.
    """
    logits = logits.float()
    if logits.shape[2] == 1:
        likely = logits.sigmoid()
        entropy = functional.binary_cross_entropy_with_logits(logits, shares, reduction="none")
        entropy = entropy[:, :, 0]
    else:
        logs = logits.log_softmax(dim=2)
        likely = logs[:, :, 1:].exp()
        background = (1 - shares.sum(dim=2, keepdim=True)).clamp(min=0)
        entropy = -(torch.cat([background, shares], dim=2) * logs).sum(dim=2)
    losses, parts = torch.zeros(logits.shape[1], device=logits.device), name.split("+")
    if "ce" in parts:
        total = known.sum(dim=(0, 2, 3)).clamp(min=1)
        losses = losses + (entropy * known).sum(dim=(0, 2, 3)) / total
    if "dice" in parts:
        losses = losses + 1 - _soft_dice(likely, shares, known)
    return losses


def _soft_dice(likely: Tensor, shares: Tensor, known: Tensor) -> Tensor:
    """Return the Dice coefficient of probabilities over the batch, mean over classes, [M]."""
    weights, axes = known[:, :, None], (0, 3, 4)
    overlap = (likely * shares * weights).sum(dim=axes)
    total = ((likely + shares) * weights).sum(dim=axes)
    return ((2 * overlap + SMOOTH) / (total + SMOOTH)).mean(dim=1)

"""Losses of predicted masks, of many decoders at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from transferscope.config.segmentation import LossName

# Pixels that both masks have in common at least, so that a batch without foreground has a loss.
SMOOTH = 1.0


def learned_losses(
    logits: Tensor, learned: Sequence[Tensor], name: LossName, *, of_tiles: bool = False
) -> Tensor:
    """Return the losses of a batch of each decoder, [M], or of each tile, [B, M].

    Parameters
    ----------
    logits
        [B, M, K, h, w], at the size of what is learned.
    learned
        Of `TrueMasks.learned`.
    name
        Loss of the foreground or of the classes; that of object maps is cross-entropy.
    of_tiles
        Whether each tile counts as if it were a batch of its own.
    """
    if of_tiles:
        alone = [part.flatten(0, 1)[None] for part in (logits, *learned)]
        return learned_losses(alone[0], alone[1:], name).view(logits.shape[:2])
    shares, known, *objects = learned
    if not objects:
        return mask_losses(logits, shares, known, name)
    foreground = mask_losses(logits[:, :, :1], shares, known, name)
    return foreground + _map_losses(logits[:, :, 1:], *objects)


def _map_losses(logits: Tensor, maps: Tensor, known: Tensor) -> Tensor:
    """Return the cross-entropy of object maps, mean over maps and known pixels, [M].

    Parameters
    ----------
    logits, maps
        Logits and true maps, [B, M, 2, h, w].
    known
        Share of each pixel that counts, [B, M, h, w].
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, maps, reduction="none")
    total = known.sum(dim=(0, 2, 3)).clamp(min=1)
    return (entropy.mean(dim=2) * known).sum(dim=(0, 2, 3)) / total


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

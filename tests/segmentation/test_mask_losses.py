"""Losses of masks against torch's, and what they leave out."""

import pytest
import torch
from torch.nn import functional

from transferscope.segmentation.losses import mask_losses

GENERATOR = torch.Generator().manual_seed(0)


def batch(n_classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n_out = 1 if n_classes == 1 else n_classes + 1
    logits = torch.randn(3, 2, n_out, 4, 4, generator=GENERATOR)
    classes = torch.randint(0, n_classes + 1, (3, 2, 4, 4), generator=GENERATOR)
    shares = torch.stack([classes == n for n in range(1, n_classes + 1)], dim=2).float()
    return logits, shares, torch.ones(3, 2, 4, 4)


def test_of_one_class_cross_entropy_is_binary():
    logits, shares, known = batch(1)
    wanted = functional.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    found = mask_losses(logits, shares, known, "ce")
    torch.testing.assert_close(found, wanted.mean(dim=(0, 2, 3, 4)))


def test_of_several_classes_it_is_that_of_torch():
    logits, shares, known = batch(3)
    classes = (shares * torch.tensor([1, 2, 3])[:, None, None]).sum(dim=2).long()
    found = mask_losses(logits, shares, known, "ce")
    for number in range(2):
        wanted = functional.cross_entropy(logits[:, number], classes[:, number])
        torch.testing.assert_close(found[number], wanted)


@pytest.mark.parametrize("n_classes", [1, 3])
def test_right_and_sure_masks_have_a_dice_loss_near_zero(n_classes):
    _, shares, known = batch(n_classes)
    sure = 40 * (shares - 0.5)
    if n_classes > 1:
        sure = torch.cat([-sure.amax(dim=2, keepdim=True), sure], dim=2)
    assert mask_losses(sure, shares, known, "dice").abs().max() < 1e-4
    assert mask_losses(-sure, shares, known, "dice").min() > 0.5


@pytest.mark.parametrize("n_classes", [1, 2])
@pytest.mark.parametrize("loss", ["dice+ce", "ce", "dice"])
def test_unknown_pixels_count_nothing(n_classes, loss):
    logits, shares, known = batch(n_classes)
    known[..., :2, :] = 0
    before = mask_losses(logits, shares, known, loss)
    shares[..., :2, :] = 1 - shares[..., :2, :]
    logits[..., :2, :] += 5
    torch.testing.assert_close(mask_losses(logits, shares, known, loss), before)


def test_the_sum_is_the_sum():
    logits, shares, known = batch(2)
    one, other, both = (mask_losses(logits, shares, known, n) for n in ("ce", "dice", "dice+ce"))
    torch.testing.assert_close(one + other, both)

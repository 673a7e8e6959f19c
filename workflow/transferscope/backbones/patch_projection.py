"""Patch embeddings as matrix products.

A convolution whose kernel equals its stride cuts the image into patches and multiplies each by
one matrix. oneDNN computes some of these convolutions wrongly in bf16 and fp16, without a warning
(4 channels at patch 16, for one); the matrix product is right everywhere, and as fast.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class PatchProjection(nn.Module):
    """A convolution with kernel = stride, computed as reshape and matrix product.

    Parameters
    ----------
    convolution
        The convolution whose weights are taken over, under the same names.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.bias = convolution.bias
        self.kernel_size = convolution.kernel_size
        self.stride = convolution.stride

    def forward(self, images: Tensor) -> Tensor:
        """Return [B, D, H / p, W / p] for images [B, C, H, W]; a remainder is cut off."""
        batch, channels, height, width = images.shape
        p, q = self.kernel_size
        rows, columns = height // p, width // q
        images = images[:, :, : rows * p, : columns * q].to(self.weight.dtype)
        patches = images.reshape(batch, channels, rows, p, columns, q).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(batch, rows, columns, channels * p * q)
        projected = functional.linear(patches, self.weight.flatten(1), self.bias)
        return projected.permute(0, 3, 1, 2)


def replace_patch_convolutions(model: nn.Module) -> int:
    """Replace every convolution with kernel = stride > 1 in place; return their number."""
    replaced = 0
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d) and _is_patch_projection(child):
            setattr(model, name, PatchProjection(child))
            replaced += 1
        else:
            replaced += replace_patch_convolutions(child)
    return replaced


def _is_patch_projection(convolution: nn.Conv2d) -> bool:
    # A subclass may standardise its weights or pad, so that only the plain class is known.
    return (
        type(convolution) is nn.Conv2d
        and tuple(convolution.kernel_size) == tuple(convolution.stride)
        and max(convolution.kernel_size) > 1
        and convolution.padding in ((0, 0), 0, "valid")
        and tuple(convolution.dilation) == (1, 1)
        and convolution.groups == 1
    )

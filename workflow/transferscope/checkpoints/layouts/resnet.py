"""What the weights of a residual network say about its size."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from transferscope.checkpoints.layouts.base import Network

ANCHOR = "layer1.0.conv1.weight"
# Blocks per stage, and whether a block has three convolutions, of He et al., CVPR 2016.
SIZES: dict[tuple[tuple[int, ...], bool], str] = {
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}


def is_resnet(tensors: Mapping[str, Tensor]) -> bool:
    """Tell whether the weights are a plain residual network's, as torchvision and timm name it."""
    return {ANCHOR, "conv1.weight", "bn1.running_mean", "layer4.0.conv1.weight"} <= set(tensors)


def resnet(tensors: Mapping[str, Tensor]) -> Network:
    """Return timm's network for the weights of a residual network."""
    blocks = {tuple(name.split(".")[:2]) for name in tensors if name.startswith("layer")}
    stages = tuple(sum(stage == f"layer{i}" for stage, _ in blocks) for i in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in tensors
    architecture = SIZES.get((stages, bottleneck))
    return Network(
        architecture=architecture or ("resnet50" if bottleneck else "resnet18"),
        arguments={} if architecture else {"layers": list(stages)},
        channels=tensors["conv1.weight"].shape[1],
        embed_dim=tensors[f"layer4.0.conv{3 if bottleneck else 2}.weight"].shape[0],
        depth=sum(stages),
    )

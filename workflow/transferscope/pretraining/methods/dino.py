"""Self-distillation without labels: DINO (Caron et al., ICCV 2021, arXiv 2104.14294).

A student learns to predict, from any crop of an image, what a teacher says of its large crops. The
teacher is the moving average of the student, and its outputs are centred and sharpened, so that
neither one output nor all alike is a solution.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import update_momentum
from torch import Tensor, nn

from transferscope.backbones.networks import patch_size
from transferscope.cards import TrainCard
from transferscope.cards.methods import DinoSettings
from transferscope.pretraining.methods.base import Batch, Losses, Method, Parts
from transferscope.pretraining.methods.networks import takes_many_sizes

GLOBAL_CROPS = 2
# Local crops of 96 px go with global ones of 224 px.
LOCAL_SHARE = 3 / 7


@dataclass(frozen=True)
class Crops:
    """The views of a batch.

    Parameters
    ----------
    sizes
        Global crops [2 B, slots, S, S], then local ones [n B, slots, s, s], if there are any.
    dataset
        Which dataset they are from.
    """

    sizes: list[Tensor]
    dataset: int


class Dino(Method):
    """Student and teacher.

    Each dataset has a centre of its own: one for all would be that of the dataset before, so that
    the teacher would tell datasets apart in place of images.
    """

    needs = (
        "a network for images of any size: a plain vision transformer or a convolutional network"
    )

    def __init__(self, settings: DinoSettings, parts: Parts) -> None:
        super().__init__(settings, parts)
        self.student = _with_head(parts.build(), settings)
        self.teacher = _with_head(parts.build(), settings)
        patch = patch_size(self.student[0]) or 1
        usual = max(1, round(self.input_size * LOCAL_SHARE / patch)) * patch
        self.local_size = settings.local_size or usual
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        # Each holds a centre, reduces it over processes, and averages over all pairs of crops.
        self.criteria = nn.ModuleList(
            DINOLoss(
                output_dim=settings.output_width,
                student_temp=settings.student_temperature,
                center_momentum=settings.center_momentum,
            )
            for _ in range(parts.n_datasets)
        )
        self._progress = 0.0
        self._watched: dict[str, Tensor] = {}
        last: Any = self.student[1]
        last.last_layer.weight_v.register_hook(self._unless_frozen)

    @classmethod
    def fits(cls, card: TrainCard, network: nn.Module) -> bool:
        """Return whether the network takes images of any size."""
        return takes_many_sizes(card, network)

    @property
    def encoder(self) -> nn.Module:
        """The teacher, which is better than the student throughout."""
        network: nn.Module = self.teacher[0]
        return network

    def trained(self) -> list[nn.Module]:
        """Return the student: the teacher only follows."""
        return [self.student]

    def views(self, batch: Batch, generator: torch.Generator) -> Crops:
        """Return two global and some local crops of each image."""
        kinds = [
            (GLOBAL_CROPS, self.input_size, self.settings.global_scale),
            (self.settings.local_crops, self.local_size, self.settings.local_scale),
        ]
        found = []
        for count, size, scale in kinds:
            augment = self.augmentation(size, scale, batch.channels)
            crops = [augment(batch.images, generator) for _ in range(count)]
            if crops:
                found.append(self.inputs(torch.cat(crops), batch.channels))
        return Crops(found, batch.dataset)

    def loss(self, views: Crops, progress: float, generator: torch.Generator) -> Losses:
        """Return the cross-entropy of the student's to the teacher's outputs."""
        self._progress = progress
        criterion: Any = self.criteria[views.dataset]
        global_crops = views.sizes[0]
        size = len(global_crops) // GLOBAL_CROPS
        with torch.no_grad():
            taught = self.teacher(global_crops).float()
        learned = torch.cat([self.student(crops).float() for crops in views.sizes])
        temperature = teacher_temperature(self.settings, progress)
        # A sum over many outputs, which reduced precision would round.
        with torch.autocast(taught.device.type, enabled=False):
            certain = ((taught - criterion.center[0]) / temperature).softmax(dim=-1)
            # Moves the centre, too.
            loss: Tensor = criterion(
                list(torch.split(taught, size)), list(torch.split(learned, size)), temperature
            )
        self._watched = entropies(certain)
        return loss, {"dino": loss.detach(), **self._watched}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student."""
        momentum = teacher_momentum(self.settings.teacher_momentum, progress)
        update_momentum(self.student, self.teacher, momentum)

    def watch(self) -> dict[str, float]:
        """Return `entropies` of the last batch."""
        return {name: float(value) for name, value in self._watched.items()}

    def _unless_frozen(self, gradient: Tensor) -> Tensor:
        frozen = self._progress < self.settings.freeze_last_layer
        return torch.zeros_like(gradient) if frozen else gradient


def teacher_momentum(start: float, progress: float) -> float:
    """Return the weight of the old teacher: from `start` to 1 along a cosine."""
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2


def teacher_temperature(settings: DinoSettings, progress: float) -> float:
    """Return what divides the teacher's outputs: linear from its first value, then constant."""
    first, last = settings.warmup_teacher_temperature, settings.teacher_temperature
    if progress >= settings.warmup:
        return last
    return first + (last - first) * progress / settings.warmup


def entropies(probabilities: Tensor) -> dict[str, Tensor]:
    """Return how far the teacher is from collapse, each as a share of the largest entropy.

    Parameters
    ----------
    probabilities
        The teacher's outputs after the softmax, [N, K].

    Returns
    -------
    dict of str to Tensor
        ``teacher_entropy``, the mean entropy of an output: 1 where all are uniform.
        ``teacher_diversity``, the entropy of the mean output: 0 where one output wins for all.
        ``teacher_information``, the second less the first, which is what an output tells of its
        image: near 0 in every collapse.
    """
    largest = math.log(probabilities.shape[-1])
    entropy = torch.special.entr(probabilities).sum(dim=-1).mean() / largest
    diversity = torch.special.entr(probabilities.mean(dim=0)).sum() / largest
    return {
        "teacher_entropy": entropy,
        "teacher_diversity": diversity,
        "teacher_information": diversity - entropy,
    }


def _with_head(encoder: Any, settings: DinoSettings) -> nn.Sequential:
    with warnings.catch_warnings():
        # torch has another way to normalise weights, which lightly does not use yet.
        warnings.simplefilter("ignore", FutureWarning)
        head = DINOProjectionHead(
            input_dim=int(encoder.num_features),
            hidden_dim=settings.hidden_width,
            bottleneck_dim=settings.bottleneck_width,
            output_dim=settings.output_width,
        )
    return nn.Sequential(encoder, head)

"""What is monitored while a backbone is trained: nearest neighbours, and signs of collapse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from transferscope.backbones.readout import Backbone
from transferscope.cards import TrainCard
from transferscope.pretraining.data import TrainingDataset
from transferscope.pretraining.methods.inputs import NetworkInputs
from transferscope.runtime.devices import moved
from transferscope.runtime.seeds import derive_rng
from transferscope.training.loop import StopTraining
from transferscope.training.tiles import scaled

NEIGHBOURS = 10
BATCH = 32
# Embeddings whose directions differ by less than this are all alike: random weights differ more.
LEAST_SPREAD = 1e-3
# Shares of the largest entropy. One output is uniform, or the mean of all is a single one.
LARGEST_ENTROPY = 0.9999
LEAST_DIVERSITY = 1e-3
# Diversity less entropy: what an output tells of its image. It starts at about 0.01.
LEAST_INFORMATION = 1e-3
# Measurements in a row that have to look like a collapse: some begin with one, and recover.
PATIENCE = 3


class KnnMonitor:
    """Some training tiles, which are classified by their neighbours as the training goes on.

    The training sees no label of them; the curve only shows whether it learns anything of use.

    Parameters
    ----------
    card
        The backbone's.
    inputs
        Normalises images and fills the slots.
    datasets
        What it is trained on.
    n_tiles
        Tiles that are taken of all datasets together, labelled ones where there are any.
    fabric
        Device and number format.
    """

    def __init__(
        self,
        card: TrainCard,
        inputs: NetworkInputs,
        datasets: Sequence[TrainingDataset],
        n_tiles: int,
        fabric: Fabric,
    ) -> None:
        self.card, self.inputs, self.fabric = card, inputs, fabric
        share = n_tiles // len(datasets)
        self._parts = [(each, _chosen(each, share, card.seed)) for each in datasets]

    def __call__(self, encoder: nn.Module) -> dict[str, float]:
        """Return `embedding_spread`, and `knn_accuracy` where there are labels."""
        spreads, right = [], []
        for dataset, rows in self._parts:
            found = functional.normalize(self.embed(encoder, dataset, rows), dim=1)
            spreads.append(spread(found))
            right += _votes(found, dataset.labels[rows], dataset.groups[rows])
        measured = {"embedding_spread": float(np.mean(spreads))}
        return {**measured, "knn_accuracy": float(np.mean(right))} if right else measured

    @torch.inference_mode()
    def embed(self, encoder: nn.Module, dataset: TrainingDataset, rows: np.ndarray) -> Tensor:
        """Return embeddings [n, D] of some tiles: what the first output of the card reads."""
        backbone = Backbone(encoder, self.card.outputs[:1])
        training = encoder.training
        encoder.eval()
        size = (self.card.input_size, self.card.input_size)
        found = []
        for first in range(0, len(rows), BATCH):
            raw = moved(dataset.tiles.batch(rows[first : first + BATCH]), self.fabric.device)
            images = scaled(raw, dataset.tiles.intensity_range)
            images = functional.interpolate(images, size, mode="bicubic", antialias=True)
            channels = tuple(dataset.tiles.channels)
            with self.fabric.autocast():
                found.append(backbone(self.inputs(images.clamp(0, 1), channels))[0])
        encoder.train(training)
        return torch.cat(found)


class CollapseAlarm(nn.Module):
    """Stops a training whose network has come to say the same of every image.

    It counts measurements in a row, and is part of a checkpoint.
    """

    suspicious: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("suspicious", torch.zeros((), dtype=torch.int64))

    def check(self, measured: Mapping[str, float]) -> None:
        """Look at what was measured after an epoch.

        Raises
        ------
        StopTraining
            Where several in a row look like a collapse.
        """
        reasons = collapse_signs(measured)
        self.suspicious = self.suspicious + 1 if reasons else torch.zeros_like(self.suspicious)
        if self.suspicious >= PATIENCE:
            raise StopTraining(
                f"collapse: {'; '.join(reasons)}, in {PATIENCE} measurements in a row"
            )


def collapse_signs(measured: Mapping[str, float]) -> list[str]:
    """Return what looks like a collapse in the measures of an epoch."""
    spread = measured.get("embedding_spread", 1.0)
    entropy = measured.get("teacher_entropy", 0.0)
    diversity = measured.get("teacher_diversity", 1.0)
    information = measured.get("teacher_information", 1.0)
    signs = {
        f"embeddings of different tiles are alike (spread {spread:.1e})": spread < LEAST_SPREAD,
        f"the teacher's outputs are uniform (entropy {entropy:.4f})": entropy > LARGEST_ENTROPY,
        f"the teacher says the same of every tile (diversity {diversity:.1e})": (
            diversity < LEAST_DIVERSITY
        ),
        f"the teacher tells no tile from another (information {information:.1e})": (
            information < LEAST_INFORMATION
        ),
    }
    return [text for text, present in signs.items() if present]


def spread(directions: Tensor) -> float:
    """Return the standard deviation of embeddings of length 1 around their mean.

    Parameters
    ----------
    directions
        [n, D], each of length 1.

    Returns
    -------
    float
        0 where all are alike, 1 where they point everywhere.
    """
    return float((directions - directions.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def _chosen(dataset: TrainingDataset, n_tiles: int, seed: int) -> np.ndarray:
    labelled = np.flatnonzero(dataset.labels != "")
    pool = labelled if len(labelled) else np.arange(len(dataset.tiles))
    order = derive_rng(seed, "k-NN probe", dataset.name).permutation(len(pool))
    return np.sort(pool[order[:n_tiles]])


def _votes(directions: Tensor, labels: np.ndarray, groups: np.ndarray) -> list[bool]:
    """Return of each labelled tile whether its neighbours' most frequent label is one of its own.

    Tiles of its own group are no neighbours of a tile: they look alike, and share its labels.
    """
    if not (labels != "").all() or len(set(groups)) < 2:
        return []
    similar = directions @ directions.T
    number = np.unique(groups, return_inverse=True)[1]
    same = torch.from_numpy(number[:, None] == number).to(similar.device)
    count = min(NEIGHBOURS, int((~same).sum(dim=1).min()))
    nearest = similar.masked_fill(same, -torch.inf).topk(count, dim=1).indices.cpu().numpy()
    sets = [frozenset(text.split(";")) for text in labels]
    names = sorted(set().union(*sets))
    matrix = np.array([[name in own for name in names] for own in sets])
    voted = matrix[nearest].sum(axis=1).argmax(axis=1)
    return [bool(right) for right in matrix[np.arange(len(matrix)), voted]]

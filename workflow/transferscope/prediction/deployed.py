"""A head with all that it needs to label new tiles, and its file: numbers and text, never code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch

from transferscope.errors import user_error
from transferscope.prediction.calibrate import Calibration
from transferscope.prediction.strangers import Strangers
from transferscope.probes.head_batch import HeadBatch, HeadProblem, Scalers
from transferscope.runtime.arrays import Bools, Floats, Floats32
from transferscope.runtime.atomic_files import replacing

FORMAT = "transferscope.head"
VERSION = 1
ABOUT = "transferscope"
# What of a store's metadata has to be the same where the head is used.
ORIGIN = ("backbone", "strategy", "weights_sha256", "card_fingerprint", "slots")


@dataclass(frozen=True)
class Labels:
    """What a head says of tiles.

    Parameters
    ----------
    predicted, probabilities
        [N, C].
    distances
        Of `Strangers.distances`, [N]; above 1, a tile is unlike all labelled ones.
    """

    predicted: Bools
    probabilities: Floats
    distances: Floats


@dataclass(frozen=True)
class DeployedHead:
    """A head that labels tiles by their embeddings.

    Parameters
    ----------
    head
        The head, a batch of one.
    classes
        Names of the C classes.
    calibration, strangers
        What turns scores into probabilities, and tells tiles that are unlike the labelled ones.
    thresholds
        Least probability of each class, float64 [C]; single-label tasks have none that count.
    about
        Where it comes from: dataset, representation, channels, kind, and `ORIGIN` of the store.
    """

    head: HeadBatch
    classes: list[str]
    calibration: Calibration
    strangers: Strangers
    thresholds: Floats
    about: Mapping[str, Any]

    @property
    def width(self) -> int:
        """Number of features D of an embedding."""
        return int(self.head.scalers.mean.shape[1])

    def label(self, embeddings: Floats32) -> Labels:
        """Return what the head says of embeddings [N, D]."""
        probabilities = self.calibration.probabilities(scores_of(self.head, embeddings, self))
        distances = self.strangers.distances(standardised(self.head, embeddings))
        return Labels(self.decide(probabilities), probabilities, distances)

    def decide(self, probabilities: Floats) -> Bools:
        """Return the classes of probabilities [N, C]: the likeliest, or all above thresholds."""
        if self.calibration.is_multi_label:
            return np.asarray(probabilities >= self.thresholds)
        likeliest = probabilities.argmax(axis=1)[:, None]
        return np.asarray(likeliest == np.arange(len(self.classes)))

    def write(self, path: Path) -> None:
        """Write the head as a safetensors file, whose metadata are JSON."""
        tensors = {
            "mean": self.head.scalers.mean.numpy(),
            "deviation": self.head.scalers.deviation.numpy(),
            "slopes": self.calibration.slopes,
            "offsets": self.calibration.offsets,
            "thresholds": self.thresholds,
            "kept": self.strangers.kept.astype(np.float16),
        }
        for layer, (weight, bias) in enumerate(
            zip(self.head.weights, self.head.biases, strict=True)
        ):
            tensors |= {f"weight_{layer}": weight.numpy(), f"bias_{layer}": bias.numpy()}
        about = {
            "format": FORMAT,
            "version": VERSION,
            "classes": self.classes,
            "is_multi_label": self.calibration.is_multi_label,
            "limit": self.strangers.limit,
            "layers": len(self.head.weights),
            **self.about,
        }
        plain = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        with replacing(path) as temporary:
            temporary.write_bytes(safetensors.numpy.save(plain, {ABOUT: json.dumps(about)}))

    @classmethod
    def read(cls, path: Path) -> DeployedHead:
        """Read a head.

        Raises
        ------
        UserError
            If the file is no head, or one of a later version.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                about = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            fix = "Give a file that `transferscope predict --save-head` wrote."
            raise user_error(path, f"is no head: {error}", fix) from None
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            fix = "Give a file that `transferscope predict --save-head` wrote."
            raise user_error(path, "is no head, but other weights", fix)
        if about["version"] != VERSION:
            fix = "Update transferscope, or write the head again."
            raise user_error(path, f"has the version {about['version']} of a head", fix)
        plain = {key: torch.from_numpy(value) for key, value in tensors.items()}
        layers = range(about["layers"])
        head = HeadBatch(
            Scalers(plain["mean"], plain["deviation"]),
            [plain[f"weight_{layer}"] for layer in layers],
            [plain[f"bias_{layer}"] for layer in layers],
        )
        own = ("format", "version", "classes", "is_multi_label", "limit", "layers")
        return cls(
            head,
            about["classes"],
            Calibration(tensors["slopes"], tensors["offsets"], about["is_multi_label"]),
            Strangers(tensors["kept"].astype(np.float32), about["limit"]),
            tensors["thresholds"],
            {key: value for key, value in about.items() if key not in own},
        )


def scores_of(head: HeadBatch, embeddings: Floats32, deployed: DeployedHead) -> Floats32:
    """Return the scores of a head on embeddings [N, D], [N, C], as a probe computes them."""
    inputs = torch.from_numpy(np.ascontiguousarray(embeddings, dtype=np.float32))
    targets = torch.zeros(len(inputs), len(deployed.classes))
    problem = HeadProblem(inputs, targets, deployed.calibration.is_multi_label)
    return head.scores(0, torch.arange(len(inputs)), problem)


def standardised(head: HeadBatch, embeddings: Floats32) -> Floats32:
    """Return embeddings as the first layer of a head gets them, [N, D]."""
    mean, deviation = head.scalers.mean.numpy(), head.scalers.deviation.numpy()
    return np.asarray((embeddings - mean) / deviation, dtype=np.float32)

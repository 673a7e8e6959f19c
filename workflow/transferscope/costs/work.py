"""How long the heads of one store train."""

from __future__ import annotations

import math
from itertools import pairwise

from transferscope.config.study import StudyConfig

# Logistic regression: seconds a head, training row, feature and class, measured on one core.
LOGREG_SECONDS = 2e-8
# Forward and backward products of one training step.
PASSES_A_STEP = 3


def head_seconds(
    config: StudyConfig, n_tiles: int, width: int, n_classes: int, rate: float
) -> float:
    """Return the seconds of one head job; every fraction trains on its share of the tiles.

    Parameters
    ----------
    config
        The study: divisions, fractions and heads.
    n_tiles, width, n_classes
        Rows and features of the store, and classes.
    rate
        Floating-point operations a second that training reaches on one core.
    """
    splits, settings = config.splits, config.heads
    n_divisions = len(splits.seeds) * sum(splits.folds[scheme] for scheme in splits.schemes)
    rows = n_tiles * (1 - splits.validation) * sum(splits.fractions) * n_divisions
    sizes = [width, *settings.hidden, n_classes]
    layers = {
        "linear": width * n_classes,
        "mlp": sum(math.prod(pair) for pair in pairwise(sizes)),
    }
    seconds = 0.0
    for kind in settings.kinds:
        if kind == "logreg":
            seconds += LOGREG_SECONDS * rows * width * n_classes
        else:
            seconds += PASSES_A_STEP * 2 * layers[kind] * rows * settings.epochs / rate
    return seconds

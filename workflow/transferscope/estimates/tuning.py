"""How much a fine-tuning computes."""

from __future__ import annotations

from transferscope.config import StudyConfig
from transferscope.estimates.heads import PASSES_A_STEP
from transferscope.finetuning.modes import HEAD

# Rate of the products of a training, in relation to those of an embedding job.
TRAINING_SHARE = 0.5


def tile_passes(config: StudyConfig, mode: str) -> float:
    """Return how many times as long as an embedding of its dataset a fine-tuning takes at most.

    An embedding job shows each tile once; a training shows its share of the tiles in each epoch,
    at three times the products, those of validation in each epoch, too, and tests once.

    Parameters
    ----------
    config
        The study's.
    mode
        What is trained.
    """
    splits, settings = config.splits, config.finetune
    total = 0.0
    for scheme in settings.schemes or splits.schemes:
        for fraction in settings.fractions or splits.fractions:
            folds = splits.folds[scheme]
            known = fraction * (1 - 1 / folds)
            trained = PASSES_A_STEP * (1 - splits.validation) + splits.validation
            epochs = 0 if mode == HEAD else settings.epochs / TRAINING_SHARE
            once = splits.validation * known + 1 / folds
            total += len(splits.seeds) * folds * (epochs * trained * known + once)
    return total

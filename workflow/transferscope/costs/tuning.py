"""How much of a dataset a fine-tuning sees."""

from __future__ import annotations

from transferscope.config.modes import HEAD
from transferscope.config.study import StudyConfig
from transferscope.probes.registry import PASSES_PER_STEP

# Rate of the products of a training, in relation to those of an embedding job.
TRAINING_SHARE = 0.5


def tuning_passes(config: StudyConfig, mode: str) -> float:
    """Return how many embeddings of a whole dataset one mode takes as long as, at the most.

    An embedding shows each tile once. A training shows its share of the tiles in each epoch, at
    three times the products, those of validation in each epoch, too, and tests once; it may stop
    early, which is not counted on.

    Parameters
    ----------
    config
        The study: divisions, fractions and epochs.
    mode
        `full`, `last-<n>`, `lora` or `head`; the second and third are taken for the first.
    """
    splits, settings = config.splits, config.finetune
    epochs = 0.0 if mode == HEAD else settings.epochs / TRAINING_SHARE
    trained = PASSES_PER_STEP * (1 - splits.validation) + splits.validation
    total = 0.0
    for scheme in settings.schemes or splits.schemes:
        folds = splits.folds[scheme]
        for fraction in settings.fractions or splits.fractions:
            known = fraction * (1 - 1 / folds)
            once = splits.validation * known + 1 / folds
            total += len(splits.seeds) * folds * (epochs * trained * known + once)
    return total

"""The cost of fine-tuning, in passes over a dataset."""

from __future__ import annotations

from transferscope.config.modes import HEAD
from transferscope.config.study import StudyConfig
from transferscope.probes.registry import PASSES_PER_STEP

# Rate of matrix products in training, relative to an embedding job.
TRAINING_SHARE = 0.5


def tuning_passes(config: StudyConfig, mode: str) -> float:
    """Return the time of one mode, relative to one embedding of the whole dataset, at most.

    An embedding passes each tile once. A training passes its tiles in each epoch, at three times
    the operations, the validation tiles in each epoch, and the test tiles once. Early stopping is
    ignored.

    Parameters
    ----------
    config
        The study: divisions, fractions and epochs.
    mode
        `full`, `last-<n>`, `lora` or `head`; the second and third are costed as the first.
    """
    splits, settings = config.splits, config.finetune
    epochs = 0.0 if mode == HEAD else settings.epochs / TRAINING_SHARE
    trained = PASSES_PER_STEP * (1 - splits.validation) + splits.validation
    total = 0.0
    for scheme in settings.schemes or splits.schemes:
        folds = splits.most_folds(scheme)
        for fraction in settings.fractions or splits.fractions:
            known = fraction * (1 - 1 / folds)
            once = splits.validation * known + 1 / folds
            total += len(splits.seeds) * folds * (epochs * trained * known + once)
    return total

"""Values that change over a training, as pure functions of the step."""

from __future__ import annotations

from lightly.utils.scheduler import cosine_schedule, cosine_warmup_schedule

from transferscope.config.training import OptimiserSettings


def learning_rate(settings: OptimiserSettings, step: int, n_steps: int) -> float:
    """Return the learning rate of a step, counted from 0: a linear warm-up, then a cosine."""
    rate: float = cosine_warmup_schedule(
        step,
        max_steps=n_steps,
        start_value=settings.learning_rate,
        end_value=settings.final_learning_rate,
        warmup_steps=round(settings.warmup * n_steps),
        warmup_start_value=0.0,
    )
    return rate


def weight_decay(settings: OptimiserSettings, step: int, n_steps: int) -> float:
    """Return the weight decay of a step, counted from 0: a cosine from its start to its end."""
    if settings.final_weight_decay is None:
        return settings.weight_decay
    decay: float = cosine_schedule(
        step, n_steps, settings.weight_decay, settings.final_weight_decay
    )
    return decay

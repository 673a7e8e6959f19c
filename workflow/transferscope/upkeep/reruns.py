"""What of a study will run again because its config or the program has changed, and why."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from transferscope.config.study import StudyConfig
from transferscope.costs.jobs import jobs_of_whole_study
from transferscope.stores.manifest import FORMAT_VERSION
from transferscope.study.plan import Plan
from transferscope.study.protocols import PROTOCOLS
from transferscope.upkeep.ran import Ran, changed_keys

# Step -> the steps that read what it writes.
READ_BY: dict[str, tuple[str, ...]] = {
    "simulate": ("tiles", "cells"),
    "fetch": ("tiles", "cells"),
    "tiles": ("relabel", "contact_sheets", "splits", "pretrain", "embed"),
    "cells": ("relabel", "contact_sheets", "splits", "pretrain", "embed"),
    "published": ("relabel", "contact_sheets", "splits", "pretrain", "embed"),
    "relabel": ("contact_sheets", "splits", "figures"),
    "splits": ("heads", "knn", "finetune", "aggregate"),
    "pretrain": ("embed",),
    "embed": ("heads", "knn", "finetune", "aggregate", "figures"),
    "heads": ("compare",),
    "knn": ("compare",),
    "finetune": ("compare",),
    "aggregate": ("aggregation",),
    "compare": ("figures",),
}
# Keys that choose cards: what is new is made, and nothing that is there is made again.
CHOICES = ("datasets", "training_datasets", "backbones")


@dataclass(frozen=True)
class Change:
    """Something that is not as it was when the study ran last.

    Parameters
    ----------
    what
        Key of the config, or what has another version.
    before, now
        Its value then and now.
    steps
        The steps of this study that run again because of it, in the order of the data.
    """

    what: str
    before: Any
    now: Any
    steps: list[str]


def changes(plan: Plan, ran: Ran) -> list[Change]:
    """Return what has changed since a study ran last, and what runs again because of it.

    Parameters
    ----------
    plan
        The study as it is asked for now.
    ran
        What its last run used.
    """
    return [*_changed_keys(plan, ran), *_changed_versions(plan, ran)]


def _changed_keys(plan: Plan, ran: Ran) -> Iterator[Change]:
    for key, (old, new) in changed_keys(ran.config, plan.config).items():
        steps = {"compare"} if key in CHOICES else _steps_that_read(plan, key, old)
        yield Change(key, old, new, _and_readers(plan, steps))


def _changed_versions(plan: Plan, ran: Ran) -> Iterator[Change]:
    for step, old in ran.versions.get("steps", {}).items():
        new = PROTOCOLS.get(step)
        if old != new and (steps := _and_readers(plan, {step})):
            yield Change(f"version of the step {step}", old, new, steps)
    old = ran.versions.get("formats", {}).get("stores", FORMAT_VERSION)
    if old != FORMAT_VERSION:
        # Older formats stay readable.
        yield Change("format of new stores", old, FORMAT_VERSION, [])


def _steps_that_read(plan: Plan, key: str, old: Any) -> set[str]:
    """Return the steps whose settings differ between the old and the new value of a key."""
    config = _replaced(plan.config, key.split("."), old)
    now, before = _settings(plan), _settings(Plan(replace(plan.study, config=config)))
    return {step for step in now if _differ(now[step], before[step])}


def _differ(now: Callable[[], Any], before: Callable[[], Any]) -> bool:
    with warnings.catch_warnings():
        # The old value may be none that is valid now, and a step that refuses it reads it.
        warnings.simplefilter("ignore")
        try:
            return bool(now() != before())
        except (ValueError, TypeError, LookupError, AttributeError):
            return True


def _replaced(node: Any, path: Sequence[str], value: Any) -> Any:
    """Return a config with another value at a key, unchecked.

    Of a key that its section no longer has, the first one there is replaced: what read the one
    reads the other. A section that is no more is read by nothing.
    """
    if not path:
        return value
    key, *rest = path
    if not isinstance(node, BaseModel):
        return {**node, key: _replaced(node.get(key, {}), rest, value)}
    known = type(node).model_fields
    if key not in known:
        if isinstance(node, StudyConfig):
            return node
        key, rest = next(iter(known)), []
    return node.model_copy(update={key: _replaced(getattr(node, key), rest, value)})


def _settings(plan: Plan) -> dict[str, Callable[[], Any]]:
    """Return step -> what it takes from the config, for one job of each step.

    Whatever a rule is told as `params` that comes from the config stands here.
    """
    config, probed = plan.config, plan.study.probed()[0]
    job = SimpleNamespace(
        dataset=probed.dataset, representation=probed.representation, channels=probed.channels
    )
    trained = [SimpleNamespace(backbone=backbone) for backbone in plan.study.trained]
    compared, aggregate = config.compare.model_dump_json, config.aggregate.model_dump_json
    figures = plan.figure_settings
    return {
        "tiles": lambda: config.bad_tiles,
        "cells": lambda: config.bad_tiles,
        "relabel": lambda: config.bad_tiles,
        "splits": lambda: plan.split_settings(job),
        "pretrain": lambda: [plan.training_settings(each) for each in trained],
        "embed": lambda: plan.embed_settings(job),
        "heads": lambda: plan.head_settings(job),
        "knn": lambda: plan.knn_settings(job),
        "finetune": lambda: [plan.finetune_settings(job), plan.tuning_compute(job)],
        "aggregate": lambda: plan.aggregate_settings(job),
        "compare": lambda: [compared(), plan.probed_in(), plan.probes(), plan.tuned_arguments()],
        "aggregation": lambda: [
            compared(),
            plan.probed_in(),
            aggregate(),
            plan.figure_settings(job),
        ],
        "figures": lambda: [figures(job), plan.probed_in(), plan.figures()],
    }


def _and_readers(plan: Plan, steps: set[str]) -> list[str]:
    """Return steps and all that follow from them, as far as the study has them."""
    has = jobs_of_whole_study(plan).keys()
    found: set[str] = set()
    new = steps & has
    while new:
        found |= new
        new = ({reader for step in new for reader in _readers(plan, step)} & has) - found
    return [step for step in PROTOCOLS if step in found]


def _readers(plan: Plan, step: str) -> tuple[str, ...]:
    # Only a training that keeps test groups away reads which they are.
    kept_away = any(plan.study.held_out(card) for card in plan.study.trained.values())
    return READ_BY.get(step, ()) + ("pretrain",) * (step == "splits" and kept_away)

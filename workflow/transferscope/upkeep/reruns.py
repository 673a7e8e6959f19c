"""Steps of a study that will run again because config or program have changed, and why."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from transferscope.config.study import StudyConfig
from transferscope.steps.plan import Plan
from transferscope.steps.step import Step
from transferscope.stores.manifest import FORMAT_VERSION
from transferscope.upkeep.ran import ABSENT, RunRecord, changed_keys

# Keys that select cards: new results are made, and no others are made again.
CHOICES = ("datasets", "training_datasets", "backbones")


@dataclass(frozen=True)
class Change:
    """A difference from the last run of a study.

    Parameters
    ----------
    what
        Key of the config, or the item with another version.
    before, now
        Its value then and now.
    steps
        The steps that run again because of it, in the order of the workflow.
    """

    what: str
    before: Any
    now: Any
    steps: list[str]


def changes(plan: Plan, ran: RunRecord) -> list[Change]:
    """Return the changes since the last run of a study, with the steps that run again.

    Parameters
    ----------
    plan
        The study as configured now.
    ran
        Record of its last run.
    """
    return [*_changed_keys(plan, ran), *_changed_versions(plan, ran)]


def _changed_keys(plan: Plan, ran: RunRecord) -> Iterator[Change]:
    for key, (old, new) in changed_keys(ran.config, plan.config).items():
        steps = {"compare"} if key in CHOICES else _steps_that_read(plan, key, old)
        yield Change(key, old, new, _with_dependents(plan, steps))


def _changed_versions(plan: Plan, ran: RunRecord) -> Iterator[Change]:
    for step, old in ran.versions.get("steps", {}).items():
        new = plan.versions.get(step)
        if new is not None and old != new:
            yield Change(f"version of the step {step}", old, new, _with_dependents(plan, {step}))
    old = ran.versions.get("formats", {}).get("stores", FORMAT_VERSION)
    if old != FORMAT_VERSION:
        # Older formats stay readable.
        yield Change("format of new stores", old, FORMAT_VERSION, [])


def _steps_that_read(plan: Plan, key: str, old: Any) -> set[str]:
    """Return the steps with a job whose settings differ with the old value of a key."""
    config = _replaced(plan.config, key.split("."), old)
    before = Plan(replace(plan.study, config=config))
    return {name for name, step in plan.steps.items() if _differs(step, before)}


def _differs(step: Step, before: Plan) -> bool:
    with warnings.catch_warnings():
        # The old value may be invalid now; a step that raises an error for it does read it.
        warnings.simplefilter("ignore")
        try:
            former = before.steps.get(step.name)
            jobs = step.planned if former is not None else []
            return any(
                step.parameters(job) != former.parameters(job) for job in jobs if former is not None
            )
        except (ValueError, TypeError, LookupError, AttributeError):
            return True


def _replaced(node: Any, path: Sequence[str], value: Any) -> Any:
    """Return a config with another value at a key, unchecked.

    If its section no longer has the key, the first key there is replaced, since the same steps read
    it. A section that no longer exists is ignored. Of entries of a mapping, and of sections, one
    that was not there is left out, or has its default.
    """
    if not path:
        return value
    key, *rest = path
    was_absent = value == ABSENT and not rest
    if not isinstance(node, BaseModel):
        if was_absent:
            return {name: given for name, given in node.items() if name != key}
        return {**node, key: _replaced(node.get(key, {}), rest, value)}
    known = type(node).model_fields
    if key not in known:
        if isinstance(node, StudyConfig):
            return node
        key, rest = next(iter(known)), []
    elif was_absent and isinstance(node, StudyConfig):
        return node.model_copy(update={key: known[key].get_default(call_default_factory=True)})
    return node.model_copy(update={key: _replaced(getattr(node, key), rest, value)})


def _with_dependents(plan: Plan, steps: set[str]) -> list[str]:
    """Return steps and all that depend on them, in the order of the workflow."""
    readers = plan.readers
    found: set[str] = set()
    new = steps & readers.keys()
    while new:
        found |= new
        new = {reader for step in new for reader in readers[step]} - found
    return list(dict.fromkeys(s.family for name, s in plan.steps.items() if name in found))

"""The command `transferscope study`: whether a study is sound, and what it will take."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option, Typer

from transferscope.commands.options import AsJson, ConfigIn, print_json, print_table, size_text
from transferscope.config.model import read_yaml

if TYPE_CHECKING:
    from transferscope.costs.estimate import Estimate
    from transferscope.steps.plan import Plan
    from transferscope.upkeep.reruns import Change

NO_GPU_FOR_PROBES = (
    "`compute.probes: cuda` makes heads and k-NN need a GPU, and this machine has none. That is "
    "right where jobs run on other machines, which have them; else set it to `auto`."
)

app = Typer(help="Check a study before it runs.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `check` a subcommand, though it is the only one."""


@app.command()
def check(
    config: ConfigIn,
    tflops: Annotated[
        float | None,
        Option(
            help=(
                "Rate of large matrix products of the GPU that the study is meant for, in 10^12 "
                "operations per second. Default: that of this machine, measured."
            )
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check config, cards, sheets, files and backbones; say what will run, and what runs again."""
    from transferscope.costs.estimate import estimate
    from transferscope.costs.rates import machine_rates
    from transferscope.probes.exclusion import exclusion_warnings
    from transferscope.runtime.gpus import may_be_here
    from transferscope.steps.freshness import described, outdated_jobs
    from transferscope.steps.plan import Plan
    from transferscope.steps.preflight import preflight, why_not_scored
    from transferscope.study.loading import read_study
    from transferscope.study.reductions import worth_reducing
    from transferscope.upkeep.status import is_running

    study = read_study(config)
    preflight(study)
    plan = Plan(study)
    compute = study.config.compute
    warnings = exclusion_warnings(study.config.knn, study.config.splits.schemes)
    warnings += why_not_scored(study)
    if compute.probes == "cuda" and not may_be_here():
        warnings.append(NO_GPU_FOR_PROBES)
    found = estimate(study, plan.jobs(), machine_rates(compute.device, compute.precision, tflops))
    if compute.device != "cpu" and (tflops is not None or may_be_here()):
        sizes = {name: fields.tile_shape[-2:] for name, fields in found.fields.items()}
        warnings += filter(None, [worth_reducing(study, sizes)])
    again = _changes(plan, config)
    outdated = described(outdated_jobs(plan, is_running))
    if as_json:
        sums = {key: getattr(found, key) for key in ("device_hours", "tile_bytes", "store_bytes")}
        more: dict[str, Any] = {"changes": [asdict(change) for change in again]}
        more |= {"warnings": warnings, "outdated": outdated}
        print_json({**asdict(found), **sums, **more})
        return
    typer.echo(f"Study {study.config.study} is sound. If nothing is made yet, it takes:\n")
    for title, columns, rows in _tables(found):
        print_table(columns, rows, title)
        typer.echo()
    typer.echo("\n".join(_totals(plan, found)))
    for warning in warnings:
        typer.echo(f"\nWarning: {warning}")
    if again:
        typer.echo("\n" + "\n".join(_change_lines(plan, config, again)))
    if outdated:
        typer.echo("\nMade from something else than the study asks for now, and made again:")
        typer.echo("\n".join(f"  {line}" for line in outdated))


def _changes(plan: Plan, config: Path) -> list[Change]:
    """Return what has changed since the study ran last; empty if it has not run."""
    from transferscope.upkeep.ran import presumed_record, read_record
    from transferscope.upkeep.reruns import changes

    ran = read_record(plan.paths)
    if ran is None:
        if not plan.paths.root.is_dir():
            return []
        ran = presumed_record(read_yaml(config))
    return changes(plan, ran)


def _change_lines(plan: Plan, config: Path, again: Sequence[Change]) -> Iterator[str]:
    """Yield what runs again and why."""
    if plan.paths.config.exists():
        yield f"Changed since the last run, according to {plan.paths.config}:"
    else:
        yield (
            f"An older version made {plan.paths.root}. If it ran in the clone, keys that {config} "
            "leaves out had the values of the demo (docs/carry-over.md):"
        )
    for change in again:
        then = f"{', '.join(change.steps)} again" if change.steps else "nothing again"
        yield f"  {change.what}: {change.before} -> {change.now}: {then}"
    command = shlex.join(["transferscope", "status", str(config)])
    yield f"New results are made in addition. For each job: {command}"


def _tables(found: Estimate) -> list[tuple[str, list[str], list[list[str]]]]:
    datasets = [
        [name, f"{f.n_fields:,}", f"{f.n_tiles:,}", _shape(f.tile_shape), f.source]
        for name, f in found.fields.items()
    ]
    embed = [
        [
            f"{job.dataset}: {job.backbone}, {job.channels}",
            str(job.passes),
            f"{job.width:,}",
            _hours(job.hours),
            size_text(job.store_bytes),
        ]
        for job in found.embed
    ]
    jobs = [[rule, f"{n:,}"] for rule, n in _with_total(found.jobs)]
    return [
        ("Datasets", ["", "fields", "tiles", "tile", "known from"], datasets),
        ("Embeddings", ["", "passes", "features", "time", "store"], embed),
        ("To fetch, about", ["", "size"], _sizes(found.downloads)),
        ("Jobs", ["", "number"], jobs),
    ]


def _shape(tile: Sequence[int]) -> str:
    return " x ".join(map(str, tile)) if any(tile) else "none"


def _sizes(downloads: dict[str, int]) -> list[list[str]]:
    if not downloads:
        return [["nothing", ""]]
    return [[what, size_text(n) if n else "unknown"] for what, n in _with_total(downloads)]


def _with_total(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return [*numbers.items(), ("all of them", sum(numbers.values()))]


def _totals(plan: Plan, found: Estimate) -> Iterator[str]:
    """Yield the sentences on time and disk below the tables."""
    rates = found.rates
    how = "measured just now" if rates.measured else "as stated"
    yield (
        f"Networks, one after the other: {_hours(found.device_hours)} on {rates.device} in "
        f"{rates.precision}, at {rates.embedding / 1e12:.2f} x 10^12 operations per second ({how})."
    )
    if found.training_hours:
        training = _hours(found.training_hours)
        yield f"Trainings, one after the other on the same device: {training}."
    yield f"Probes: at most {_hours(found.head_hours)} of one core; they run in parallel."
    if n_jobs := found.jobs.get("finetune", 0):
        yield f"Fine-tuning: at most {_hours(found.tuning_hours)}, in {n_jobs:,} jobs."
    if n_jobs := found.jobs.get("segment", 0):
        hours = _hours(found.segmentation_hours)
        yield f"Decoders of masks: at most {hours} on the device, in {n_jobs:,} jobs."
    tiles, stores = size_text(found.tile_bytes), size_text(found.store_bytes)
    masks = f", {size_text(found.target_bytes)} of masks" if found.target_bytes else ""
    reduced = f", {size_text(found.reduced_bytes)} of reduced ones" if found.reduced_bytes else ""
    yield f"Disk: {tiles} of tiles{reduced}{masks} and at most {stores} of embeddings."
    yield f"Results will be in {plan.paths.root}."


def _hours(hours: float) -> str:
    if not math.isfinite(hours):
        return "unknown"
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"

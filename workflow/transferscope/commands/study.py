"""The command `transferscope study`: whether a study is sound, and what it will take."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from transferscope.costs.estimate import Estimate
    from transferscope.steps.plan import Plan
    from transferscope.upkeep.reruns import Change

app = typer.Typer(help="Check a study before it runs.", no_args_is_help=True)
GIB = 2**30
BASE_CONFIG = "config.yaml"


@app.callback()
def _group() -> None:
    """Keep `check` a command of its own, though it is the only one."""


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="Study config (.yaml).")],
    tflops: Annotated[
        float | None,
        typer.Option(
            help=(
                "Rate of large matrix products of the GPU that the study is meant for, in 10^12 "
                "operations a second; this machine is measured else."
            )
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check config, cards, sheets, files and backbones; say what will run, and what runs again."""
    from transferscope.cards.lookup import card_roots
    from transferscope.costs.estimate import estimate
    from transferscope.costs.rates import machine_rates
    from transferscope.steps.plan import Plan
    from transferscope.steps.preflight import preflight
    from transferscope.study.study import Study

    study = Study.load(merged_config(config), card_roots(), str(config))
    preflight(study)
    plan = Plan(study)
    compute = study.config.compute
    found = estimate(study, plan.jobs(), machine_rates(compute.device, compute.precision, tflops))
    again = _changes(plan, config)
    if as_json:
        plain = {**_as_plain(found), "changes": [asdict(change) for change in again]}
        typer.echo(json.dumps(plain, indent=2))
    else:
        _show(plan, found)
        typer.echo(
            "".join(f"\n{line}" for line in _change_lines(plan, config, again)), nl=bool(again)
        )


def merged_config(path: Path) -> dict[str, Any]:
    """Return a config as Snakemake sees it: on top of the defaults, which give what it omits.

    Raises
    ------
    UserError
        Where a file cannot be read.
    """
    from transferscope.config.model import read_yaml
    from transferscope.study.defaults import with_defaults

    return with_defaults(read_yaml(path))


def _changes(plan: Plan, config: Path) -> list[Change]:
    """Return what has changed since the study ran last; nothing, where it has not run."""
    from transferscope.config.model import read_yaml
    from transferscope.upkeep.ran import formerly, read_ran
    from transferscope.upkeep.reruns import changes

    ran = read_ran(plan.paths)
    if ran is None:
        if not plan.paths.root.is_dir():
            return []
        ran = formerly(read_yaml(config))
    return changes(plan, ran)


def _change_lines(plan: Plan, config: Path, again: Sequence[Change]) -> Iterator[str]:
    """Yield what runs again and why; nothing, where nothing has changed."""
    if not again:
        return
    if plan.paths.config.exists():
        yield f"Changed since the last run, as {plan.paths.config} tells:"
    else:
        yield (
            f"An older version made {plan.paths.root}. If it ran in the clone, keys that {config} "
            "leaves out had the values of the demo (docs/carry-over.md):"
        )
    for change in again:
        then = f"{', '.join(change.steps)} again" if change.steps else "nothing again"
        yield f"  {change.what}: {change.before} -> {change.now}: {then}"
    yield f"What is new is made, too. Job by job: transferscope status {config}"


def _as_plain(found: Estimate) -> dict[str, Any]:
    return {
        **asdict(found),
        "device_hours": found.device_hours,
        "tile_bytes": found.tile_bytes,
        "store_bytes": found.store_bytes,
    }


def _show(plan: Plan, found: Estimate) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=100, highlight=False)
    console.print(f"Study {plan.config.study} is sound. It would take, if nothing is made yet:\n")
    for title, columns, rows in _tables(found):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for number, column in enumerate(columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    console.print(_closing(plan, found), soft_wrap=True)


def _tables(found: Estimate) -> list[tuple[str, list[str], list[list[str]]]]:
    datasets = [
        [name, f"{f.n_fields:,}", f"{f.n_tiles:,}", " x ".join(map(str, f.tile_shape)), f.source]
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
    total = sum(found.jobs.values())
    jobs = [[rule, f"{n:,}"] for rule, n in [*found.jobs.items(), ("all of them", total)]]
    return [
        ("Datasets", ["", "fields", "tiles", "tile", "known from"], datasets),
        ("Embeddings", ["", "passes", "features", "time", "store"], embed),
        ("To fetch, about", ["", "size"], _sizes(found.downloads)),
        ("Jobs", ["", "number"], jobs),
    ]


def _sizes(downloads: dict[str, int]) -> list[list[str]]:
    if not downloads:
        return [["nothing", ""]]
    total = sum(downloads.values())
    return [
        [what, size_text(n) if n else "unknown"]
        for what, n in [*downloads.items(), ("all of them", total)]
    ]


def _closing(plan: Plan, found: Estimate) -> str:
    rates = found.rates
    how = "measured just now" if rates.measured else "as stated"
    lines = [
        f"Networks, one after the other: {_hours(found.device_hours)} on {rates.device} in "
        f"{rates.precision}, at {rates.embedding / 1e12:.2f} x 10^12 operations a second ({how}).",
        *_training_line(found),
        f"Heads: at most {_hours(found.head_hours)} of one core; they run side by side.",
        *_tuning(found),
        f"Disk: {size_text(found.tile_bytes)} of tiles and at most "
        f"{size_text(found.store_bytes)} of embeddings.",
        f"Results would lie in {plan.paths.root}.",
    ]
    return "\n".join(lines)


def _tuning(found: Estimate) -> list[str]:
    n_jobs = found.jobs.get("finetune", 0)
    if not n_jobs:
        return []
    return [f"Fine-tuning: at most {_hours(found.tuning_hours)}, in {n_jobs:,} jobs."]


def _training_line(found: Estimate) -> list[str]:
    if not found.training_hours:
        return []
    return [f"Trainings, one after the other on the same device: {_hours(found.training_hours)}."]


def _hours(hours: float) -> str:
    if not math.isfinite(hours):
        return "unknown"
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"


def size_text(n_bytes: float) -> str:
    """Return a size in KiB, MiB or GiB."""
    if n_bytes >= GIB / 10:
        return f"{n_bytes / GIB:.1f} GiB"
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.0f} KiB"

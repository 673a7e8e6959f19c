"""Looking after a study: `verify`, `status`, `doctor`, `costs`, `export` and `publish`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferscope.commands.study import BASE_CONFIG, merged_config, size_text
from transferscope.errors import Problem, UserError

if TYPE_CHECKING:
    from transferscope.config.paths import StudyPaths
    from transferscope.config.study import StudyConfig
    from transferscope.study.study import Study
    from transferscope.upkeep.status import Status
    from transferscope.upkeep.verify import Verified

Config = Annotated[Path, typer.Argument(help="Study config (.yaml).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DEFAULT_CONFIG = Path(BASE_CONFIG)
DEFECT = 1


def mount(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (verify, status, doctor, costs, export, publish):
        app.command()(command)


def verify(
    what: Annotated[
        str,
        typer.Argument(
            metavar="STUDY",
            help="Study config (.yaml), an archive, or URL or folder of a published study.",
        ),
    ] = BASE_CONFIG,
    repair: Annotated[
        bool, typer.Option(help="Remove what is damaged, so that the next run makes it again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare all stores and tables of a study, archive or publication with their checksums."""
    from transferscope.transport.urls import is_url, without_password
    from transferscope.upkeep.export import verify_archive
    from transferscope.upkeep.verify import repair as remove
    from transferscope.upkeep.verify import verify as run

    study = Path(what)
    if repair and (is_url(what) or study.is_dir() or study.suffix == ".tar"):
        fault = "--repair works on a study of this machine, no publication and no archive"
        fix = "Publish, or export, it again where the study is."
        raise UserError(Problem(without_password(what), fault, fix))
    if is_url(what) or study.is_dir():
        _verify_published(what, as_json=as_json)
        return
    if study.suffix == ".tar":
        typer.echo(f"{study} is whole: {verify_archive(study)} files agree with their checksums.")
        return
    found = run(_paths(study).root)
    command = f"snakemake --cores all --configfile {study}"
    if as_json:
        typer.echo(json.dumps(_verified_as_plain(found, command), indent=2))
    else:
        _show_verified(found, command, study)
    left = remove(found.faults) if repair else found.faults
    if len(left) < len(found.faults):
        typer.echo(f"What is damaged is removed. Make it again: {command}", err=True)
    raise typer.Exit(DEFECT if left else 0)


def _verify_published(place: str, *, as_json: bool) -> None:
    from transferscope.upkeep.published import verify_published

    found = verify_published(place)
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        read = f"{found.stores} stores ({found.blocks} blocks) and {found.files} files"
        typer.echo(f"{place} is sound: {read} are as they were sent.")


def _paths(config: Path) -> StudyPaths:
    """Return the paths of a study, whatever its cards are by now."""
    from transferscope.study.study import paths_of

    return paths_of(_parsed(config))


def _parsed(config: Path) -> StudyConfig:
    from transferscope.config.model import validate
    from transferscope.config.study import StudyConfig

    parsed: StudyConfig = validate(merged_config(config), StudyConfig, str(config))
    return parsed


def _load(config: Path) -> Study:
    """Return a study as it ran last; as its config says, where no run has written what it used."""
    from transferscope.cards.lookup import card_roots
    from transferscope.study.study import Study

    ran = _paths(config).config
    used = ran if ran.exists() else config
    if used == config:
        message = f"{ran} is missing, which each run writes: {config} is taken for what ran"
        typer.echo(message, err=True)
    return Study.load(merged_config(used), card_roots(), str(used))


def _verified_as_plain(found: Verified, command: str) -> dict[str, Any]:
    faults = [
        {"file": str(f.file), "block": f.block, "what": f.what, "repair": f.repair(command)}
        for f in found.faults
    ]
    return {
        "sound": not faults,
        "stores": found.stores,
        "blocks": found.blocks,
        "tables": found.tables,
        "faults": faults,
    }


def _show_verified(found: Verified, command: str, study: Path) -> None:
    read = f"{found.stores} stores ({found.blocks} blocks) and {found.tables} tables"
    if not found.faults:
        typer.echo(f"Sound: {read} are as they were written.")
        return
    typer.echo(f"{len(found.faults)} found damaged, after reading {read}:")
    for fault in found.faults:
        block = "" if fault.block is None else f", block {fault.block}"
        typer.echo(f"  {fault.file}{block}: {fault.what}\n      -> {fault.repair(command)}")
    typer.echo(f"Or all of them, block by block: transferscope verify {study} --repair")


def status(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show what of a study is done, running, stale, failed or to come, and its size on disk."""
    from transferscope.cards.lookup import SHIPPED
    from transferscope.upkeep.status import snakemake_summary
    from transferscope.upkeep.status import status as run

    summary = snakemake_summary(SHIPPED / "Snakefile", ["--configfile", str(config)])
    found = run(summary)
    if as_json:
        typer.echo(json.dumps(found.as_plain(), indent=2))
    else:
        _show_status(found, config)
        _show_changed_keys(config)


def _show_changed_keys(config: Path) -> None:
    """Say where the last run used another config than the one that the states are told for."""
    from transferscope.study.study import paths_of
    from transferscope.upkeep.ran import changed_keys, read_ran

    parsed = _parsed(config)
    paths = paths_of(parsed)
    ran = read_ran(paths)
    changed = changed_keys(ran.config, parsed) if ran else {}
    for key, (before, now) in changed.items():
        typer.echo(f"  changed since the last run: {key}: {before} -> {now}")
    if changed:
        typer.echo(f"  As it ran: transferscope status {paths.config}")


def _show_status(found: Status, config: Path) -> None:
    from transferscope.upkeep.status import DONE, STATES

    rules = found.rules()
    rows = [
        [rule, *(str(counts[s] or "") for s in STATES), size_text(counts["bytes"])]
        for rule, counts in rules.items()
    ]
    total = [str(sum(counts[s] for counts in rules.values())) for s in STATES]
    n_bytes = sum(counts["bytes"] for counts in rules.values())
    _print_table(
        f"Study of {config}",
        ["", *STATES, "on disk"],
        [*rows, ["all", *total, size_text(n_bytes)]],
    )
    for job in found.jobs:
        if job.state != DONE and job.why:
            filled = f", {job.blocks[0]} of {job.blocks[1]} blocks" if job.blocks else ""
            typer.echo(f"  {job.state}: {job.output} ({job.why}{filled})")


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=100, highlight=False).print(table)


def doctor(
    results: Annotated[Path, typer.Option(help="Folder that results will go to.")] = Path(
        "results"
    ),
    as_json: AsJson = False,
) -> None:
    """Look at Python, devices, disk, locks and the model hub, and embed a few tiles."""
    from transferscope.upkeep.doctor import BAD, examine

    checks = examine(results)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        for check in checks:
            typer.echo(f"{check.state:>8}  {check.name}: {check.found}")
            if check.fix:
                typer.echo(f"          -> {check.fix}")
    raise typer.Exit(DEFECT if any(check.state == BAD for check in checks) else 0)


def costs(
    config: Config = DEFAULT_CONFIG,
    figure: Annotated[
        list[Path] | None, typer.Option(help="Figure to write, .svg or .png; once for each.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show where the time and the memory of a study went, a rule."""
    from transferscope.upkeep.costs import job_costs, rule_costs

    jobs = job_costs(_paths(config).benchmark("").parent)
    rules = rule_costs(jobs)
    if figure:
        from transferscope.figures.costs import draw_costs
        from transferscope.figures.style import save, style

        with style():
            save(draw_costs(rules), figure, dpi=150)
    if as_json:
        plain = {
            name: json.loads(table.to_json(orient="records"))
            for name, table in (("rules", rules), ("jobs", jobs))
        }
        typer.echo(json.dumps(plain, indent=2))
        return
    columns = ["", "jobs", "minutes", "core minutes", "longest job, s", "most memory, MiB"]
    rows = [
        [
            str(r["rule"]),
            str(r["jobs"]),
            f"{r['seconds'] / 60:.1f}",
            f"{r['core_seconds'] / 60:.1f}",
            f"{r['longest_seconds']:.1f}",
            f"{r['peak_mib']:.0f}",
        ]
        for r in rules.to_dict("records")
    ]
    _print_table(f"Where time and memory went: {config}", columns, rows)


def export(
    config: Config = DEFAULT_CONFIG,
    output: Annotated[Path | None, typer.Option(help="Archive to write (.tar).")] = None,
    stores: Annotated[bool, typer.Option(help="Pack tile and embedding stores, too.")] = False,
) -> None:
    """Pack config, cards, versions and results of a study into one archive with checksums."""
    from transferscope.upkeep.export import export as run

    study = _load(config)
    archive = output or Path(f"{study.config.study}.tar")
    count = run(study, archive, stores=stores)
    typer.echo(f"{archive}: {count} files. Read it back: transferscope verify {archive}")


def publish(
    studies: Annotated[list[Path], typer.Argument(help="Study configs (.yaml).")],
    to: Annotated[str, typer.Option(help="Folder, or URL such as s3://bucket/prefix.")],
    connections: Annotated[int, typer.Option(min=1, help="Files sent at a time.")] = 16,
) -> None:
    """Copy stores, scores, config and cards of studies to a folder or an object store."""
    from transferscope.upkeep.publish import publish as run

    for config in studies:
        done = run(_load(config), to, connections)
        for store in done.unfinished:
            typer.echo(f"left out, because it is not finished: {store}", err=True)
        typer.echo(
            f"{done.place}: {done.sent} files sent ({size_text(done.n_bytes)}), "
            f"{done.kept} were there already. Read it back: transferscope verify {done.place}"
        )

"""Maintaining a study: `verify`, `convert`, `status`, `doctor`, `costs`, `export` and `publish`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option, Typer

from transferscope.commands.options import (
    BASE_CONFIG,
    AsJson,
    ConfigIn,
    file_argument,
    file_out,
    folder_out,
    print_json,
    print_table,
    size_text,
)
from transferscope.config.model import validate
from transferscope.config.study import StudyConfig
from transferscope.errors import Problem, UserError
from transferscope.runtime.plain_files import file_problem, folder_problem, name_problem, odd_files
from transferscope.runtime.shipped import SNAKEFILE
from transferscope.study.defaults import merged_config

if TYPE_CHECKING:
    from transferscope.config.paths import StudyPaths
    from transferscope.steps.plan import Plan
    from transferscope.study.opened import OpenedStudy
    from transferscope.study.study import Study
    from transferscope.upkeep.status import Status
    from transferscope.upkeep.verify import Verified

DEFAULT_CONFIG = Path(BASE_CONFIG)
DEFECT = 1
SHOWN_FILES = 3


def mount(app: Typer) -> None:
    """Add the commands to the command line."""
    for command in (verify, convert, status, doctor, costs, export, publish):
        app.command()(command)


def verify(
    what: Annotated[
        str,
        Argument(
            metavar="STUDY",
            help="Study config (.yaml), an archive, or the URL or folder of a published study.",
        ),
    ] = BASE_CONFIG,
    repair: Annotated[
        bool, Option(help="Remove damaged files, so that the next run makes them again.")
    ] = False,
    accept: Annotated[
        bool,
        Option(help="Take files that no job has recorded into the list of checksums, as they are."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare all files of a study, archive or publication with their checksums."""
    from transferscope.study.run_command import run_command
    from transferscope.transport.urls import is_url, without_password
    from transferscope.upkeep.export import SUFFIX, is_archive, verify_archive
    from transferscope.upkeep.published import verify_published
    from transferscope.upkeep.verify import repair as remove
    from transferscope.upkeep.verify import verify as run

    study = Path(what)
    is_publication = is_url(what) or folder_problem(study) is None
    is_there = file_problem(study) is None
    is_packed = is_archive(study) if is_there else not is_publication and study.suffix == SUFFIX
    if (repair or accept) and (is_publication or is_packed):
        option = "--repair" if repair else "--accept"
        fault = f"{option} works on a study on this machine, not on a publication or an archive"
        fix = "Publish, or export, it again where the study is."
        raise UserError(Problem(without_password(what), fault, fix))
    if not is_publication and (problem := name_problem(what) or file_problem(study)):
        raise UserError(problem)
    if is_publication:
        sent = verify_published(what)
        if as_json:
            print_json(asdict(sent))
        else:
            read = f"{sent.stores} stores ({sent.blocks} blocks) and {sent.files} files"
            typer.echo(f"{what} is sound: {read} are as they were sent.")
            if sent.others:
                others = _some([study / name for name in sent.others])
                typer.echo(f"Not among them, and not checked: {others}.")
        return
    if is_packed:
        count = verify_archive(study)
        signature = study.with_name(f"{study.name}.sig")
        if as_json:
            print_json({"files": count})
            return
        typer.echo(f"{study} is intact: its {count} files are those of its list of checksums.")
        if signature.exists():
            typer.echo(f"Who made it is not checked: {signature} (docs/look-after-a-study.md).")
        return
    root = _paths(study).root
    plan, why = _plan_now(study)
    if accept:
        _accept(plan, why, study)
    found = run(root, plan)
    if not found.stores + found.files + found.tables + len(found.faults):
        what = "there are no results of this study, so that nothing was checked"
        fix = "Run it, or give the command in the folder where it ran."
        raise UserError(Problem(str(root), what, fix))
    command = run_command("--cores", "all", configs=[study])
    if as_json:
        faults = [
            {"file": str(f.file), "block": f.block, "what": f.what, "repair": f.repair(command)}
            for f in found.faults
        ]
        paths = {key: list(map(str, getattr(found, key))) for key in ("unchecked", "others")}
        counts = {key: getattr(found, key) for key in ("stores", "blocks", "tables", "files")}
        print_json({"sound": found.is_sound, **counts, **paths, "faults": faults})
    else:
        _show_verified(found, command, study, why)
    left = remove(found.faults) if repair else found.faults
    if len(left) < len(found.faults):
        typer.echo(f"The damaged files are removed. Make them again: {command}", err=True)
    raise typer.Exit(DEFECT if left or found.unchecked else 0)


def _plan_now(config: Path) -> tuple[Plan | None, str]:
    """Return what the study asks for now; None, and why, where this cannot be told."""
    from transferscope.steps.freshness import outdated_jobs
    from transferscope.steps.plan import Plan
    from transferscope.study.loading import read_study
    from transferscope.upkeep.status import is_running

    _parsed(config)  # What is wrong with the file itself is an error.
    try:
        plan = Plan(read_study(config))
        # Reads sheets, and asks for the raw files, which may be gone.
        outdated_jobs(plan, is_running)
    except UserError as error:
        return None, f"{error.problems[0].where}: {error.problems[0].what}"
    except OSError as error:
        return None, str(error)
    return plan, ""


def _accept(plan: Plan | None, why: str, config: Path) -> None:
    from transferscope.commands.recording import checksums
    from transferscope.upkeep.listed import accept

    if plan is None:
        what = f"it is not known which files belong to the study ({why})"
        raise UserError(Problem(str(config), what, "Make its cards and raw files readable."))
    for job in accept(plan, checksums):
        typer.echo(f"taken into the list, as it is: {job}", err=True)


def _paths(config: Path) -> StudyPaths:
    """Return the paths of a study, without reading its cards, which may have changed."""
    from transferscope.study.study import paths_of

    paths = paths_of(_parsed(config))
    if problems := list(odd_files(paths.root)):
        raise UserError(problems)
    return paths


def _parsed(config: Path) -> StudyConfig:
    parsed: StudyConfig = validate(merged_config(config), StudyConfig, str(config))
    return parsed


def _load(config: Path) -> Study:
    """Return a study as it ran last; if no run has recorded its config, as the config says."""
    from transferscope.study.loading import read_study_that_ran

    ran = _paths(config).config
    if not ran.exists():
        message = f"{ran}, which each run writes, is missing: {config} is used instead"
        typer.echo(message, err=True)
    return read_study_that_ran(config)


def _tell_uncompared(study: Study) -> None:
    from transferscope.upkeep.contents import uncompared

    if found := uncompared(study):
        typer.echo(f"as they are, and not compared with any list: {_some(found)}", err=True)


def _show_verified(found: Verified, command: str, study: Path, why: str) -> None:
    read = f"{found.stores} stores ({found.blocks} blocks) and {found.files} files"
    if found.is_sound and why:
        typer.echo(f"{read} are as they were written.")
    elif found.is_sound:
        typer.echo(f"Sound: {read} are as they were written, from what the study asks for.")
    if why:
        typer.echo(f"Not compared with what the study asks for, which is not known: {why}")
    if old := [path for path in found.unchecked if path.suffix == ".zarr"]:
        convert = shlex.join(["transferscope", "convert", str(study)])
        typer.echo(f"Not checked: metadata of {_some(old)}, of version 1.\n      -> {convert}")
    if unlisted := [path for path in found.unchecked if path not in old]:
        verify = shlex.join(["transferscope", "verify", str(study), "--accept"])
        typer.echo(
            f"Not checked: {_some(unlisted)}. They were made by an earlier version, which "
            "wrote no list of checksums, or their list is gone.\n"
            f"      -> Take them into the list as they are: {verify}"
        )
    if found.others:
        typer.echo(f"Not of the study as it is now, and not checked: {_some(found.others)}.")
    if not found.faults:
        return
    typer.echo(f"{len(found.faults)} faults, after reading {read}:")
    for fault in found.faults:
        block = "" if fault.block is None else f", block {fault.block}"
        typer.echo(f"  {fault.file}{block}: {fault.what}\n      -> {fault.repair(command)}")
    repair = shlex.join(["transferscope", "verify", str(study), "--repair"])
    typer.echo(f"Or all of them, block by block: {repair}")


def _some(paths: Sequence[Path]) -> str:
    shown = ", ".join(map(str, paths[:SHOWN_FILES]))
    return f"{shown} and {len(paths) - SHOWN_FILES} more" if len(paths) > SHOWN_FILES else shown


def convert(config: ConfigIn = DEFAULT_CONFIG) -> None:
    """Convert stores that an older version has written to the current format, in place.

    Nothing has to be made again; no run of the study may be in progress.
    """
    from transferscope.upkeep.convert import convert_study

    found = convert_study(_paths(config).root)
    for manifest in found.stores:
        typer.echo(f"converted: {manifest}")
    typer.echo(f"{len(found.stores)} stores converted, {found.others} left as they are.")
    if found.problems:
        raise UserError(found.problems)


def status(config: ConfigIn = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show which jobs are done, running, stale, failed or to do, and their size on disk."""
    from transferscope.stores.reader import CONVERSION_CUT
    from transferscope.study.loading import read_study
    from transferscope.upkeep.manifests import half_converted
    from transferscope.upkeep.status import snakemake_summary
    from transferscope.upkeep.status import status as run

    read_study(config)  # Says what is wrong with it in fewer words than Snakemake.
    summary = snakemake_summary(SNAKEFILE, ["--configfile", str(config)])
    found = run(summary, _logs(config))
    if as_json:
        print_json(found.as_plain())
    else:
        _show_status(found, config)
        _show_time_left(found, _paths(config))
        _show_changed_keys(config)
        for manifest in half_converted(_paths(config).root):
            command = shlex.join(["transferscope", "convert", str(config)])
            typer.echo(f"  {manifest}: {CONVERSION_CUT}. Finish it: {command}")


def _show_changed_keys(config: Path) -> None:
    """Show the keys whose values differ from those of the last run."""
    from transferscope.study.study import paths_of
    from transferscope.upkeep.ran import changed_keys, read_record

    parsed = _parsed(config)
    paths = paths_of(parsed)
    ran = read_record(paths)
    changed = changed_keys(ran.config, parsed) if ran else {}
    for key, (before, now) in changed.items():
        typer.echo(f"  changed since the last run: {key}: {before} -> {now}")
    if changed:
        command = shlex.join(["transferscope", "status", str(paths.config)])
        typer.echo(f"  With the config of the last run: {command}")


def _show_status(found: Status, config: Path) -> None:
    from transferscope.upkeep.status import DONE, STATES

    rules = found.rules()
    table = [
        [rule, *(str(counts[state] or "") for state in STATES), size_text(counts["bytes"])]
        for rule, counts in rules.items()
    ]
    sums = {key: sum(counts[key] for counts in rules.values()) for key in (*STATES, "bytes")}
    table.append(["all", *(str(sums[state]) for state in STATES), size_text(sums["bytes"])])
    print_table(["", *STATES, "on disk"], table, f"Study of {config}")
    for line in found.unfinished():
        typer.echo(f"  {line}")
    typer.echo(f"{sums[DONE]} of {len(found.jobs)} jobs are done")


def _show_time_left(found: Status, paths: StudyPaths) -> None:
    """Say how long the rest takes by the jobs that have finished."""
    from transferscope.upkeep.costs import job_costs
    from transferscope.upkeep.status import DONE

    if all(job.state == DONE for job in found.jobs):
        return
    try:
        jobs = job_costs(paths.usage("").parent)
    except UserError:  # no job has finished
        return
    means = jobs.groupby("rule")["seconds"].mean()
    seconds, unknown = found.seconds_left({str(rule): float(s) for rule, s in means.items()})
    more = f"; not known before their first job: {', '.join(unknown)}" if unknown else ""
    typer.echo(f"Time left, one job after the other: about {_duration(seconds)}{more}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _logs(config: Path) -> dict[str, Path]:
    """Return output -> log of the job that makes it."""
    from transferscope.steps.plan import Plan
    from transferscope.study.loading import read_study

    study = read_study(config)
    return {
        str(path): study.paths.log(step.name_of(job))
        for step in Plan(study).steps.values()
        for job in step.planned
        for path in step.files_of(job)
    }


def doctor(
    results: Annotated[Path, folder_out("Folder for the results.")] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Check Python, devices, disk, locks and the model hub, and embed a few tiles."""
    from transferscope.upkeep.doctor import BAD, examine

    checks = examine(results)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            typer.echo(f"{check.state:>8}  {check.name}: {check.found}")
            if check.fix:
                typer.echo(f"          -> {check.fix}")
    raise typer.Exit(DEFECT if any(check.state == BAD for check in checks) else 0)


def costs(
    config: ConfigIn = DEFAULT_CONFIG,
    figure: Annotated[
        list[Path] | None, file_out("Figure to write, .svg or .png; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the time and the memory that a study took, per rule."""
    from transferscope.upkeep.costs import cost_table, job_costs, rule_costs

    jobs = job_costs(_paths(config).usage("").parent)
    rules = rule_costs(jobs)
    if figure:
        from transferscope.figures.costs import draw_costs
        from transferscope.figures.style import save, style

        with style():
            save(draw_costs(rules), figure, dpi=150)
    if as_json:
        tables = {"rules": rules, "jobs": jobs}
        print_json({k: json.loads(t.to_json(orient="records")) for k, t in tables.items()})
        return
    print_table(*cost_table(rules), f"Time and memory of {config}")


def export(
    config: ConfigIn = DEFAULT_CONFIG,
    output: Annotated[Path | None, file_out("Archive to write (.tar).")] = None,
    stores: Annotated[bool, Option(help="Include tile and embedding stores.")] = False,
    anndata: Annotated[
        Path | None,
        file_out("Instead, write tiles, classes and embeddings of a dataset to this file (.h5ad)."),
    ] = None,
    ome_zarr: Annotated[
        Path | None,
        folder_out(
            "Instead, write tiles and masks of a dataset to this folder (.zarr), as images."
        ),
    ] = None,
    dataset: Annotated[
        str | None, Option(help="Dataset of --anndata and --ome-zarr. Default: the only one.")
    ] = None,
) -> None:
    """Pack config, cards, versions and results of a study into one archive with checksums."""
    from transferscope.study.opened import OpenedStudy
    from transferscope.upkeep.export import export as run

    is_archive = anndata is None and ome_zarr is None
    if is_archive and dataset is not None:
        fix = "Give one of them, too."
        raise UserError(Problem("--dataset", "is of --anndata and --ome-zarr alone", fix))
    study = _load(config)
    if anndata is not None:
        _export_anndata(OpenedStudy(study, config), anndata, dataset)
    if ome_zarr is not None:
        _export_ome_zarr(OpenedStudy(study, config), ome_zarr, dataset)
    if not is_archive:
        return
    _tell_uncompared(study)
    archive = output or Path(f"{study.config.study}.tar")
    count = run(study, archive, stores=stores)
    command = shlex.join(["transferscope", "verify", str(archive)])
    typer.echo(f"{archive}: {count} files. Read it back: {command}")


def _export_anndata(study: OpenedStudy, path: Path, dataset: str | None) -> None:
    from transferscope.upkeep.annotated import annotated, write_anndata

    found = annotated(study, dataset)
    write_anndata(found, path)
    typer.echo(
        f"{path}: {len(found.obs):,} tiles of {found.about['dataset']}, obsm has "
        f"{', '.join(found.embeddings)}."
    )


def _export_ome_zarr(study: OpenedStudy, path: Path, dataset: str | None) -> None:
    from transferscope.upkeep.ome_zarr import write_ome_zarr

    found = study.dataset(dataset)
    write_ome_zarr(found, path)
    with_masks = " with their masks" if found.has_targets else ""
    channels = ", ".join(found.tiles.channels)
    typer.echo(f"{path}: {len(found.tiles):,} tiles of {found.name}{with_masks}; {channels}.")


def publish(
    studies: Annotated[list[Path], file_argument("Study configs (.yaml).", "CONFIG...")],
    to: Annotated[str, Option(help="Folder, or URL such as s3://bucket/prefix.")],
    connections: Annotated[int, Option(min=1, max=1024, help="Files sent in parallel.")] = 16,
) -> None:
    """Copy stores, scores, config and cards of studies to a folder or an object store."""
    from transferscope.upkeep.publish import publish as run

    for config in studies:
        study = _load(config)
        _tell_uncompared(study)
        done = run(study, to, connections)
        for store in done.unfinished:
            typer.echo(f"left out, because it is incomplete: {store}", err=True)
        typer.echo(
            f"{done.place}: {done.sent} files sent ({size_text(done.n_bytes)}), "
            f"{done.kept} were there already. Read it back: "
            f"{shlex.join(['transferscope', 'verify', done.place])}"
        )

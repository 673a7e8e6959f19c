"""The command `transferscope init`: from a folder of images to a sheet, a card and a study."""

from __future__ import annotations

import logging
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option, Typer

from transferscope.commands.options import (
    LabelsIn,
    NoLabelsIn,
    PatternIn,
    RawChannelsIn,
    folder_argument,
    folder_out,
    raw_channels,
)
from transferscope.errors import Problem, UserError
from transferscope.study.run_command import run_command

if TYPE_CHECKING:
    from transferscope.proposal.folder import Folder
    from transferscope.proposal.label_tables import FoundLabels
    from transferscope.proposal.propose import Proposal
    from transferscope.proposal.writing import Outputs, Written
    from transferscope.raw.sheet_builder import LabelTable

app = Typer()
logger = logging.getLogger(__name__)
GROUPS_SHOWN = 8


@app.command()
def init(
    folder: Annotated[Path, folder_argument("Folder of the images.", "FOLDER")],
    name: Annotated[str, Option(help="Name of dataset and study. Default: the folder's.")] = "",
    pattern: PatternIn = None,
    channel: RawChannelsIn = None,
    channels: Annotated[
        str, Option(help="Names of the channels of multi-channel files, joined by commas.")
    ] = "",
    labels: LabelsIn = None,
    unlabelled: NoLabelsIn = None,
    yes: Annotated[bool, Option("--yes", help="Accept what is proposed, without asking.")] = False,
    output: Annotated[Path, folder_out("Folder to write into. Default: this one.")] = Path(),
) -> None:
    """Propose sheet, card and study for a folder of images, and write them."""
    from transferscope.proposal.folder import look_into
    from transferscope.proposal.propose import propose
    from transferscope.proposal.writing import Outputs, write

    asks = not yes and sys.stdin.isatty()
    if not yes and not asks:
        fix = "Add --yes to accept what is proposed."
        raise UserError(Problem("transferscope init", "nobody can be asked here", fix))
    named = name or re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-_") or "mine"
    outputs = Outputs.of(output, _checked(named))
    found = look_into(folder)
    renamed = raw_channels(channel or [])
    listed = [part.strip() for part in channels.split(",") if part.strip()]
    proposal = propose(found, pattern=pattern, renamed=renamed, names=listed)
    table = _labels(found, proposal, outputs, labels, unlabelled or [])
    _show(proposal, table)
    while (
        asks and (answer := typer.prompt("Write this? yes, no, or another pattern", "yes")) != "yes"
    ):
        if answer == "no":
            raise typer.Exit(1)
        proposal = propose(found, pattern=answer, renamed=renamed, names=listed)
        table = _labels(found, proposal, outputs, labels, unlabelled or [])
        _show(proposal, table)
    written = write(proposal, named, outputs, table)
    _report(written, outputs)


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        fix = "Use letters, digits, - and _."
        raise UserError(Problem("--name", f'"{name}" cannot be the name of a dataset', fix))
    return name


def _labels(
    folder: Folder, proposal: Proposal, outputs: Outputs, given: str | None, unlabelled: list[str]
) -> LabelTable | None:
    """Return the table of labels that was given, or that is in the folder."""
    from transferscope.proposal.label_tables import WORKBOOK, as_text_table, find_labels
    from transferscope.proposal.propose import keys_of
    from transferscope.raw.sheet_builder import LabelTable
    from transferscope.runtime.atomic_files import write_atomically

    if given is not None:
        table = LabelTable.parse(given, unlabelled)
        if table.path.suffix.lower() != WORKBOOK:
            return table
        write_atomically(outputs.labels, as_text_table(table.path))
        return LabelTable(outputs.labels, table.key, table.label, unlabelled)
    tables = [folder.path / path for path in folder.tables]
    keys, named = keys_of(proposal)
    found: FoundLabels | None = find_labels(tables, keys, named)
    if found is None and folder.workbooks:
        write_atomically(outputs.labels, as_text_table(folder.path / folder.workbooks[0]))
        found = find_labels([outputs.labels], keys, named)
        if found is None:
            outputs.labels.unlink()
    if found is None:
        return None
    odd = [*found.table.unlabelled, *unlabelled]
    return LabelTable(found.table.path, found.table.key, found.table.label, odd)


def _show(proposal: Proposal, table: LabelTable | None) -> None:
    groups = proposal.groups
    shown = ", ".join(groups[:GROUPS_SHOWN]) + (", ..." if len(groups) > GROUPS_SHOWN else "")
    channels = proposal.channels
    told = {shown: raw for raw, shown in channels.raw.items()}
    named = ", ".join(f"{told[c]} = {c}" if c in told else c for c in channels.names)
    left_out = f"; left out: {channels.ignored}, without content" if channels.ignored else ""
    size = proposal.pixel_size_um
    labels = "none found: give them by --labels table.csv:key_column:label_column"
    if table is not None:
        none = f"; no label: {', '.join(table.unlabelled)}" if table.unlabelled else ""
        labels = f"column {table.label} of {table.path}, by {table.key}{none}"
    rows = {
        "images": f"{len(proposal.folder.images):,}, and {len(proposal.folder.masks):,} masks",
        "pattern": proposal.found.pattern,
        "channels": f"{named}{left_out}",
        "groups": f"{len(groups):,}: {shown} (what must not be on both sides of a split)",
        "pixel size": f"{size:g} um" if size else "not stated by the files",
        "labels": labels,
    }
    for what, text in rows.items():
        typer.echo(f"{what:<12}{text}")
    for remark in [*proposal.folder.skipped, *proposal.remarks]:
        logger.warning("%s", remark)


def _report(written: Written, outputs: Outputs) -> None:
    built = written.built
    ranges = ", ".join(f"{c} [{low}, {high}]" for c, (low, high) in written.looks.ranges.items())
    typer.echo(f"{'ranges':<12}{ranges} (of {len(written.looks.fields)} fields)")
    if written.masks:
        typer.echo(f"{'masks':<12}columns {', '.join(written.masks)} of the sheet")
    typer.echo(f"{'fields':<12}{built.n_rows:,}, {built.n_rows - built.n_unlabelled:,} with labels")
    if written.n_unmatched:
        logger.warning(
            "%d keys or images have no partner: all are in %s",
            written.n_unmatched,
            outputs.unmatched,
        )
    if written.why_not_scored:
        text = "nothing can be scored yet: %s; the study makes tiles, embeddings and maps"
        logger.warning(text, written.why_not_scored)
    typer.echo(f"\nLook at {outputs.overview} first. Then:")
    typer.echo(f"  {shlex.join(['transferscope', 'study', 'check', str(outputs.study)])}")
    typer.echo(f"  {run_command('--cores', '2', configs=[outputs.study])}")

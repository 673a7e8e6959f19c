"""`transferscope backbone`: which cards there are, their weights, and cards for other files."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, Typer

from transferscope.cards import BackboneCard
from transferscope.cards.lookup import card_roots, locate_card
from transferscope.commands.catalogue import catalogue, markdown
from transferscope.commands.options import (
    AsJson,
    file_out,
    path_argument,
    print_json,
    print_table,
    text_path,
)
from transferscope.config.model import read_model
from transferscope.errors import Problem, UserError, suggest
from transferscope.runtime.plain_files import folder_problem, require_file

if TYPE_CHECKING:
    from transferscope.backbones.inspection import Inspection

app = Typer(
    no_args_is_help=True, help="List backbones, fetch their weights, inspect checkpoint files."
)

WIDE = 200

CheckpointFile = Annotated[
    Path, path_argument("Checkpoint file (.safetensors, .pth, .pt, .ckpt).", "FILE")
]
Layout = Annotated[str, Option(help="Naming scheme of the weights; auto: detected.")]
StateKey = Annotated[
    str | None, Option(help="Network to read, such as student. Default: the teacher.")
]
Architecture = Annotated[
    str | None, Option(help="A timm model name, if the file does not give it.")
]
Heads = Annotated[
    int | None,
    Option(min=1, help="Number of attention heads, which most weights do not tell."),
]


@app.command("list")
def list_cards(
    folder: Annotated[Path, text_path("Folder of cards, here and next to the workflow.")] = Path(
        "resources/backbones"
    ),
    as_json: AsJson = False,
    as_markdown: Annotated[
        bool, Option("--markdown", help="Print published weights as a table for a page.")
    ] = False,
) -> None:
    """List every backbone card: channels, size, features, licence, and where its weights are."""
    folders = [root / folder for root in card_roots() if (root / folder).is_dir()]
    if problems := [problem for each in folders if (problem := folder_problem(each))]:
        raise UserError(problems)
    if not folders:
        what = "no such folder, here or next to the workflow"
        raise UserError(Problem(str(folder), what, "Give a folder of backbone cards."))
    entries = catalogue(folders)
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    if as_markdown:
        print(markdown(entries))
        return
    rows = [
        [e.name, e.channels, str(e.input_size), str(e.features or ""), e.weights, e.licence]
        for e in entries
    ]
    columns = ["backbone", "channels", "px", "features", "weights", "licence"]
    # A table in a pipe is read by programs: no wrapping at the width of a terminal.
    width = None if sys.stdout.isatty() else WIDE
    print_table(columns, rows, left=("channels", "weights", "licence"), width=width)


@app.command()
def fetch(
    cards: Annotated[list[str], Argument(metavar="NAME...", help="Cards, by name or path.")],
) -> None:
    """Fetch the weights of backbones into the cache, for jobs on machines without a network."""
    from transferscope.backbones.networks import build_backbone
    from transferscope.costs.weights import weights_state

    problems: list[Problem] = []
    for name in cards:
        try:
            found = locate_card(name, "backbones", BackboneCard, card_roots())
            if found.card.is_network:
                build_backbone(found.card, found.path)
            print(f"{found.card.name}: {weights_state(found.card, found.path)}")
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)


@app.command()
def inspect(
    file: CheckpointFile,
    layout: Layout = "auto",
    state_key: StateKey = None,
    architecture: Architecture = None,
    heads: Heads = None,
    as_json: AsJson = False,
) -> None:
    """Show the contents of a checkpoint file, without running any code in it.

    Exits with 1 where no network takes the weights.
    """
    found = _inspected(file, layout, state_key, architecture, heads)
    if as_json:
        print_json(found.as_dict())
    else:
        _show(_rows(found))
    raise Exit(0 if found.problem is None else 1)


@app.command()
def card(
    file: CheckpointFile,
    name: Annotated[str | None, Option(help="Name of the card. Default: the file's.")] = None,
    output: Annotated[
        Path | None, file_out("Card to write. Default: NAME.yaml in the working folder.")
    ] = None,
    layout: Layout = "auto",
    state_key: StateKey = None,
    architecture: Architecture = None,
    heads: Heads = None,
) -> None:
    """Write a backbone card for a checkpoint file, ready to use in a study."""
    from transferscope.backbones.card_text import card_name, card_text
    from transferscope.backbones.checks import check_backbone
    from transferscope.runtime.atomic_files import write_atomically

    found = _inspected(file, layout, state_key, architecture, heads)
    if found.problem is not None:
        raise UserError(found.problem)
    chosen = name or (output.stem if output else card_name(file))
    path = output or Path(f"{chosen}.yaml")
    if path.exists():
        fix = "Remove it, or give another --output."
        raise UserError(Problem(str(path), "the card exists already", fix))
    write_atomically(path, card_text(found, chosen, path.parent))
    # Report at once what would keep a run from using the card.
    if problems := check_backbone(read_model(path, BackboneCard), path):
        raise UserError(problems)
    print(f"wrote {path}")
    for remark in found.converted.remarks:
        print(f"to check: {remark}")


def _inspected(
    file: Path,
    layout: str,
    state_key: str | None,
    architecture: str | None,
    heads: int | None,
) -> Inspection:
    from transferscope.backbones.inspection import inspect_checkpoint
    from transferscope.checkpoints.conversion import AUTO
    from transferscope.checkpoints.layouts import LAYOUTS

    known = [AUTO, *dict.fromkeys(one.name for one in LAYOUTS)]
    if layout not in known:
        problem = Problem("--layout", f'unknown layout "{layout}"', suggest(layout, known))
        raise UserError(problem)
    if folder_problem(file) is None:
        fix = (
            "Give the file of weights in it; for a folder that transformers saved, write a card "
            "with `source: transformers`."
        )
        raise UserError(Problem(str(file), "is a folder", fix))
    return inspect_checkpoint(require_file(file), layout, state_key, architecture, heads)


def _rows(found: Inspection) -> list[tuple[str, str]]:
    """Return the lines to show about a file, as label and text."""
    converted, network = found.converted, found.converted.network
    arguments = ", ".join(f"{key}: {value}" for key, value in network.arguments.items())
    prefix = converted.located.prefix
    rows = [
        ("file", f"{found.path} ({found.format}, {found.n_bytes / 1e6:.1f} MB)"),
        ("sha256", found.sha256),
        ("layout", converted.layout + (f", weights under {prefix}" if prefix else "")),
        ("architecture", network.architecture + (f" ({arguments})" if arguments else "")),
        ("patch size", f"{network.patch_size} px" if network.patch_size else "none"),
        ("image size", f"{network.image_size} px" if network.image_size else "any"),
        ("other image sizes", _RESAMPLING[converted.positions] if network.image_size else "any"),
        ("input channels", str(network.channels)),
        ("suggested slots", ", ".join(converted.slots)),
        ("embedding", f"{network.embed_dim} features, {network.depth} blocks"),
        ("parameters", f"{found.parameters:,}"),
        ("matched weights", str(found.matched)),
    ]
    for kind, paths in found.leftovers().items():
        shown = ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
        rows.append((f"left over: {kind}", f"{len(paths)}: {shown}"))
    rows += [("warning", f"of unknown purpose: {n}") for n in converted.unknown_leftovers()]
    rows += [("to check", remark) for remark in converted.remarks]
    verdict = str(found.problem) if found.problem else "every weight of the encoder is matched"
    return [*rows, ("verdict", verdict)]


_RESAMPLING = {
    "scale-factor": "positions resampled as DINO does it, bicubic by a scale factor",
    "scale-factor-always": "positions resampled as DINO does it, bicubic by a scale factor",
    "size": "positions resampled bicubically",
    "antialiased": "positions resampled bicubically, with antialiasing",
    "sin-cos": "fixed positions, computed anew",
}


def _show(rows: list[tuple[str, str]]) -> None:
    if not sys.stdout.isatty():
        for label, text in rows:
            print(f"{label}: {text}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for label, text in rows:
        table.add_row(Text(label, style="bold"), Text(text))
    Console().print(table)

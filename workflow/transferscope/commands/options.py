"""Options that several commands share, and how commands print; cards and settings are read here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.cards.lookup import Located
from transferscope.config.channel_strategies import WILDCARD, check_name
from transferscope.config.model import read_model, validate
from transferscope.errors import Problem, UserError
from transferscope.runtime.json_text import parse_json
from transferscope.runtime.plain_files import (
    file_problem,
    folder_problem,
    name_problem,
    output_problem,
)
from transferscope.transport.urls import is_url

BASE_CONFIG = "config.yaml"
GIB = 2**30


class GivenFiles:
    """The files that the options of this call name: no command reads a file that it writes."""

    def __init__(self) -> None:
        self._is_written: dict[str, bool] = {}

    def start(self) -> None:
        """Forget the files of an earlier call in the same process."""
        self._is_written.clear()

    def conflict(self, path: Path, *, written: bool) -> Problem | None:
        """Note a file; return why it cannot be written, if it is named otherwise as well."""
        before = self._is_written.setdefault(os.path.realpath(path), written)
        if before == written:
            return None
        what = "would be read and written over by the same command"
        return Problem(str(path), what, "Give another path to write to.")


given_files = GivenFiles()


def same_path(one: Path, other: Path) -> bool:
    """Return whether two paths lead to the same place, which need not exist."""
    with suppress(ValueError):  # a path that no file system takes is refused where it is read
        return os.path.realpath(one) == os.path.realpath(other)
    return False


def _card(model: Any, what: str) -> Any:
    def read(path: str) -> Located[Any]:
        problem = name_problem(path) or given_files.conflict(Path(path), written=False)
        if problem:
            raise UserError(problem)
        return Located(read_model(Path(path), model), Path(path))

    return Option(parser=read, metavar="PATH", help=f"{what} card (.yaml).")


def raw_channels(pairs: Sequence[str]) -> dict[str, str]:
    """Return raw name -> channel of texts such as `red=microtubules`.

    Raises
    ------
    UserError
        Where one has another form, or two raw names would be one channel.
    """
    for pair in pairs:
        if pair.count("=") != 1:
            fix = "Write it as --channel red=microtubules."
            raise UserError(Problem("--channel", f'"{pair}" names no raw name and channel', fix))
    named = [pair.split("=")[1] for pair in pairs]
    if twice := next((channel for channel in named if named.count(channel) > 1), None):
        what = f'two raw names are given to the channel "{twice}"'
        raise UserError(Problem("--channel", what, "Give each a name of its own."))
    return dict(pair.split("=") for pair in pairs)


def settings_option(kind: Any) -> Any:
    """Return an option that takes settings of one kind as JSON."""
    about = "Settings of this step as JSON; keys that are left out have their defaults."
    return json_option(lambda text: settings_from_json(text, kind), about, default="{}")


def json_option(parser: Callable[[str], Any], about: str, default: str | None = None) -> Any:
    """Return an option that is given as JSON and read by a function."""
    factory = None if default is None else lambda: default
    return Option(
        parser=parser, metavar="JSON", help=about, default_factory=factory, show_default=False
    )


def settings_from_json(text: str, kind: Any) -> Any:
    """Return the settings of a step, given as JSON.

    Raises
    ------
    UserError
        Where the text is not JSON, or no such settings.
    """
    return validate(parsed_json(text, "--settings"), kind, "--settings")


def strategy_name(text: str) -> str:
    """Return the name of a channel strategy, as a store has it.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    if re.fullmatch(WILDCARD, text):
        return text
    try:
        check_name(text)
        what = f'"{text}" has a seed, such as "{text}-0"'
    except ValueError as error:
        what = str(error)
    raise UserError(Problem("--channels", what, "Give the name of the store's strategy."))


def parsed_json(text: str, option: str) -> Any:
    """Return the value of an option that is given as JSON.

    Raises
    ------
    UserError
        Where the text is not JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if again := next((name for name in names if names.count(name) > 1), None):
            raise UserError(Problem(option, f'the key "{again}" is given twice', "Keep one."))
        return dict(pairs)

    try:
        return parse_json(text, once)
    except ValueError as error:
        fix = f"Write it as JSON, in quotes for the shell: {option} '{{...}}'"
        raise UserError(Problem(option, f"not valid JSON: {error}", fix)) from None


def _paths(
    check: Callable[[Path], Problem | None], *, written: bool | None = None
) -> Callable[..., Path]:
    """Return a parser of paths that refuses what the command could not use, before it starts.

    Parameters
    ----------
    check
        Returns why a path cannot be used.
    written
        Whether the command writes this file, or reads it; None: neither is known.
    """

    def path(given: str | Path) -> Path:
        if is_url(str(given)):
            raise UserError(Problem(str(given), "is a URL, not a path", "Give a path."))
        problem = name_problem(str(given)) or check(Path(given))
        if problem is None and written is not None:
            problem = given_files.conflict(Path(given), written=written)
        if problem is not None:
            raise UserError(problem)
        return Path(given)

    return path


# Every option or argument that is a path is one of these.
def text_path(about: str, **more: Any) -> Any:
    """Return an option for a path that the command itself looks up."""
    return Option(parser=_paths(lambda _: None), metavar="PATH", help=about, **more)


def file_in(about: str, **more: Any) -> Any:
    """Return an option for a file to read."""
    parser = _paths(file_problem, written=False)
    return Option(parser=parser, metavar="PATH", help=about, **more)


def file_out(about: str, **more: Any) -> Any:
    """Return an option for a file to write."""
    parser = _paths(output_problem, written=True)
    return Option(parser=parser, metavar="PATH", help=about, **more)


def folder_out(about: str, **more: Any) -> Any:
    """Return an option for a folder to write into."""
    check = partial(output_problem, folder=True)
    return Option(parser=_paths(check), metavar="PATH", help=about, **more)


def path_argument(about: str, metavar: str) -> Any:
    """Return an argument for a path that the command itself looks up."""
    return Argument(parser=_paths(lambda _: None), metavar=metavar, help=about)


def file_argument(about: str, metavar: str) -> Any:
    """Return an argument for a file to read."""
    return Argument(parser=_paths(file_problem, written=False), metavar=metavar, help=about)


def folder_argument(about: str, metavar: str) -> Any:
    """Return an argument for a folder to read."""
    return Argument(parser=_paths(folder_problem), metavar=metavar, help=about)


def file_or_folder_argument(about: str, metavar: str) -> Any:
    """Return an argument for a file, or a folder of files, to read."""

    def check(path: Path) -> Problem | None:
        with suppress(OSError, ValueError):  # said below
            if path.is_dir():
                return folder_problem(path)
        return file_problem(path)

    return Argument(parser=_paths(check), metavar=metavar, help=about)


ManifestIn = Annotated[Path, file_in("Manifest (.json) of the store to read.")]
ManifestOut = Annotated[Path, file_out("Manifest to write; the store is written next to it.")]
CardIn = Annotated[Located[DatasetCard], _card(DatasetCard, "Dataset")]
BackboneIn = Annotated[Located[BackboneCard], _card(BackboneCard, "Backbone")]
TableIn = Annotated[Path, file_in("Tile table (.parquet).")]
TableOut = Annotated[Path, file_out("Tile table to write (.parquet).")]
ConfigIn = Annotated[Path, file_argument("Study config (.yaml).", "CONFIG")]
PatternIn = Annotated[
    str | None, Option(help="Pattern of the file names, such as '{group}_{fov}.tif'.")
]
RawChannelsIn = Annotated[
    list[str] | None,
    Option(help="raw=channel: what a raw channel name shows; may be repeated."),
]
LabelsIn = Annotated[
    str | None,
    Option(help="table.csv:key_column:label_column: table to look up labels in."),
]
NoLabelsIn = Annotated[
    list[str] | None,
    Option(help="A label that means no label, such as Unknown; may be repeated."),
]
AsJson = Annotated[bool, Option("--json", help="Print JSON, for programs.")]


def print_json(value: object) -> None:
    """Print plain data as JSON."""
    typer.echo(json.dumps(value, indent=2))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    *,
    left: Sequence[str] = (),
    width: int | None = 100,
) -> None:
    """Print a table of texts.

    Parameters
    ----------
    columns, rows
        Headings and cells.
    title
        Line above it.
    left
        Columns aligned to the left in addition to the first; all others are to the right.
    width
        Width to wrap at; None: the terminal's.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        to_left = column in (columns[0], *left)
        table.add_column(column, justify="left" if to_left else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=width, highlight=False).print(table)


def size_text(n_bytes: float) -> str:
    """Return a size in KiB, MiB or GiB."""
    if n_bytes >= GIB / 10:
        return f"{n_bytes / GIB:.1f} GiB"
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.0f} KiB"

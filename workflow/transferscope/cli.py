"""The one command line: each step of the workflow, and what a user needs beside it."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import IO, Annotated, Any, Optional

import typer

from transferscope.errors import Problem, UserError

app = typer.Typer(
    name="transferscope",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find which pretrained backbone transfers to a microscope, and how many labels it needs.",
)

ManifestIn = Annotated[Path, typer.Option(help="Manifest (.json) of the store to read.")]
CardPath = Annotated[Path, typer.Option(help="Dataset card (.yaml).")]
SettingsJson = Annotated[str, typer.Option(help="Settings of this step as JSON; the defaults else.")]
TableIn = Annotated[Path, typer.Option(help="Tile table (.parquet).")]


class _Tee:
    """Write to several streams; never a terminal, so that bars come as lines."""

    def __init__(self, *streams: IO[str]) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
        self.flush()
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()

    def isatty(self) -> bool:
        return False


@app.callback()
def _global_options(
    log: Annotated[
        Optional[Path],  # noqa: UP007, UP045
        typer.Option(help="Copy messages, progress and errors into this file, too."),
    ] = None,
) -> None:
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr = _Tee(sys.__stderr__ or sys.stderr, log.open("w", encoding="utf-8"))  # type: ignore[assignment]
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr, force=True
    )


def main() -> None:
    """Run the command line; a user's mistake ends in a message, not in a traceback."""
    try:
        app()
    except UserError as error:
        print(f"transferscope: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        # Also into the log file, which the default hook would miss.
        logging.getLogger(__name__).exception("an unexpected error; please report it")
        sys.exit(2)


def _settings(text: str, kind: Any) -> Any:
    from transferscope.models import validate

    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(Problem("--settings", f"not valid JSON: {error}")) from None
    return validate(value, kind, "--settings")

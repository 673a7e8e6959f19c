"""The command line: each step of the workflow, and the commands for users."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

from typer import Context, Exit, Option, Typer

from transferscope.commands import (
    backbone,
    data,
    embed,
    given,
    init,
    label,
    masks,
    panels,
    predict,
    probe,
    relate,
    results,
    run,
    strategies,
    study,
    upkeep,
)
from transferscope.commands.options import file_out, folder_out, given_files, same_path
from transferscope.errors import Problem, UserError, escaped, first_line, masked
from transferscope.runtime.allocator import keep_freed_memory
from transferscope.runtime.atomic_files import disk_problem, writing

if TYPE_CHECKING:
    from transferscope.commands.recording import Recording

logger = logging.getLogger(__name__)


def _recording(results: Path | None, record: str | None) -> Recording | None:
    # The first of several processes that train together writes log and record.
    if results is None or record is None or not _is_first():
        return None
    from transferscope.commands.recording import Recording

    return Recording.of(results, record)


def _is_first() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


def _end(_: object, results: Path | None, record: str | None, **__: object) -> None:
    """Record the files of a job that has ended well."""
    if recording := _recording(results, record):
        recording.end()


app = Typer(
    name="transferscope",
    cls=panels.Grouped,
    result_callback=_end,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find which pretrained backbone transfers to a microscope, and how many labels it needs.",
)

for steps in (init, run, label, predict, data, given, embed, probe, results, relate):
    app.add_typer(steps.app)
app.add_typer(backbone.app, name="backbone")
app.add_typer(masks.app, name="masks")
app.add_typer(strategies.app, name="strategies")
app.add_typer(study.app, name="study")
upkeep.mount(app)


def _say_version(asked: bool) -> None:
    if asked:
        from transferscope import __version__

        print(f"transferscope {__version__}")
        raise Exit


class _Tee:
    """Write to several streams; never a terminal, so that progress bars are printed as lines."""

    def __init__(self, *streams: IO[str]) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            # A full disk must not hide the message that says so.
            with contextlib.suppress(OSError):
                stream.write(text)
        self.flush()
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            with contextlib.suppress(OSError):
                stream.flush()

    def isatty(self) -> bool:
        return False


@app.callback()
def _global_options(
    context: Context,
    log: Annotated[
        Path | None, file_out("Also write messages, progress and errors to this file.")
    ] = None,
    version: Annotated[
        bool,
        Option("--version", is_eager=True, callback=_say_version, help="Say which version it is."),
    ] = False,
    results: Annotated[
        Path | None, Option(hidden=True, help="Folder of the study whose job this is.")
    ] = None,
    record: Annotated[
        str | None, Option(hidden=True, help="The job, as JSON, whose files are recorded.")
    ] = None,
) -> None:
    _log_to_stderr()
    given_files.start()
    if log is not None and _is_first():
        given_files.conflict(log, written=True)
        _check_log(log)
        context.with_resource(_exclusive(log))
        with writing(log):
            copy = log.open("w", encoding="utf-8", errors="backslashreplace")
        sys.stderr = _Tee(sys.__stderr__ or sys.stderr, copy)
        _log_to_stderr()
    if recording := _recording(results, record):
        recording.begin()


def _check_log(log: Path) -> None:
    """Refuse a log that the command names as another file: it is emptied before that is read."""
    words = [word.rpartition("=")[2] for word in sys.argv[1:]]
    named = [word for word in words if "\0" not in word and same_path(Path(word), log)]
    if len(named) > 1:
        fix = "Give another path to write to."
        raise UserError(Problem(str(log), "is the log and another file of the command", fix))


class _Escaping(logging.Formatter):
    """Escapes control characters in messages: names of files may hold any."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(masked(super().format(record)))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Escaping("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _escape_what_is_no_text() -> None:
    """Print names of files that are not UTF-8 with escapes, where this would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _exclusive(log: Path) -> Iterator[None]:
    """Wait for the same job of an earlier run, which writes the same log.

    A worker may outlive a Snakemake that was killed. Two writers would corrupt the result.
    """
    from transferscope.runtime.locks import exclusive

    with contextlib.ExitStack() as held:
        with writing(log):
            lock = exclusive(log.with_name(f".{log.name}.lock"), "the same job, of an earlier run")
            held.enter_context(lock)
        yield


def main() -> None:
    """Run the command line; a user's mistake ends in a message, not in a traceback."""
    keep_freed_memory()
    _escape_what_is_no_text()
    try:
        app(prog_name="transferscope")
    except UserError as error:
        print(f"transferscope: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if isinstance(error, MemoryError):
            fix = "Ask for less at once, such as smaller batches, or take a larger machine."
            too_small = Problem("memory", f"is too small: {first_line(error)}", fix)
            print(f"transferscope: {UserError(too_small)}", file=sys.stderr)
            sys.exit(1)
        if problem := disk_problem(error):
            print(f"transferscope: {UserError(problem)}", file=sys.stderr)
            sys.exit(1)
        # Also into the log file, which the default hook would miss.
        logger.exception("an unexpected error; please report it")
        sys.exit(2)


@app.command()
def schemas(
    output: Annotated[Path, folder_out("Folder to write into.")],
    defaults: Annotated[
        Path | None, file_out("File for the defaults of a study to write (.yaml).")
    ] = None,
) -> None:
    """Write the JSON schemas of config and cards, and the defaults of a study."""
    from transferscope.commands.schemas import write_schemas
    from transferscope.runtime.atomic_files import write_atomically
    from transferscope.study.defaults import defaults_text

    write_schemas(output)
    if defaults is not None:
        write_atomically(defaults, defaults_text())


panels.group(app)

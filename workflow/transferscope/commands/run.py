"""`transferscope run` and `transferscope demo`: the workflow that comes with the package."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer import Argument, Context, Typer

from transferscope.commands.options import folder_out, given_files
from transferscope.errors import Problem, UserError, suggest
from transferscope.runtime.atomic_files import require_writable, write_atomically
from transferscope.runtime.plain_files import file_problem, name_problem
from transferscope.runtime.shipped import DEMO, PROFILES, SNAKEFILE, STUDIES

app = Typer()
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
# Options of Snakemake that say how many cores or jobs there are, where they begin a word.
CORES = ("--cores", "-c", "--jobs", "-j", "--profile", "--workflow-profile", "--executor", "-e")
OWN_FILE = ("--configfile", "--configfiles", "--snakefile", "-s")
DEMO_STUDY = "demo.yaml"
OWN_CACHE = Path(".snakemake") / "cache"

logger = logging.getLogger(__name__)


def _study(text: str) -> Path:
    """Return the file of a study, given as a path or as the name of a ready study."""
    if problem := name_problem(text) or given_files.conflict(Path(text), written=False):
        raise UserError(problem)
    given = Path(text)
    ready = {path.stem: path for path in sorted(STUDIES.glob("*.yaml"))}
    if text in ready and not given.exists():
        return ready[text]
    problem = file_problem(given)
    if problem and not given.suffix and text.isprintable():
        raise UserError(Problem(text, "is no file, and no ready study", suggest(text, [*ready])))
    if problem:
        raise UserError(problem)
    return given


StudyIn = Annotated[
    Path,
    Argument(parser=_study, metavar="STUDY", help="Study config (.yaml), or a ready study's name."),
]


@app.command(context_settings=PASS_ON)
def run(context: Context, config: StudyIn) -> None:
    """Run a study, or go on with it. What follows the config are options of Snakemake.

    Without --cores all cores are used. `transferscope run my.yaml -n` says what would run, and
    `transferscope run my.yaml --workflow-profile slurm` takes a profile of the package.
    """
    from transferscope.config.model import validate
    from transferscope.config.study import StudyConfig
    from transferscope.study.defaults import merged_config

    # Says what is wrong with the file in fewer words than Snakemake.
    validate(merged_config(config), StudyConfig, str(config))
    _become(snakemake_words(config, context.args))


@app.command(context_settings=PASS_ON)
def demo(
    context: Context,
    output: Annotated[Path, folder_out("Folder for the demo's study and results.")] = Path(),
) -> None:
    """Run the demo, offline: it writes demo.yaml, a study to change, and runs it."""
    study = output / DEMO_STUDY
    require_writable(output)
    output.mkdir(parents=True, exist_ok=True)
    if not study.exists():
        write_atomically(study, DEMO.read_text(encoding="utf-8"))
        typer.echo(f"wrote {study}", err=True)
    os.chdir(output)
    _become(snakemake_words(Path(DEMO_STUDY), context.args))


def snakemake_words(config: Path, more: Sequence[str]) -> list[str]:
    """Return the command that runs a study, without the program.

    Parameters
    ----------
    config
        File of the study.
    more
        Options of Snakemake; the name of a profile that comes with the package is enough.

    Raises
    ------
    UserError
        If they name another study or workflow.
    """
    for word in more:
        if word.partition("=")[0] in OWN_FILE:
            fix = "Leave it out, or call snakemake itself."
            raise UserError(Problem(word, "is what `transferscope run` itself gives", fix))
    cores = [] if any(word.startswith(CORES) for word in more) else ["--cores", "all"]
    start = ["--snakefile", str(SNAKEFILE), "--configfile", str(config)]
    return [*start, *cores, *_with_profile(more)]


def _with_profile(words: Sequence[str]) -> list[str]:
    """Return options in which the name of a profile of the package is its folder."""
    found = []
    is_profile = False
    for word in words:
        option, equals, value = word.partition("=")
        if is_profile:
            word = _profile(word)
        elif option == "--workflow-profile" and equals:
            word = f"{option}={_profile(value)}"
        is_profile = word == "--workflow-profile"
        found.append(word)
    return found


def _profile(name: str) -> str:
    own = PROFILES / Path(name).name
    is_own = str(Path(name).parent) in (".", "profiles") and own.is_dir()
    return str(own) if is_own and not Path(name).exists() else name


def _become(words: Sequence[str]) -> NoReturn:
    """Become Snakemake, so that it gets what this process is sent, such as Ctrl-C.

    The jobs call `transferscope` of this Python, also where its environment is not active.
    """
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, *filter(None, [os.environ.get("PATH")])])
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    program = [sys.executable, "-m", "snakemake", *words]
    os.execve(sys.executable, program, {**os.environ, **own_places(os.environ), "PATH": path})


def own_places(environment: Mapping[str, str]) -> dict[str, str]:
    """Return another folder of caches where the user's own cannot be written.

    So it is for a user without a home, as in a container; Snakemake would end in a traceback.
    """
    if "XDG_CACHE_HOME" in environment:
        return {}
    usual = Path("~/.cache").expanduser()
    try:
        usual.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=usual):
            pass
    except OSError as error:
        text = "%s cannot be written (%s); caches are in %s (set XDG_CACHE_HOME for another place)"
        logger.warning(text, usual, error.strerror, OWN_CACHE)
        return {"XDG_CACHE_HOME": str(OWN_CACHE.absolute())}
    return {}

"""The command that runs a study, as it is printed for a person to paste."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from transferscope.runtime.shipped import IS_CLONE, SNAKEFILE

# Where Snakemake looks for a workflow by itself, in this order.
SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")


def run_command(*words: str, configs: Sequence[Path | str] = ()) -> str:
    """Return a command that runs this workflow, quoted for the shell.

    In a clone it is Snakemake's own; of an installed package, `transferscope run`.

    Parameters
    ----------
    words
        Arguments.
    configs
        The files of the study; none: the working folder's own.
    """
    if not IS_CLONE and len(configs) == 1:
        return shlex.join(["transferscope", "run", _from_here(Path(configs[0])), *words])
    command = ["snakemake", *words]
    if not any(Path(name).is_file() for name in SNAKEFILES):
        command += ["--snakefile", str(SNAKEFILE)]
    if configs:
        command += ["--configfile", *map(str, configs)]
    return shlex.join(command)


def _from_here(path: Path) -> str:
    """Return a path as one would type it; Snakemake makes those that it is given absolute."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)

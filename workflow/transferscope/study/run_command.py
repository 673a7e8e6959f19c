"""The command that runs a study, as it is printed for a person to paste."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from transferscope.cards.lookup import SHIPPED

# Where Snakemake looks for a workflow by itself, in this order.
SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")


def run_command(*words: str, configs: Sequence[Path | str] = ()) -> str:
    """Return a command of Snakemake for this workflow, quoted for the shell.

    Parameters
    ----------
    words
        Arguments.
    configs
        The files of the study; none: the working folder's own.
    """
    command = ["snakemake", *words]
    if not any(Path(name).is_file() for name in SNAKEFILES):
        command += ["--snakefile", str(SHIPPED / SNAKEFILES[0])]
    if configs:
        command += ["--configfile", *map(str, configs)]
    return shlex.join(command)

"""What is wrong with a file of a study, and how it is repaired."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from transferscope.stores.manifest import store_of
from transferscope.transport.access import PUBLISH_AGAIN


@dataclass(frozen=True)
class Fault:
    """A file that is not what was written, or not what the study asks for.

    Parameters
    ----------
    file
        Manifest of a store, or any other file.
    what
        What is wrong.
    block
        Block of the store; None: the whole file.
    is_far
        Whether it is a published store elsewhere, which has to be repaired there.
    outputs
        Outputs of the same job that have to be removed for the job to run again.
    fix
        What to do where nothing has to be removed; None: remove it, and run the study.
    keeps_store
        Whether the store of the manifest is sound and stays.
    """

    file: Path
    what: str
    block: int | None = None
    is_far: bool = False
    outputs: tuple[Path, ...] = ()
    fix: str | None = None
    keeps_store: bool = False

    @property
    def is_store(self) -> bool:
        """Whether it is a store, described by a manifest."""
        return self.file.suffix == ".json" and not self.keeps_store and self.fix is None

    @property
    def removed(self) -> list[Path]:
        """What has to be removed, so that the next run makes it again."""
        own = [self.file, store_of(self.file)] if self.is_store else [self.file]
        return list(dict.fromkeys([*own, *self.outputs]))

    def repair(self, snakemake: str) -> str:
        """Return the commands that make the file again, or another way to repair it.

        Parameters
        ----------
        snakemake
            The command that runs the study.
        """
        if self.is_far:
            return PUBLISH_AGAIN
        if self.fix is not None:
            return self.fix
        return f"{shlex.join(['rm', '-rf', *map(str, self.removed)])} && {snakemake}"

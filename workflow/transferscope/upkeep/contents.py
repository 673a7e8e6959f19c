"""The files of a study that are exported and published."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transferscope.config.paths import StudyPaths
from transferscope.errors import Problem, UserError, first_line
from transferscope.steps.freshness import CUT_SHORT, outdated_jobs
from transferscope.steps.plan import Plan
from transferscope.stores.manifest import Manifest, store_of
from transferscope.stores.reader import CONVERSION_CUT, FINISH_CONVERSION
from transferscope.study.study import Study
from transferscope.upkeep.faults import Fault
from transferscope.upkeep.layout import results_below
from transferscope.upkeep.listed import Listing, expected_files
from transferscope.upkeep.manifests import half_converted, manifests_in
from transferscope.upkeep.ran import config_text, versions_text
from transferscope.upkeep.status import is_running

RUN_AGAIN = "Run the study again, or put back what it was made from."


@dataclass(frozen=True)
class Item:
    """One file, by its name for others.

    Parameters
    ----------
    name
        Path relative to the archive or publication.
    source
        Path on this machine, or the content.
    sha256
        Its checksum, if one was taken when it was written; None: the file is read.
    """

    name: str
    source: Path | bytes
    sha256: str | None = None

    @property
    def size(self) -> int:
        """Number of bytes."""
        with self.opened() as file:
            return file.seek(0, os.SEEK_END)

    def digest(self, kind: str) -> str:
        """Return a hexadecimal checksum, such as "sha256"."""
        if kind == "sha256" and self.sha256 is not None:
            return self.sha256
        new = partial(hashlib.new, kind, usedforsecurity=False)
        with self.opened() as file:
            return hashlib.file_digest(file, new).hexdigest()

    def opened(self) -> AbstractContextManager[io.BytesIO | io.BufferedReader]:
        """Open it for reading; raise a `UserError` if that fails."""
        return io.BytesIO(self.source) if isinstance(self.source, bytes) else _opened(self.source)


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        what = "was removed after the files were listed: the study is running"
        fix = "Wait until the run is finished, then repeat the command."
        raise UserError(Problem(str(path), what, fix)) from None
    except OSError as error:
        what = f"cannot be read ({first_line(error)})"
        raise UserError(Problem(str(path), what, "Let this user read it.")) from None
    with file:
        yield file


def descriptions(study: Study) -> list[Item]:
    """Return config, cards and versions; versions are those of the run, if it has recorded them."""
    cards = {f"datasets/{name}": card.path for name, card in sorted(study.all_datasets.items())}
    # Those of a grid or a sweep share one card.
    backbones = {study.card_name(name): one.path for name, one in study.backbones.items()}
    cards |= {f"backbones/{name}": backbones[name] for name in sorted(backbones)}
    ran = study.paths.versions
    versions = ran.read_bytes() if ran.exists() else versions_text(Plan(study).versions).encode()
    return [
        Item("config.yaml", config_text(study.config).encode()),
        *(Item(f"cards/{name}.yaml", path.read_bytes()) for name, path in cards.items()),
        Item("versions.json", versions),
    ]


def results(study: Study, prefix: str = "", *, stores: bool) -> list[Item]:
    """Return the result files of a study in a fixed order.

    Parameters
    ----------
    study
        The study.
    prefix
        Start of each name, before the path relative to the study's folder.
    stores
        Whether to include tile and embedding stores.

    Raises
    ------
    UserError
        If there are no results yet, or some of them are links.
    """
    root = study.paths.root
    files = sorted(_files(study.paths, stores=stores))
    if not files:
        what = "there are no results to export"
        raise UserError(Problem(str(root), what, "Run the study first."))
    listing = Listing.of(study.paths)
    sums = {path: listed.sha256 for path, listed in listing.files.items()}
    sums |= _recorded_sums(root) if stores else {}
    linked = _linked(study.paths, {path for path in sums if path.exists()} - set(files))
    if linked:
        raise UserError(linked)
    return [
        Item(prefix + path.relative_to(root).as_posix(), path, sums.get(path)) for path in files
    ]


def _linked(paths: StudyPaths, left_out: set[Path]) -> list[Problem]:
    """Return the links that results are, or lie behind: links are not followed to be sent."""
    parts: set[Path] = set()
    for path in left_out:
        within = [path, *path.parents]
        within = within[: within.index(paths.root)]
        parts |= {part for part in within if part.is_symlink()}
    return [
        Problem(
            str(part),
            "is a link, and what it leads to would be left out",
            f"Put the copy in its place: {_in_place(part)}",
        )
        for part in sorted(parts)
    ]


def _in_place(link: Path) -> str:
    """Return a command that puts what a link leads to in the place of the link."""
    there, new = str(link.resolve()), f"{link}.copy"
    copied = shlex.join(["cp", "-a", there, new])
    return f"{copied} && {shlex.join(['rm', str(link)])} && {shlex.join(['mv', new, str(link)])}"


def check_current(study: Study) -> None:
    """Check that the results are whole, and those of the settings and cards that go with them.

    Raises
    ------
    UserError
        Naming each file that is missing, and each result that was made from something else.
    """
    listing, plan = Listing.of(study.paths), Plan(study)
    faults = [*listing.faults, *listing.cut_short(is_running)]
    faults += [Fault(p, "is missing") for p in listing.files if not p.exists()]
    problems = [Problem(str(fault.file), fault.what, fault.fix or RUN_AGAIN) for fault in faults]
    cut = half_converted(study.paths.root)
    problems += [Problem(str(path), CONVERSION_CUT, FINISH_CONVERSION) for path in cut]
    for one in outdated_jobs(plan, is_running):
        if CUT_SHORT not in one.reasons:
            reasons = ", ".join(one.reasons)
            what = f"was made from something else than config and cards say now: {reasons}"
            problems.append(Problem(str(one.files[-1]), what, RUN_AGAIN))
    if problems:
        raise UserError(problems)


def uncompared(study: Study) -> list[Path]:
    """Return the results that no job has recorded, so that nothing says what they have to be."""
    asked = expected_files(Plan(study))
    unlisted = Listing.of(study.paths).unlisted()
    return sorted(path for path in unlisted if not asked.isdisjoint((path, *path.parents)))


def altered(item: Item) -> Problem:
    """Return the problem of a file that is not what was written."""
    what = "is not what was written: its sha256 differs"
    return Problem(str(item.source), what, "See `transferscope verify`, with the study's config.")


def _recorded_sums(root: Path) -> dict[Path, str]:
    """Return the checksums of the files of finished stores, as they were written."""
    found: dict[Path, str] = {}
    for manifest, kind in manifests_in(root):
        try:
            if Manifest.read(manifest, kind.format).store is not None:
                continue  # it is elsewhere, and nothing of it is packed
            store = kind(manifest)
        except UserError:
            continue  # a damaged store is packed as it is, as `verify` names it
        found |= {store_of(manifest) / name: sum_ for name, sum_ in store.sums().items()}
    return found


def _files(paths: StudyPaths, *, stores: bool) -> Iterator[Path]:
    described = paths.config, paths.versions
    found = results_below(paths.root, paths.root, stores=stores)
    return (path for path in found if path not in described)

"""A study in one archive: the same study gives the same bytes, and reading back verifies them."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transferscope.config.paths import StudyPaths
from transferscope.errors import Problem, UserError, first_line
from transferscope.runtime.atomic_files import replacing
from transferscope.runtime.checksum_list import CHECKSUMS, as_list, read_list
from transferscope.steps.plan import Plan
from transferscope.study.study import Study
from transferscope.upkeep.ran import config_text, versions_text

# How a run went, with times, and what its jobs tell each other: not part of what it found.
RECORDS = ("logs", "benchmarks", "raw", "parts")
# Folders and files next to a result that only the job which makes it reads.
WORKING = (".blocks", ".fields", ".parts", ".checkpoint.pt")


def export(study: Study, archive: Path, *, stores: bool) -> int:
    """Pack config, cards, versions and results of a study into a tar archive.

    Parameters
    ----------
    study
        The study.
    archive
        File to write (.tar), by rename.
    stores
        Pack tile and embedding stores, too.

    Returns
    -------
    int
        Number of files in the archive.

    Raises
    ------
    UserError
        Where the study has no results yet, or the archive cannot be written.
    """
    root = study.paths.root
    sums: dict[str, str] = {}
    files = results_of(root, stores=stores)
    with (
        replacing(archive) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as packed,
    ):

        def add(name: str, content: io.BytesIO | io.BufferedReader) -> None:
            sums[name] = hashlib.file_digest(content, "sha256").hexdigest()
            # Neither time nor user: the same study gives the same bytes.
            member = tarfile.TarInfo(f"{study.config.study}/{name}")
            member.size, member.mode = content.seek(0, os.SEEK_END), 0o644
            content.seek(0)
            packed.addfile(member, content)

        for name, text in descriptions(study).items():
            add(name, io.BytesIO(text))
        for file in files:
            with opened(file) as content:
                add(f"results/{file.relative_to(root).as_posix()}", content)
        add(CHECKSUMS, io.BytesIO(as_list(sums)))
    return len(sums)


def results_of(root: Path, *, stores: bool) -> list[Path]:
    """Return the files of a study that others may want, in a fixed order.

    Parameters
    ----------
    root
        Folder of the study.
    stores
        Whether those of tile and embedding stores are among them.

    Raises
    ------
    UserError
        Where there are none yet.
    """
    files = sorted(_results(root, stores=stores))
    if not files:
        what = "there are no results to export"
        raise UserError(Problem(str(root), what, "Run the study first."))
    return files


def _results(root: Path, *, stores: bool) -> Iterator[Path]:
    passing = WORKING if stores else (*WORKING, ".zarr")
    described = StudyPaths(root).config, StudyPaths(root).versions

    def lasting(names: Iterable[str]) -> list[str]:
        return [name for name in names if not name.startswith(".") and not name.endswith(passing)]

    # Not `rglob`: it fails where a running job removes a folder, and enters what is left out.
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = set(folders).difference(RECORDS)
        folders[:] = lasting(folders)
        for path in (Path(folder, name) for name in lasting(names)):
            # A link may lead to a file that is not of the study.
            if path.is_file() and not path.is_symlink() and path not in described:
                yield path


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file of a study to be read.

    Raises
    ------
    UserError
        Where it has gone since it was listed, or cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        what = "has gone since the files were listed: the study is running"
        fix = "Wait until the run is done, then give the command again."
        raise UserError(Problem(str(path), what, fix)) from None
    except OSError as error:
        what = f"cannot be read ({first_line(error)})"
        raise UserError(Problem(str(path), what, "Let this user read it.")) from None
    with file:
        yield file


def descriptions(study: Study) -> dict[str, bytes]:
    """Return config, cards and versions by the names under which they are exported.

    Versions are those of the run, where it has written them.
    """
    texts = {"config.yaml": config_text(study.config).encode()}
    files = {f"datasets/{name}": card.path for name, card in sorted(study.all_datasets.items())}
    files |= {f"backbones/{name}": card.path for name, card in sorted(study.backbones.items())}
    texts |= {f"cards/{name}.yaml": path.read_bytes() for name, path in files.items()}
    ran = study.paths.versions
    texts["versions.json"] = (
        ran.read_bytes() if ran.exists() else versions_text(Plan(study).versions).encode()
    )
    return texts


def verify_archive(archive: Path) -> int:
    """Read an archive back and compare every file with its checksum; nothing is unpacked.

    Returns
    -------
    int
        Number of files that were compared.

    Raises
    ------
    UserError
        Naming every file that is missing, damaged or not listed.
    """
    try:
        found, listing = _read(archive)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise UserError(Problem(str(archive), f"cannot be read: {first_line(error)}")) from None
    if listing is None:
        what = f"holds no {CHECKSUMS}: it is cut off, or no export of a study"
        raise UserError(Problem(str(archive), what, "Export the study again."))
    expected = read_list(listing)
    wrong = [
        Problem(f"{archive}, {member}", _difference(expected, found, member))
        for member in sorted(expected.keys() | found.keys())
        if expected.get(member) != found.get(member)
    ]
    if wrong:
        raise UserError(wrong)
    return len(expected)


def _difference(expected: dict[str, str], found: dict[str, str], member: str) -> str:
    if member not in found:
        return "is missing"
    return "differs from its checksum" if member in expected else "is not listed"


def _read(archive: Path) -> tuple[dict[str, str], bytes | None]:
    found: dict[str, str] = {}
    listing = None
    with tarfile.open(archive, "r:") as packed:
        for member in packed:
            name = member.name.partition("/")[2]
            content = packed.extractfile(member)
            if not isinstance(content, io.BufferedReader):
                found[name] = "not a file"
            elif name == CHECKSUMS:
                listing = content.read()
            else:
                found[name] = hashlib.file_digest(content, "sha256").hexdigest()
    return found, listing

"""Export of a study to one archive: equal studies give equal bytes, which can be verified."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

from transferscope.errors import Problem, UserError, first_line
from transferscope.runtime.atomic_files import replacing
from transferscope.runtime.checksum_list import CHECKSUMS, as_list, read_list
from transferscope.study.study import Study
from transferscope.upkeep.contents import Item, descriptions, results


def export(study: Study, archive: Path, *, stores: bool) -> int:
    """Pack config, cards, versions and results of a study into a tar archive.

    Parameters
    ----------
    study
        The study.
    archive
        File to write (.tar), by rename.
    stores
        Include tile and embedding stores.

    Returns
    -------
    int
        Number of files in the archive.

    Raises
    ------
    UserError
        If the study has no results yet, or the archive cannot be written.
    """
    sums: dict[str, str] = {}
    items = [*descriptions(study), *results(study, "results/", stores=stores)]
    with (
        replacing(archive) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as packed,
    ):

        def add(item: Item) -> None:
            sums[item.name] = item.digest("sha256")
            with item.opened() as content:
                # Neither time nor user: the same study gives the same bytes.
                member = tarfile.TarInfo(f"{study.config.study}/{item.name}")
                member.size, member.mode = content.seek(0, os.SEEK_END), 0o644
                content.seek(0)
                packed.addfile(member, content)

        for item in items:
            add(item)
        add(Item(CHECKSUMS, as_list(sums)))
    return len(sums)


def verify_archive(archive: Path) -> int:
    """Compare every file in an archive with its checksum, without unpacking it.

    Returns
    -------
    int
        Number of files compared.

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
        what = f"holds no {CHECKSUMS}: it is truncated, or not an export of a study"
        raise UserError(Problem(str(archive), what, "Export the study again."))
    expected = read_list(listing)
    problems = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            problems.append(Problem(f"{archive}, {name}", "is missing"))
        elif expected.get(name) != found[name]:
            what = "differs from its checksum" if name in expected else "is not listed"
            problems.append(Problem(f"{archive}, {name}", what))
    if problems:
        raise UserError(problems)
    return len(expected)


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

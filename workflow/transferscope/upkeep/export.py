"""Export of a study to one archive: equal studies give equal bytes, which can be verified."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import tarfile
from pathlib import Path

from transferscope.errors import Problem, UserError, first_line
from transferscope.runtime.atomic_files import replacing
from transferscope.runtime.checksum_list import CHECKSUMS, as_list, read_list
from transferscope.study.study import Study
from transferscope.upkeep.contents import Item, altered, check_current, descriptions, results

SUFFIX = ".tar"
# Programs that compress -> the first bytes of their files.
COMPRESSED = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"\x28\xb5\x2f\xfd",
}
NO_FILE = "is not a plain file"
# Long names; the sizes of large files.
PAX_KEYS = {"path", "size"}
MOST_LIST_BYTES = 1 << 30


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
    _check_place(study, archive)
    check_current(study)
    sums: dict[str, str] = {}
    problems: list[Problem] = []
    items = [*descriptions(study), *results(study, "results/", stores=stores)]
    with (
        replacing(archive) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as packed,
    ):

        def add(item: Item) -> None:
            with item.opened() as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
                sums[item.name] = digest
                if item.sha256 not in (None, digest):
                    problems.append(altered(item))
                # Neither time nor user: the same study gives the same bytes.
                member = tarfile.TarInfo(f"{study.config.study}/{item.name}")
                member.size, member.mode = content.seek(0, os.SEEK_END), 0o644
                content.seek(0)
                packed.addfile(member, content)

        for item in items:
            add(item)
        if problems:
            raise UserError(problems)
        add(Item(CHECKSUMS, as_list(sums)))
    return len(sums)


def _check_place(study: Study, archive: Path) -> None:
    """Refuse a name by which no archive is known, and a place that the next one would pack."""
    if archive.suffix != SUFFIX:
        fix = f"Name it {archive.with_suffix(SUFFIX)}, for instance."
        raise UserError(Problem(str(archive), f"the name of an archive ends with {SUFFIX}", fix))
    if archive.resolve().is_relative_to(study.paths.root.resolve()):
        what = "lies in the results of the study, which are what is packed"
        raise UserError(Problem(str(archive), what, "Write it elsewhere."))


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive, by its name or by its first bytes.

    Raises
    ------
    UserError
        If it is a compressed one.
    """
    try:
        with path.open("rb") as file:
            start = file.read(tarfile.BLOCKSIZE)
    except OSError:
        start = b""
    for program, mark in COMPRESSED.items():
        if start.startswith(mark):
            plain = str(path.with_suffix("")) if path.stem.endswith(SUFFIX) else f"{path}{SUFFIX}"
            plain += SUFFIX if Path(plain).exists() else ""
            fix = f"{program} -dc {shlex.quote(str(path))} > {shlex.quote(plain)}"
            what = "is compressed, and archives of studies are not: nothing of it was checked"
            raise UserError(Problem(str(path), what, f"Uncompress it first: {fix}"))
    return path.suffix == SUFFIX or start[257:262] == b"ustar"


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
        found, listing, problems = _read(archive)
    except (OSError, tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise UserError(Problem(str(archive), f"cannot be read: {first_line(error)}")) from None
    if listing is None:
        what = f"holds no {CHECKSUMS}: it is truncated, or not an export of a study"
        raise UserError([Problem(str(archive), what, "Export the study again."), *problems])
    expected = read_list(listing)
    if len(expected) != listing.count(b"\n") or "" in expected or not expected:
        what = "has lines without a file, or a file twice" if expected else "is empty"
        problems.append(Problem(f"{archive}, {CHECKSUMS}", what, "Export the study again."))
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            problems.append(Problem(f"{archive}, {name}", "is missing"))
        elif expected.get(name) != found[name]:
            what = "differs from its checksum" if name in expected else "is not listed"
            problems.append(Problem(f"{archive}, {name}", what))
    if problems:
        raise UserError(problems)
    return len(expected)


def _read(archive: Path) -> tuple[dict[str, str], bytes | None, list[Problem]]:
    """Return the sha256 of each file by its name below the top folder, the list, and problems.

    An archive holds plain files in one folder, each once, one directly after the other, and nothing
    after the last; whatever else there is in it has not been packed by `export`.
    """
    found: dict[str, str] = {}
    listing, problems, tops = None, [], set()
    size, end = archive.stat().st_size, 0
    with tarfile.open(archive, "r:") as packed:
        for member in packed:
            top, _, name = member.name.partition("/")
            tops.add(top)
            fault = _fault_of(member, name)
            if fault is None and (name in found or (name == CHECKSUMS and listing is not None)):
                fault = "is in it twice"
            if fault is None and member.offset_data + member.size > size:
                fault = "is cut off"
            if fault is None and member.offset != end:
                fault = "does not follow the file before it"
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            content = packed.extractfile(member) if fault is None else None
            if not isinstance(content, io.BufferedReader):
                problems.append(Problem(f"{archive}, {member.name}", fault or NO_FILE))
            elif name == CHECKSUMS:
                listing = content.read(MOST_LIST_BYTES)
            else:
                found[name] = hashlib.file_digest(content, "sha256").hexdigest()
    if len(tops) > 1:
        what = f"holds files in {len(tops)} folders, not one: {', '.join(sorted(tops))}"
        problems.append(Problem(str(archive), what, "Export the study again."))
    problems += _trailing(archive, end, size)
    return found, listing, problems


def _fault_of(member: tarfile.TarInfo, name: str) -> str | None:
    """Return why a member of an archive cannot be one that `export` has packed."""
    if member.issym() or member.islnk():
        return "is a link"
    if not member.isreg() or member.issparse():
        return NO_FILE
    if set(member.pax_headers) - PAX_KEYS:
        return "has a header that does not belong there"
    parts = member.name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts) or "\\" in member.name:
        return "has a name that leads elsewhere"
    return None


def _trailing(archive: Path, end: int, size: int) -> list[Problem]:
    """Return a problem if anything but zeros follows the last file, or the end is missing."""
    with archive.open("rb") as file:
        file.seek(end)
        # An archive ends with two blocks of zeros, and is filled up to a record.
        if size - end > 2 * tarfile.RECORDSIZE or file.read().strip(b"\0"):
            return [Problem(str(archive), "something follows its last file", "Export it again.")]
    if size - end < 2 * tarfile.BLOCKSIZE:
        return [Problem(str(archive), "its end is missing", "Export the study again.")]
    return []

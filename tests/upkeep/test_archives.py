"""An archive holds exactly what was packed: no other kind of member, none twice, nothing hidden."""

import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from transferscope.errors import UserError
from transferscope.runtime.checksum_list import CHECKSUMS, as_list
from transferscope.upkeep.export import verify_archive

FILES = {"config.yaml": b"study: a\n", "results/" + "n" * 120: b"long name", "results/x.csv": b"1"}
Members = list[tuple[tarfile.TarInfo, bytes]]


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def packed(top: str = "a") -> Members:
    """Return the members of a sound archive, its list last."""
    import hashlib

    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    found = [member(f"{top}/{name}", content) for name, content in FILES.items()]
    return [*found, member(f"{top}/{CHECKSUMS}", as_list(sums))]


def write(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def without_top(members: Members) -> None:
    for info, _ in members:
        info.name = info.name.partition("/")[2]


def other_top(members: Members) -> None:
    members[0][0].name = "b/config.yaml"


def doubled(members: Members) -> None:
    members.insert(1, members[0])


def doubled_with_other_content(members: Members) -> None:
    members.insert(0, member("a/config.yaml", b"study: b\n"))


def doubled_list(members: Members) -> None:
    members.insert(0, member(f"a/{CHECKSUMS}", b""))


def link(kind: bytes) -> Callable[[Members], None]:
    def add(members: Members) -> None:
        members.insert(0, member("a/results/y.csv", type=kind, linkname="../../etc/passwd"))

    return add


def parent(members: Members) -> None:
    members.insert(0, member("a/../x.csv", b"1"))


def absolute(members: Members) -> None:
    members.insert(0, member("/a/x.csv", b"1"))


def unlisted(members: Members) -> None:
    members.insert(0, member("a/results/more.csv", b"1"))


def device(members: Members) -> None:
    members.insert(0, member("a/results/fifo", type=tarfile.FIFOTYPE))


def folder(members: Members) -> None:
    members.insert(0, member("a/results/", type=tarfile.DIRTYPE))


def odd_header(members: Members) -> None:
    members[0][0].pax_headers = {"SCHILY.xattr.user.run": "1"}


def missing(members: Members) -> None:
    del members[0]


CHANGES = [without_top, other_top, doubled, doubled_with_other_content, doubled_list, parent]
CHANGES += [absolute, unlisted, device, folder, odd_header, missing]
CHANGES += [link(tarfile.SYMTYPE), link(tarfile.LNKTYPE)]


def test_what_was_packed_is_sound(tmp_path: Path) -> None:
    assert verify_archive(write(tmp_path / "a.tar", packed())) == len(FILES)


@pytest.mark.parametrize("change", CHANGES)
def test_any_other_member_is_named(tmp_path: Path, change: Callable[[Members], None]) -> None:
    members = packed()
    change(members)
    with pytest.raises(UserError):
        verify_archive(write(tmp_path / "a.tar", members))


def test_a_sparse_giant_is_refused_and_not_read(tmp_path: Path) -> None:
    info, content = member("a/results/big", b"")
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "0", "GNU.sparse.name": "a/results/big"}
    info.pax_headers = {**headers, "GNU.sparse.size": str(1 << 50), "GNU.sparse.numblocks": "0"}
    archive = write(tmp_path / "a.tar", [(info, content), *packed()])
    with pytest.raises(UserError, match="big"):
        verify_archive(archive)


def test_a_size_beyond_the_end_is_refused(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.tar", packed())
    header = tarfile.TarInfo("a/results/big")
    header.size = 1 << 40
    archive.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + archive.read_bytes())
    with pytest.raises(UserError):
        verify_archive(archive)


@pytest.mark.parametrize("what", ["appended", "in front", "second archive", "no end"])
def test_nothing_lies_around_the_files(tmp_path: Path, what: str) -> None:
    archive = write(tmp_path / "a.tar", packed())
    content = archive.read_bytes()
    changed = {
        "appended": content + b"more",
        "in front": bytes(512) + content,
        "second archive": content * 2,
        "no end": content[: content.rstrip(b"\0").__len__()],
    }[what]
    archive.write_bytes(changed)
    with pytest.raises(UserError):
        verify_archive(archive)


def test_any_change_of_an_archive_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    """Bits of times, users and padding say nothing; whatever else is changed is noticed."""
    archive = write(tmp_path / "a.tar", packed())
    content, chance = archive.read_bytes(), random.Random(0)
    used = len(content.rstrip(b"\0"))
    noticed = 0
    for _ in range(300):
        changed = bytearray(content)
        changed[chance.randrange(used)] ^= 1 << chance.randrange(8)
        archive.write_bytes(changed)
        try:
            verify_archive(archive)
        except UserError:
            noticed += 1
            continue
        with tarfile.open(archive) as opened:
            for info, expected in packed():
                found = opened.extractfile(info.name)
                assert found is not None
                assert found.read() == expected
    assert noticed > 100


def test_an_unreadable_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(os.urandom(2000))
    with pytest.raises(UserError, match="cannot be read"):
        verify_archive(tmp_path / "a.tar")

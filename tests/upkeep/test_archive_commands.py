"""Archives and publications through the command line: what is said, and what it vouches for."""

import bz2
import gzip
import json
import lzma
import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from test_archives import member, packed, write

from command_tree import run
from doc_pages import blocks
from factories import write_study
from transferscope.runtime.checksum_list import CHECKSUMS


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "my studies").mkdir()
    return write(tmp_path / "my studies" / "a {b}.tar", packed())


def test_an_archive_is_known_by_its_content(archive: Path) -> None:
    for name in ("study", "study.yaml", "study.bin"):
        copy = archive.with_name(name)
        shutil.copy(archive, copy)
        ended = run(["verify", str(copy)])
        assert ended.code == 0
        assert "its 3 files are those of its list of checksums" in ended.out
    ended = run(["verify", str(archive), "--json"])
    assert json.loads(ended.out) == {"files": 3}


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("suffix", [".tar.{}", ".tar", ".{}", ""])
def test_a_compressed_archive_is_said_to_be_one(archive: Path, kind: str, suffix: str) -> None:
    """The printed command works, and overwrites nothing."""
    path = archive.with_name(f"a {{b}}{suffix.format(kind)}")
    content = archive.read_bytes()
    before = {one.name for one in archive.parent.iterdir()}
    path.write_bytes(COMPRESSED[kind](content))
    ended = run(["verify", str(path)])
    assert ended.code == 1
    [command] = re.findall(r"-> Uncompress it first: (.*)", ended.err)
    written = Path(shlex.split(command)[-1])
    assert written.name not in before
    if shutil.which(shlex.split(command)[0]) is None:
        pytest.skip(f"{shlex.split(command)[0]} is not installed")
    subprocess.run(["bash", "-c", command], check=True)
    assert written.read_bytes() == content
    assert run(["verify", str(written)]).code == 0


@pytest.mark.parametrize(
    "listing",
    [b"", b"\n", b"  \n", b"0a  config.yaml\n0a  config.yaml\n", b"no list at all\n"],
)
def test_a_list_that_names_nothing_vouches_for_nothing(archive: Path, listing: bytes) -> None:
    for members in (packed(), []):
        write(archive, [*members[:-1], member(f"a/{CHECKSUMS}", listing)])
        ended = run(["verify", str(archive)])
        assert ended.code == 1
        assert CHECKSUMS in ended.err


@pytest.fixture
def unpacked(archive: Path) -> Path:
    with tarfile.open(archive) as opened:
        opened.extractall(archive.parent, filter="data")
    return archive.parent / "a"


def test_an_unpacked_archive_is_compared_and_what_is_added_is_named(unpacked: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", CHECKSUMS], cwd=unpacked, check=True)
    ended = run(["verify", str(unpacked)])
    assert ended.code == 0
    assert "not checked" not in ended.out
    (unpacked / "results/more.csv").write_text("1")
    ended = run(["verify", str(unpacked)])
    assert ended.code == 0
    assert f"not checked: {unpacked / 'results/more.csv'}." in ended.out
    (unpacked / "results/x.csv").write_text("2")
    assert run(["verify", str(unpacked)]).code == 1


@pytest.mark.parametrize("name", ["../x.csv", "/etc/hostname", "results/../../x.csv", ""])
def test_a_list_leads_nowhere_else(unpacked: Path, name: str) -> None:
    (unpacked / CHECKSUMS).write_text(f"0a  {name}\n")
    ended = run(["verify", str(unpacked)])
    assert ended.code == 1
    assert "which is no file of a study" in ended.err


def test_a_pipe_in_a_folder_is_not_read(unpacked: Path) -> None:
    (unpacked / "results/x.csv").unlink()
    os.mkfifo(unpacked / "results/x.csv")
    ended = run(["verify", str(unpacked)])
    assert ended.code == 1
    assert "is a pipe" in ended.err
    (unpacked / CHECKSUMS).unlink()
    os.mkfifo(unpacked / CHECKSUMS)
    assert "is a pipe" in run(["verify", str(unpacked)]).err


@pytest.mark.parametrize("place", ["results/tiny/a.tar", "raw/samples.tsv", "a.zip", "study.yaml"])
def test_an_archive_goes_where_it_is_known_and_is_not_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(write_study(tmp_path))
    (tmp_path / "results/tiny").mkdir(parents=True)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    ended = run(["export", "study.yaml", "--output", place])
    assert ended.code == 1
    assert "      -> " in ended.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("results", ["results", "none here"])
def test_no_results_are_not_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: str
) -> None:
    monkeypatch.chdir(write_study(tmp_path, results=results))
    for words in ([], ["--json"]):
        ended = run(["verify", "study.yaml", *words])
        assert ended.code == 1
        assert "there are no results of this study" in ended.err


def test_the_signature_of_the_documentation(
    archive: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of the page, with a key made here, and a change that they notice."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    home = archive.parent
    key = home / ".ssh/id_ed25519"
    key.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    archive.rename(home / "my-study.tar")
    page = (repository / "docs/look-after-a-study.md").read_text()
    commands = [content for language, content in blocks(page) if "ssh-keygen" in content]
    assert len(commands) == 2
    monkeypatch.setenv("HOME", str(home))

    def typed(content: str) -> int:
        words = ["bash", "-euo", "pipefail", "-c", content]
        return subprocess.run(words, cwd=home, capture_output=True, check=False).returncode

    assert [typed(content) for content in commands] == [0, 0]
    ended = run(["verify", str(home / "my-study.tar")])
    assert "Who made it is not checked" in ended.out
    # A change that brings its list along is noticed by the signature only.
    members = packed()
    members[0] = member("a/config.yaml", b"study: b\n")
    write(home / "my-study.tar", _listed(members))
    assert run(["verify", str(home / "my-study.tar")]).code == 0
    assert typed(commands[1]) != 0


def _listed(members: list[tuple[tarfile.TarInfo, bytes]]) -> list[tuple[tarfile.TarInfo, bytes]]:
    import hashlib

    from transferscope.runtime.checksum_list import as_list

    sums = {
        info.name.partition("/")[2]: hashlib.sha256(content).hexdigest()
        for info, content in members[:-1]
    }
    return [*members[:-1], member(f"a/{CHECKSUMS}", as_list(sums))]

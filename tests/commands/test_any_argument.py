"""Every command with every wrong kind of path: a sentence with a fix, never a traceback.

Commands and options come from the command line itself; see `command_tree`.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import command_tree
from command_tree import Command, Ended, Parameter, commands, leaves, like_any_user, run
from factories import environment
from transferscope.commands.app import app

NAMES = [name for name, _ in leaves(typer.main.get_command(app))]
NOT_UTF8 = os.fsdecode(b"caf\xe9")
# Contents that no command takes for what it wants.
CONTENTS = {
    "empty": b"",
    "binary": bytes(range(256)) * 9,
    "mapping": b"{}\n",
    "other": b'{"version": "x"}\n',
    "nested": b"[" * 100_000,
    "utf-16": "a\tb\n1\t2\n".encode("utf-16"),
    "parquet": b"PAR1" + bytes(100) + b"PAR1",
}
# What may be accepted: a card of another dataset is a card, and these do not read their folder.
TAKEN = {
    ("backbone list", "folder", "folder"),
    ("backbone list", "folder", "blank"),
    ("backbone card", "output", "blank"),
    ("schemas", "output", "folder"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder with a finished study, which is the working folder."""
    folder = tmp_path_factory.mktemp("arguments")
    command_tree.write_everything(folder)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def known(place: Path) -> dict[str, Command]:
    return {command.name: command for command in commands(place)}


def wrong_values(folder: Path, suffix: str, parameter: Parameter) -> Iterator[tuple[str, str]]:
    """Yield (kind, path) of everything that a parameter cannot use."""
    file = folder / f"file{suffix}"
    file.write_bytes(b"a")
    (folder / f"folder{suffix}").mkdir()
    os.mkfifo(folder / f"pipe{suffix}")
    (folder / f"loop{suffix}").symlink_to(folder / f"loop{suffix}")
    (folder / f"nowhere{suffix}").symlink_to(folder / "nothing" / "there")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / f"s{suffix}"))
    yield "pipe", str(folder / f"pipe{suffix}")
    yield "socket", str(folder / f"s{suffix}")
    yield "loop", str(folder / f"loop{suffix}")
    yield "link to nothing", str(folder / f"nowhere{suffix}")
    yield "long name", "x" * 300 + suffix
    yield "long path", "/".join(["x" * 100] * 60) + suffix
    yield "below a file", str(file / f"x{suffix}")
    yield "not UTF-8", str(folder / f"{NOT_UTF8}{suffix}")
    yield "blank", ""
    yield "null character", str(folder / f"a\0b{suffix}")
    yield "folder", str(folder / f"folder{suffix}")
    if parameter.written:
        return
    yield "missing", str(folder / f"none{suffix}")
    yield "braces", str(folder / f"{{x}}{{0}}{{}}%s{{dataset}}{suffix}")
    yield "control characters", str(folder / f"a\x1b[2Jb\r\nc\x07\u2028\u202e{suffix}")
    (folder / f"{NOT_UTF8}{suffix}").write_bytes(b"hello\n")
    for kind, content in CONTENTS.items():
        path = folder / f"{kind} {{file}}{suffix}"
        path.write_bytes(content)
        yield kind, str(path)


def assert_said(ended: Ended) -> None:
    """Check that a command failed with a message, in a way that a terminal survives."""
    said = f"{ended.words}: {ended.code}\n{ended.out}\n{ended.err}"
    assert ended.code in (1, 2), said
    assert "Traceback" not in ended.err, said
    assert "unexpected error" not in ended.err, said
    assert not set("\x1b\r\x07\u2028\u202e") & set(ended.err), said
    if ended.code == 1:
        assert "transferscope: " in ended.err, said
        assert "      -> " in ended.err, said


def suffix_of(command: Command, parameter: Parameter) -> str:
    after = dict(zip(command.words, command.words[1:], strict=False))
    usual = after.get(parameter.flag or "", command_tree.VALUES.get(parameter.name, "a.yaml"))
    return Path(usual.partition(":")[0]).suffix


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_path_ends_in_a_sentence(
    known: dict[str, Command], tmp_path: Path, name: str
) -> None:
    command = known[name]
    assert command.paths, "each command takes a path"
    for number, parameter in enumerate(command.paths):
        folder = tmp_path / str(number)
        folder.mkdir()
        for kind, value in wrong_values(folder, suffix_of(command, parameter), parameter):
            if (name, parameter.name, kind) in TAKEN or _is_right(parameter, kind):
                continue
            text = f"{value}:tile_id:labels" if parameter.name == "labels" else value
            assert_said(run(command.given(parameter, text)))


def _is_right(parameter: Parameter, kind: str) -> bool:
    """Return whether a kind is right for a parameter: a folder where one is wanted."""
    return kind == "folder" and parameter.is_folder


@pytest.mark.parametrize("name", NAMES)
def test_what_a_user_may_not_read_or_write(
    known: dict[str, Command], tmp_path: Path, name: str
) -> None:
    command = known[name]
    for parameter in command.paths:
        suffix = suffix_of(command, parameter)
        closed = tmp_path / f"{parameter.name}{suffix}"
        closed.mkdir() if parameter.is_folder else closed.write_bytes(b"a")
        closed.chmod(0)
        folder = tmp_path / f"{parameter.name}-folder"
        folder.mkdir(mode=0)
        inner = folder / f"x{suffix}"
        for path in (inner,) if parameter.written else (closed, inner):
            text = f"{path}:tile_id:labels" if parameter.name == "labels" else str(path)
            with like_any_user():
                ended = run(command.given(parameter, text))
            assert_said(ended)
        folder.chmod(0o700)


def test_the_program_itself_says_so(tmp_path: Path) -> None:
    program = str(Path(sys.executable).parent / "transferscope")
    bad = os.fsencode(tmp_path) + b"/caf\xe9.yaml"
    Path(os.fsdecode(bad)).write_bytes(b"a: 1\n")
    for words in (
        ["study", "check", bad],
        ["--log", tmp_path / "log", "verify", bad],
        ["--log", tmp_path, "verify", "a.yaml"],
        ["status", tmp_path],
    ):
        done = subprocess.run(
            [program, *words], cwd=tmp_path, env=environment(), capture_output=True, check=False
        )
        assert done.returncode == 1, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"      -> " in done.stderr
    assert "caf" in (tmp_path / "log").read_text()

"""No command writes over a file that it reads."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_any_argument import NAMES, assert_said

import command_tree
from command_tree import Command, commands, run


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Command]]:
    """Every command, in a folder with a finished study."""
    folder = tmp_path_factory.mktemp("written")
    command_tree.write_everything(folder)
    before = Path.cwd()
    os.chdir(folder)
    yield {command.name: command for command in commands(folder)}
    os.chdir(before)


def pairs(command: Command) -> Iterator[tuple[list[str], Path]]:
    """Yield words in which a file that is read is to be written, and that file."""
    for out in command.paths:
        if out.is_folder or not out.written or out.name == "to":
            continue
        for read in command.paths:
            if read.written or read.is_folder or read.flag not in command.words:
                continue
            word = command.words[command.words.index(read.flag) + 1]
            path = Path(word.partition(":")[0] if read.name == "labels" else word)
            if path.is_file():
                yield command.given(out, f"{path.parent}/../{path.parent.name}/{path.name}"), path


@pytest.mark.parametrize("name", NAMES)
def test_no_command_writes_over_what_it_reads(known: dict[str, Command], name: str) -> None:
    for words, path in pairs(known[name]):
        before = path.read_bytes()
        ended = run(words)
        assert_said(ended)
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["tiles", "probe", "sheet", "status"])
def test_the_log_is_no_other_file_of_the_command(known: dict[str, Command], name: str) -> None:
    command = known[name]
    named = [word for word in command.words if Path(word[:200]).is_file()]
    if name == "status":
        named = ["study.yaml"]
        command = Command("status", ("status", "study.yaml"), ())
    for word in named:
        before = Path(word).read_bytes()
        for words in (["--log", word, *command.words], [f"--log={word}", *command.words]):
            assert_said(run(words))
            assert Path(word).read_bytes() == before


def test_how_many(known: dict[str, Command]) -> None:
    assert sum(1 for command in known.values() for _ in pairs(command)) > 60

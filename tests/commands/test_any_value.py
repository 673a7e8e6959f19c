"""Every option that is no path, with values that it cannot have: a sentence, never a traceback."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from test_any_argument import NAMES, assert_said

import command_tree
from command_tree import Command, commands, leaves, run
from transferscope.commands.app import app

LEAVES = dict(leaves(typer.main.get_command(app)))
HUGE = "99999999999999999999"
NUMBERS = ["-1", f"-{HUGE}", HUGE, "1e400", "nan", "", "x", "1.5"]
TEXTS = ["no such thing", "", "../../etc/passwd", "{x}", "-", "a\x1b[2J\u202e", "x" * 5000]
DOCUMENTS = [
    "[]", "[1]", "3", "null", '"text"', "{", "[" * 50_000, '{"a": 1}', '{"": null}',
    '{"cells": null}', '{"cells": {"tiny": [1]}}', '{"cells": {"tiny": "map"}}',
    '{"../x": {"tiny": ["map"]}}', '[{"a": 1}]', '{"a": 1, "a": 2}', '{"threads": 1e9}',
    '{"batch_size": 999999999}', '{"dpi": 999999999}', "NaN", '{"a": NaN}',
]  # fmt: skip
# Free texts, numbers of which any is right, and what `--settings` says already.
FREE = {
    "domain",
    "seed",
    "name",
    "channel",
    "unlabelled",
    "pattern",
    "regex",
    "labels",
    "state_key",
    "lock",
    "json",
}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Command]]:
    """Every command, in a folder with a finished study."""
    folder = tmp_path_factory.mktemp("values")
    command_tree.write_everything(folder)
    before = Path.cwd()
    os.chdir(folder)
    yield {command.name: command for command in commands(folder)}
    os.chdir(before)


def cases(command: Command) -> Iterator[tuple[str, list[str]]]:
    """Yield the kind of an option, and words with a value that it cannot have."""
    paths = {parameter.name for parameter in command.paths}
    found = LEAVES[command.name]
    hints = get_type_hints(found.callback)
    for number, given in enumerate(found.params):
        kind = hints.get(given.name)
        if given.param_type_name != "option" or given.name in paths | FREE or kind is bool:
            continue
        is_number, is_json = kind in (int, float), given.metavar == "JSON"
        values = NUMBERS if is_number else DOCUMENTS if is_json else TEXTS
        # Each option of a command gets another third of them.
        for value in values[number % 3 :: 3]:
            words = list(command.words)
            flag = given.opts[0]
            if flag in words:
                words[words.index(flag) + 1] = value
            else:
                words += [flag, value]
            yield ("number" if is_number else "JSON" if is_json else "text"), words


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_value_ends_in_a_sentence(known: dict[str, Command], name: str) -> None:
    for kind, words in cases(known[name]):
        ended = run(words)
        assert "Traceback" not in ended.err, f"{words}\n{ended.err}"
        assert "unexpected error" not in ended.err, f"{words}\n{ended.err}"
        # More than there is means all of it.
        if ended.code or (kind == "number" and HUGE not in words):
            assert_said(ended)

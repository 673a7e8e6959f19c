"""`transferscope run` where the user's own folders cannot be written."""

import os
from pathlib import Path

import pytest

from transferscope.commands import run


def no_home(folder: Path) -> Path:
    return folder / "never-made-by-anyone" / "home"


def a_file(folder: Path) -> Path:
    (folder / "home").write_text("")
    return folder / "home"


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "home")
    return folder / "home"


@pytest.mark.parametrize("home", [a_file, a_pipe, lambda _: Path("/proc/none")])
def test_a_home_that_cannot_be_written_is_told_and_not_needed(
    home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(home(tmp_path)))
    places = run.own_places({})
    assert places == {"XDG_CACHE_HOME": str(tmp_path / ".snakemake/cache")}
    [said] = caplog.messages
    assert "caches are in .snakemake/cache" in said
    # What the user says goes.
    assert run.own_places({"XDG_CACHE_HOME": "/mine"}) == {}


def test_a_home_that_can_be_written_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(no_home(tmp_path)))
    assert run.own_places({}) == {}

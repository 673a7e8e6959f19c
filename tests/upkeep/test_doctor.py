"""The doctor finds what is wrong with a machine, and never fails itself."""

from pathlib import Path

import pytest

from transferscope.upkeep import doctor


def test_every_check_says_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    checks = {check.name: check for check in doctor.examine(tmp_path / "results")}
    assert {"devices", "disk", "writing", "file locks", "model hub"} <= set(checks)
    assert checks["test embedding"].state == doctor.GOOD
    # A format that this network does not bear is not called good.
    said = checks["test embedding"].found
    tried = checks["number format"].found.partition(" ")[0]
    assert "is tried first" in checks["number format"].found
    assert tried in said
    assert said.endswith(tried) or "gave other embeddings" in said
    assert checks["model hub"].state == doctor.WARNING
    assert all(check.found for check in checks.values())
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_a_check_that_fails_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> doctor.Check:
        raise RuntimeError("driver mismatch\nmore")

    monkeypatch.setattr(doctor, "_test_embedding", broken)
    monkeypatch.setattr(doctor, "_hub", broken)
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert checks["test embedding"].state == doctor.BAD
    assert checks["test embedding"].found == "RuntimeError: driver mismatch"


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("transferscope.runtime.atomic_files.tempfile.NamedTemporaryFile", refuse)
    check = doctor._writing(tmp_path)
    assert check.state == doctor.BAD
    assert "read-only" in check.found
    assert "results:" in check.fix

"""An archive is the same for the same study, and a change of any file in it is found."""

import shutil
import tarfile
from pathlib import Path

import pytest

from factories import write_study
from transferscope.cards.lookup import SHIPPED
from transferscope.errors import UserError
from transferscope.study.defaults import merged_config
from transferscope.study.loading import load_study
from transferscope.study.study import Study
from transferscope.upkeep.export import export, verify_archive


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    folder = write_study(tmp_path / "study")
    monkeypatch.chdir(folder)
    names = ("summary.csv", "tiles/cells.zarr/zarr.json", "logs/a.log", "tiles/cells.json")
    for name in (*names, "scores/finetune/cells/tiny/map.parts/0.npz", "parts/cells.json"):
        path = folder / "results/tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    secret = tmp_path / "secret"
    secret.write_text("not of the study")
    (folder / "results/tiny/link.csv").symlink_to(secret)
    return load_study(merged_config(folder / "study.yaml"), [folder, SHIPPED], "study.yaml")


def names(archive: Path) -> set[str]:
    with tarfile.open(archive) as opened:
        return {member.name for member in opened}


def test_the_archive_holds_config_cards_versions_and_results(study: Study, tmp_path: Path) -> None:
    count = export(study, tmp_path / "a.tar", stores=False)
    found = names(tmp_path / "a.tar")
    assert len(found) == count
    assert found == {
        "tiny/config.yaml",
        "tiny/cards/datasets/cells.yaml",
        "tiny/cards/backbones/tiny.yaml",
        "tiny/cards/backbones/handcrafted.yaml",
        "tiny/versions.json",
        "tiny/results/summary.csv",
        "tiny/results/tiles/cells.json",
        "tiny/SHA256SUMS",
    }
    export(study, tmp_path / "b.tar", stores=True)
    assert names(tmp_path / "b.tar") - found == {"tiny/results/tiles/cells.zarr/zarr.json"}


def test_the_same_study_gives_the_same_bytes(study: Study, tmp_path: Path) -> None:
    export(study, tmp_path / "a.tar", stores=True)
    (study.paths.root / "summary.csv").touch()
    export(study, tmp_path / "b.tar", stores=True)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_reading_back_finds_what_was_changed(study: Study, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    count = export(study, archive, stores=True)
    assert verify_archive(archive) == count - 1
    content = archive.read_bytes()
    changed = content.replace(b"summary.csv" + bytes(501), b"summary.csx" + bytes(501))
    assert changed != content
    archive.write_bytes(changed)
    with pytest.raises(UserError, match=r"results/summary\.csv: differs from its checksum"):
        verify_archive(archive)
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot be read|SHA256SUMS"):
        verify_archive(archive)


def test_nothing_to_export(study: Study, tmp_path: Path) -> None:
    shutil.rmtree(study.paths.root)
    with pytest.raises(UserError, match="Run the study first"):
        export(study, tmp_path / "a.tar", stores=False)

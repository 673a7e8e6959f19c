"""What `init` proposes for folders as labs have them, accepted as proposed, is right and sound."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from command_tree import run
from factories import write_raw
from transferscope.proposal.label_tables import as_text_table

# Folder -> channels, groups, and the white of a channel with its tolerance.
REAL = {
    "fields/nf1": (["nucleus", "gfp", "rfp"], 5, {"nucleus": 65535, "gfp": 65535}),
    "fields/jump": (["ch2", "ch3", "ch5"], 1, {"ch2": 27000, "ch3": 44000, "ch5": 39000}),
    "fields/bbbc014": (["ch1", "ch2"], 2, {"ch1": 240, "ch2": 255}),
    "hpa_fov": (["nucleus", "protein", "microtubules", "er"], 7, {"protein": 200}),
    "bbbc013": (["protein", "nucleus"], 4, {"protein": 200, "nucleus": 130}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_folder(name: str, shared_data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run(["init", str(shared_data / name), "--yes", "--name", "mine"])
    assert ended.code == 0, ended.err
    card = yaml.safe_load(Path("mine.yaml").read_text())
    channels, n_groups, whites = REAL[name]
    assert card["channels"] == channels
    assert pd.read_csv("mine.tsv", sep="\t", dtype=str)["group"].nunique() == n_groups
    for channel, white in whites.items():
        assert card["intensity_range"][channel][1] == pytest.approx(white, rel=0.2)
    assert Path("mine-overview.png").stat().st_size > 1000
    checked = run(["study", "check", "mine-study.yaml", "--tflops", "1"])
    assert checked.code == 0, checked.err
    assert "does not fit" not in checked.err
    assert ("is scored (`scored: false`)" in checked.out) == (name != "bbbc013")


def own_images(folder: Path) -> Path:
    write_raw(folder)
    (folder / "samples.tsv").unlink()
    return folder


def test_labels_are_found_and_every_key_without_a_partner_is_listed(
    tmp_path: Path, monkeypatch
) -> None:
    own_images(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    rows = [f"P{n:02d};{'membrane' if n % 2 else 'nucleus'}" for n in range(11)]
    extra = [f"Q{n:02d};membrane" for n in range(20)]
    Path("raw/genes.csv").write_text("\n".join(["gene;localization", *rows, *extra]) + "\n")
    names = ["--channels", "nucleus,protein"]
    ended = run(["init", "raw", "--yes", *names])
    assert ended.code == 0, ended.err
    sheet = pd.read_csv("raw.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert sheet["labels"].value_counts().to_dict() == {"nucleus": 18, "membrane": 15, "": 3}
    unmatched = pd.read_csv("raw-unmatched.tsv", sep="\t", dtype=str)
    assert unmatched["without"].value_counts().to_dict() == {"image": 20, "key": 3}
    again = run(["init", "raw", "--yes", *names])
    assert again.code == 1
    assert "raw.tsv: is there already, and is not replaced" in again.err


def test_nobody_is_asked_without_a_terminal(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(own_images(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    ended = run(["init", ".", "--name", "x"])
    assert ended.code == 1
    assert "Add --yes" in ended.err


def test_images_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    for name in ("a", "b"):
        signed = np.zeros((2, 24, 24), np.int16)
        tifffile.imwrite(tmp_path / f"raw/{name}.tif", signed, photometric="minisblack")
    ended = run(["init", "raw", "--yes", "--channels", "one,two"])
    assert ended.code == 1
    assert "a.tif: holds int16 values" in ended.err
    assert "Traceback" not in ended.err


def test_formats_of_microscopes_are_told_how_to_convert(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan/a.czi").write_bytes(b"ZISRAWFILE")
    ended = run(["init", "scan", "--yes"])
    assert ended.code == 1
    assert "bfconvert a.czi a_%s.ome.tif" in ended.err


def test_sheet_replaces_no_sheet(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(own_images(tmp_path))
    words = ["sheet", ".", "--pattern", "{group}_{fov}.tif"]
    assert run(words).code == 0
    refused = run(words)
    assert refused.code == 1
    assert "--overwrite" in refused.err
    assert run([*words, "--overwrite"]).code == 0


def test_workbook_is_read_as_text(tmp_path: Path) -> None:
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    sheet = (
        f"<worksheet {space}><sheetData>"
        '<row r="1"><c r="A1" t="s"><v>0</v></c>'
        '<c r="C1" t="inlineStr"><is><t>label</t></is></c></row>'
        '<row r="2"><c r="A2"><v>7</v></c><c r="C2" t="str"><v>er</v></c></row>'
        "</sheetData></worksheet>"
    )
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", sheet)
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}><si><t>well</t></si></sst>")
    assert as_text_table(tmp_path / "a.xlsx") == "well\t\tlabel\n7\t\ter\n"

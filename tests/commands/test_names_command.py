"""A name is what a person reads: others that read the same are warned of, or stop the study."""

import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import Result

from factories import DATASET_CARD, STUDY, TRAINED, write_raw, write_study, write_yaml
from table_commands import invoke, message
from transferscope.errors import UserError
from transferscope.runtime.spelling import Likely, difference, quoted, readings, skeleton, variants

NAMES = st.text(st.sampled_from("ABCabgol 1279-éßαöÅ"), min_size=2, max_size=8).map(
    lambda name: " ".join(name.split())
)
INVISIBLE = "\u200b\u200d\ufeff\u00ad\u2060\u200e"


def put_in(name: str, character: str, at: int) -> str:
    at %= len(name) + 1
    return name[:at] + character + name[at:]


# Ways in which a person does not see a difference.
WAYS = {
    "case": lambda name, n: name.swapcase(),
    "decomposed": lambda name, n: unicodedata.normalize("NFD", name),
    "composed": lambda name, n: unicodedata.normalize("NFC", name),
    "full width": lambda name, n: "".join(
        chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name
    ),
    "invisible": lambda name, n: put_in(name, INVISIBLE[n % len(INVISIBLE)], n),
    "at the end": lambda name, n: name + INVISIBLE[n % len(INVISIBLE)],
    "no-break space": lambda name, n: name.replace(" ", "\u00a0"),
    "two spaces": lambda name, n: name.replace(" ", "  "),
    "thin space": lambda name, n: name.replace(" ", "\u2009"),
    "hyphen": lambda name, n: name.replace("-", "\u2010\u2011\u2212\u2013"[n % 4]),
    "another alphabet": lambda name, n: name.replace("A", "\u0410").replace("o", "\u043e"),
    "quotes": lambda name, n: f'{name}"',
    "quotes around": lambda name, n: ("'{}'", "\u00ab{}\u00bb", "\u2018{}\u2019")[n % 3].format(
        name
    ),
    "punctuation": lambda name, n: name + ".,:;"[n % 4],
    "other digits": lambda name, n: name.replace("1", "\u0661").replace("7", "\uff17"),
    "selector": lambda name, n: put_in(name, "\ufe0f\U000e0100\u2800"[n % 3], n),
    "Greek capitals": lambda name, n: name.replace("A", "\u0391").replace("B", "\u0392"),
}


@settings(max_examples=300, deadline=None)
@given(name=NAMES.filter(len), way=st.sampled_from(sorted(WAYS)), n=st.integers(0, 9))
def test_what_reads_alike_has_one_skeleton(name: str, way: str, n: int) -> None:
    other = WAYS[way](name, n)
    assert readings(name) & readings(other)
    if other != name:
        assert [spellings.names for spellings in variants([name, other, name])] == [[name, other]]
        assert difference(name, other)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A1", "A2"),
        ("v1.0", "v1.1"),
        ("10", "1"),
        ("A+", "A"),
        ("TGF\u03b2", "TGFB"),
        ("P01", "P1"),
        ("A-1", "A_1"),
        ("Hsp70", "Hsp70'"),
        ("α", "a"),
        ("β-cat", "cat"),
    ],
)
def test_what_reads_differently_is_not_warned_of(first: str, second: str) -> None:
    assert variants([first, second]) == []


@settings(max_examples=200, deadline=None)
@given(first=st.text(max_size=6), second=st.text(max_size=6))
def test_any_text_has_a_skeleton_and_is_offered_without_a_failure(first: str, second: str) -> None:
    assert skeleton(skeleton(first)) == skeleton(first)
    Likely([first]).of(second)
    quoted(first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("5'", "5\u2032"),
        ("5'", "5\u00b4"),
        ("H2A/B", "H2A\u2215B"),
        ("1", "1.0"),
        ("2", "2.00"),
        ("TGF\u0392", "TGFB"),
        ("TGF\u0392", "TGF\u03b2"),
        ("\u0130zmir", "izmir"),
        ('"A".', "A"),
    ],
)
def test_signs_and_numbers_that_read_alike(first: str, second: str) -> None:
    assert [list(one.names) for one in variants([first, second])] == [[first, second]]
    assert difference(first, second)


def study(folder: Path, column: str, names: dict[int, str], **changes: object) -> Path:
    """Write a study, some of whose rows have another name in a column of the sheet."""
    write_study(folder, **changes)
    sheet = folder / "raw/samples.tsv"
    table = pd.read_csv(sheet, sep="\t", dtype=str)
    if column not in table:
        table[column] = table["group"]
    for row, name in names.items():
        table.loc[row, column] = name
    table.to_csv(sheet, sep="\t", index=False)
    return folder / "study.yaml"


def check(path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(path.parent)
    return invoke("study", "check", path.name, "--tflops", "1")


@pytest.mark.parametrize("column", ["group", "batch", "fov", "perturbation"])
@pytest.mark.parametrize("way", ["case", "decomposed", "two spaces", "another alphabet"])
def test_a_study_warns_or_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, way: str
) -> None:
    name = "Aé-1 prot"
    names = dict.fromkeys(range(3), name) | {2: WAYS[way](name, 1)}
    path = study(tmp_path, column, names)
    done = check(path, monkeypatch)
    assert done.exit_code == 0, done.exception
    assert f"samples.tsv, column {column}: the" in done.output
    assert "(2 rows, first 2) and" in done.output
    assert "(1 row, first 4) read as one name: they differ in" in done.output
    assert ("leak" in done.output) == (column == "group")
    write_yaml(path, {**STUDY, "names": "strict"})
    assert f"column {column}: the" in message(check(path, monkeypatch))


def test_classes_datasets_and_backbones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path)
    cards = tmp_path / "cards"
    card = cards / "datasets/cells.yaml"
    card.write_text(card.read_text() + "- Vesicles\n")
    other = card.read_text().replace("name: cells", "name: Cells")
    (cards / "datasets/Cells.yaml").write_text(other)
    tiny = (cards / "backbones/tiny.yaml").read_text()
    (cards / "backbones/Tiny.yaml").write_text(tiny.replace("name: tiny", "name: Tiny"))
    both = {
        "datasets": ["cards/datasets/cells.yaml", "cards/datasets/Cells.yaml"],
        "backbones": ["cards/backbones/tiny.yaml", "cards/backbones/Tiny.yaml"],
        "names": "strict",
    }
    path = write_yaml(tmp_path / "study.yaml", {**STUDY, **both})
    said = message(check(path, monkeypatch))
    assert 'the datasets "cells" and "Cells" read as one name' in said
    assert 'the backbones "tiny" and "Tiny" read as one name' in said
    assert 'the classes "vesicles" and "Vesicles" read as one name: they differ in case' in said


def test_groups_of_a_training_and_of_a_test_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path)
    sheet = write_raw(tmp_path / "more", n_groups=4)
    table = pd.read_csv(sheet, sep="\t", dtype=str)
    table.assign(group=table["group"].str.lower(), labels="").to_csv(sheet, sep="\t", index=False)
    more = {**DATASET_CARD, "name": "more", "labels": [], "sheet": str(sheet)}
    write_yaml(tmp_path / "cards/datasets/more.yaml", more)
    trained = {**TRAINED, "name": "trained", "datasets": ["more"]}
    write_yaml(tmp_path / "cards/backbones/trained.yaml", trained)
    changes = {
        "training_datasets": ["cards/datasets/more.yaml"],
        "backbones": ["cards/backbones/trained.yaml", "handcrafted"],
    }
    path = write_yaml(tmp_path / "study.yaml", {**STUDY, **changes})
    done = check(path, monkeypatch)
    assert done.exit_code == 0, done.exception
    assert 'the groups "P00" of cells and "p00" of more read as one name' in done.output


def test_a_sheet_that_is_built_and_tiles_that_are_made_warn(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name in ("ACTB_1", "Actb_2", "TUBB_1"):
        image = rng.integers(0, 255, (8, 8)).astype(np.uint8)
        tifffile.imwrite(images / f"{name}.tif", image)
    (tmp_path / "labels.csv").write_text("key,labels\nACTB,golgi\nActb,Golgi\nTUBB,er\n")
    options = ["--pattern", "{group}_{fov}.tif", "--labels", f"{tmp_path}/labels.csv:key:labels"]
    done = invoke("sheet", images, *options)
    assert done.exit_code == 0, done.exception
    assert 'the groups "ACTB" (1 row, first 2) and "Actb" (1 row, first 3) read as' in done.output
    assert 'the labels "Golgi" and "golgi" read as one name' in done.output
    card = {"name": "d", "sheet": "s", "channels": ["nucleus"], "labels": ["golgi", "Golgi", "er"]}
    path = write_yaml(tmp_path / "card.yaml", card)
    out = {"manifest": "d.json", "table": "d.parquet", "quality": "d.csv", "skipped": "d.tsv"}
    options = [o for name, file in out.items() for o in (f"--{name}", tmp_path / file)]
    done = invoke("tiles", "--sheet", images / "samples.tsv", "--card", path, *options)
    assert done.exit_code == 0, done.exception
    assert "column group: the groups" in done.output
    assert 'the classes "golgi" and "Golgi" read as one name' in done.output


def test_a_label_of_a_list_that_is_nearly_a_class_is_not_lost(tmp_path: Path) -> None:
    fetch = {"kind": "hpa", "list": "list.tsv", "url": "images/{id}_{colour}.tif"}
    fetch["colours"] = {"nucleus": "red"}
    card = {"name": "d", "fetch": fetch, "channels": ["nucleus"], "labels": ["Golgi", "er"]}
    path = write_yaml(tmp_path / "card.yaml", card)
    (tmp_path / "list.tsv").write_text("id\tgene\tlabels\na\tG\tGolgi;er\nb\tG\tgolgi\n")
    done = invoke("fetch", "--card", path, "--sheet", tmp_path / "out/samples.tsv")
    assert isinstance(done.exception, UserError)
    assert 'the label "golgi" (1 rows) reads like the class "Golgi"' in message(done)


def test_what_nobody_sees_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study(tmp_path, "group", {0: "P00\u200b"})
    done = check(path, monkeypatch)
    assert '"P00<U+200B>" (1 row, first 2) and "P00" (2 rows, first 3)' in done.output
    assert "they differ in invisible characters" in done.output


@pytest.mark.parametrize("name", ["2-Sep", "Mar-01", "1.00E+05", "1,23457E+11", "#N/A", "#NAME?"])
def test_what_a_spreadsheet_program_made_of_a_name_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = study(tmp_path, "group", dict.fromkeys(range(3), name))
    done = check(path, monkeypatch)
    assert done.exit_code == 0, done.exception
    assert "1 groups look like dates, numbers or errors" in done.output
    assert f'"{name}" (3 rows)' in done.output


@pytest.mark.parametrize("column", ["group", "fov", "batch"])
def test_a_line_break_is_no_part_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    path = study(tmp_path, column, {1: "P00\nx"})
    said = message(check(path, monkeypatch))
    assert f"row 3, column {column}: 'P00\\nx' holds a control character" in said


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nan"], "empty cells"),
        (["None", "<NA>"], "empty cells"),
        (['="01"'], "formulas"),
        (["Gr\u00c3\u00bcn"], "wrong encoding"),
        (["a\ufffdb"], "wrong encoding"),
        (["Nano", "None1", "Gr\u00fcn", "a=b"], ""),
    ],
)
def test_what_a_program_made_of_names_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], said: str
) -> None:
    path = study(tmp_path, "group", dict(enumerate(names)))
    done = check(path, monkeypatch)
    assert done.exit_code == 0, done.exception
    found = [line for line in done.output.splitlines() if "groups look like" in line]
    assert bool(found) == bool(said)
    assert all(said in line for line in found)


def test_a_perturbation_may_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = check(study(tmp_path, "perturbation", {0: "None", 1: "NA"}), monkeypatch)
    assert done.exit_code == 0, done.exception
    assert "look like" not in done.output

"""Every way in which a sample sheet can be wrong is reported, with row, column and fix."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from factories import sheet_problems
from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.sheets import read_sheet, split_labels

LABELS = ["golgi", "vesicles", "nucleus"]


def card(**changes: object) -> DatasetCard:
    values: dict[str, object] = {
        "name": "demo",
        "sheet": "samples.tsv",
        "channels": ["nucleus", "protein"],
        "labels": LABELS,
    }
    return DatasetCard.model_validate({**values, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((2, 8, 8), np.uint8))
    return tmp_path


def write(folder: Path, text: str, name: str = "samples.tsv") -> Path:
    path = folder / name
    path.write_text(text.replace(" | ", "\t"))
    return path


GOOD = "tile_id | path | group | labels\na | a.tif | ACTB | golgi\nb | b.tif | TUBB | \n"


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_good_sheet_has_defaults(folder: Path) -> None:
    sheet = read_sheet(write(folder, GOOD), card())
    assert len(sheet) == 2
    assert sheet.table["fov"].tolist() == ["a", "b"]
    assert sheet.table["batch"].tolist() == ["", ""]
    assert sheet.files(1) == [folder / "b.tif"]
    assert sheet.place(1).endswith("samples.tsv, row 3")
    assert not sheet.one_file_per_channel


@pytest.mark.parametrize("delimiter", ["\t", ","])
@pytest.mark.parametrize("name", ["samples.tsv", "samples.csv", "samples.txt"])
def test_delimiter_is_read_off_the_header(folder: Path, delimiter: str, name: str) -> None:
    text = GOOD.replace(" | ", delimiter).replace("golgi", "golgi; vesicles")
    (folder / name).write_text(text)
    sheet = read_sheet(folder / name, card())
    assert sheet.table["labels"].tolist() == ["golgi;vesicles", ""]


def test_semicolon_delimited_sheet_of_a_spreadsheet_program(folder: Path) -> None:
    (folder / "s.csv").write_text('tile_id;path;group;labels\na;a.tif;ACTB;"golgi;vesicles"\n')
    assert read_sheet(folder / "s.csv", card()).table["labels"].tolist() == ["golgi;vesicles"]


def test_byte_order_mark_and_spaces_and_blank_rows(folder: Path) -> None:
    path = folder / "samples.tsv"
    text = "tile_id \tpath\tgroup\tlabels\n\n a\ta.tif \tACTB\tgolgi ; vesicles\n\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    sheet = read_sheet(path, card())
    assert sheet.table.loc[3].to_dict() == {
        "tile_id": "a",
        "path": "a.tif",
        "group": "ACTB",
        "labels": "golgi;vesicles",
        "fov": "a",
        "batch": "",
    }


def test_one_file_per_channel_in_the_order_of_the_card(folder: Path) -> None:
    text = "tile_id | path_protein | path_nucleus | group | labels\nx | a.tif | b.tif | G | \n"
    sheet = read_sheet(write(folder, text), card())
    assert sheet.file_columns == ("path_nucleus", "path_protein")
    assert sheet.files(0) == [folder / "b.tif", folder / "a.tif"]
    assert sheet.source(0) == "b.tif;a.tif"


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    text = (
        "tile_id | path | group | labels\n"
        "a | a.tif |  | golgi\n"
        "a | missing.tif | ACTB | golg\n"
        " | b.tif | ACTB | golgi;golgi\n"
    )
    problems = sheet_problems(write(folder, text), card())
    said = "\n".join(map(str, problems))
    assert "row 2, column group: is empty" in said
    assert 'row 3, column tile_id: the id "a" is already used in row 2' in said
    assert 'row 3, column path: "missing.tif" does not exist' in said
    assert 'row 3, column labels: unknown label "golg"' in said
    assert 'Did you mean "golgi"?' in said
    assert "row 4, column tile_id: is empty" in said
    assert 'the label "golgi" is given twice' in said
    assert len(problems) == 6
    with pytest.raises(UserError, match="6 problems found"):
        read_sheet(folder / "samples.tsv", card())


@pytest.mark.parametrize(
    ("header", "what", "fix"),
    [
        ("tile_id | path | Group | labels", 'column "group" is missing', 'Did you mean "Group"?'),
        ("tile_ids | path | group | labels", 'column "tile_id" is missing', '"tile_ids"'),
        ("tile_id | path | group | label", 'column "labels" is missing', '"label"'),
        ("tile_id | file | group | labels", "no column names the raw files", "path_nucleus"),
        ("tile_id | path | group | labels | group", 'column "group" occurs twice', "Rename"),
        ("tile_id | path | group | labels | ", "column 5 has no name", "Name it"),
        ("tile_id | path | group | labels | y", "filled by transferscope", "Rename"),
        ("tile_id | path | path_protein | group | labels", "both", "Keep"),
        ("tile_id | path_protein | group | labels", '"path_nucleus" is missing', "Add"),
    ],
)
def test_wrong_columns(folder: Path, header: str, what: str, fix: str) -> None:
    values = {"group": "G", "Group": "G", "labels": "", "label": ""}
    row = "\t".join(values.get(name, "a.tif") for name in header.strip("\n").split(" | "))
    path = folder / "samples.tsv"
    path.write_text(header.replace(" | ", "\t") + "\n" + row + "\n")
    problem = only(sheet_problems(path, card()))
    assert what in problem.what
    assert fix in problem.fix
    assert "row 1" in problem.where


def test_unknown_channel_is_named_with_a_suggestion(folder: Path) -> None:
    text = (
        "tile_id | path_nucleus | path_protien | path_protein | group | labels\n"
        "a | a.tif | a.tif | b.tif | G | \n"
    )
    problem = only(sheet_problems(write(folder, text), card(), Path("cards/demo.yaml")))
    assert 'unknown channel "protien"' in problem.what
    assert 'Did you mean "protein"? Channels are named in cards/demo.yaml.' in problem.fix


def test_several_labels_in_a_single_label_dataset(folder: Path) -> None:
    text = GOOD.replace("golgi", "golgi;nucleus")
    problem = only(sheet_problems(write(folder, text), card(task="single-label")))
    assert problem.where.endswith("row 2, column labels")
    assert "2 labels" in problem.what


@pytest.mark.parametrize("cell", ["../a.tif", "x/../../a.tif", "/etc/hostname"])
def test_paths_that_escape_the_folder(folder: Path, cell: str) -> None:
    (folder / "inner").mkdir()
    path = write(folder / "inner", f"tile_id | path | group | labels\na | {cell} | G | \n")
    problem = only(sheet_problems(path, card()))
    assert "lies outside the folder of the sheet" in problem.what
    assert "roots" in problem.fix


@pytest.mark.parametrize("relative", [True, False])
def test_roots_allow_further_folders(folder: Path, relative: bool) -> None:
    (folder / "inner").mkdir()
    cell = "../a.tif" if relative else str(folder / "a.tif")
    path = write(folder / "inner", f"tile_id | path | group | labels\na | {cell} | G | \n")
    root = ".." if relative else str(folder)
    sheet = read_sheet(path, card(roots=[root]))
    assert sheet.files(0)[0].resolve() == (folder / "a.tif").resolve()
    assert sheet_problems(path, card(roots=[str(folder / "elsewhere")]))


def test_dots_and_links_inside_the_folder_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "link").symlink_to(tmp_path)
    text = "tile_id | path | group | labels\na | inner/../a.tif | G | \nb | link/b.tif | G | \n"
    assert sheet_problems(write(folder, text), card()) == []


def test_the_folder_itself_may_be_written_out(folder: Path) -> None:
    text = f"tile_id | path | group | labels\na | {folder / 'a.tif'} | G | \n"
    path = write(folder, text)
    assert sheet_problems(path, card()) == []
    assert read_sheet(path, card()).files(0) == [folder / "a.tif"]


def test_missing_file_suggests_the_nearest_name(folder: Path) -> None:
    problem = only(sheet_problems(write(folder, GOOD.replace("b.tif", "b.tiff")), card()))
    assert problem.what == '"b.tiff" does not exist'
    assert 'Did you mean "b.tif"?' in problem.fix


def test_many_alike_problems_are_capped_and_equal_ones_merged(folder: Path) -> None:
    rows = "".join(f"t{i} | no{i}.tif | G | nucleas\n" for i in range(100))
    problems = sheet_problems(write(folder, "tile_id | path | group | labels\n" + rows), card())
    assert any("rows 2, 3, 4, 5, 6 and 95 more" in p.where for p in problems)
    assert any("80 more rows have the same kind of problem" in p.what for p in problems)
    assert len(problems) == 22


def test_fov_that_straddles_groups(folder: Path) -> None:
    text = (
        "tile_id | path | group | labels | fov\na | a.tif | G | | f1\nb | b.tif | H | | f1\n"
    ).replace("| |", "| \t")
    problem = only(sheet_problems(write(folder, text), card()))
    assert problem.what == 'fov "f1" is of group "H", but of "G" in row 2'


def test_missing_mask_is_reported_and_an_empty_one_is_not(folder: Path) -> None:
    text = "tile_id | path | group | mask | labels\na | a.tif | G | m.tif | \nb | b.tif | G |  | \n"
    problem = only(sheet_problems(write(folder, text), card()))
    assert problem.where.endswith("row 2, column mask")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the sheet is empty"),
        (b"tile_id\tpath\tgroup\tlabels\n", "the sheet has no rows"),
        (b"tile_id\tpath\tgroup\tlabels\na\ta.tif\tG\n", "has 3 cells, but the header has 4"),
        ("tile_id\tpath\tgroup\tlabels\na\ta.tif\tAKTÖ\t\n".encode("latin-1"), "not UTF-8"),
        (GOOD.encode("utf-16-le"), "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "is an image"),
        (b'tile_id\tpath\tgroup\tlabels\n"' + b"a" * (1 << 21) + b"\n", "not a valid table"),
    ],
)
def test_unreadable_sheets(folder: Path, content: bytes, what: str) -> None:
    path = folder / "samples.tsv"
    path.write_bytes(content)
    assert what in only(sheet_problems(path, card())).what


def test_missing_sheet_and_folder_as_sheet(folder: Path) -> None:
    assert "does not exist" in only(sheet_problems(folder / "no.tsv", card())).what
    assert "cannot be read" in only(sheet_problems(folder, card())).what


def test_control_characters_and_overlong_names(folder: Path) -> None:
    text = f"tile_id | path | group | labels\na\x07 | {'x' * 5000}.tif | G | \n"
    problems = sheet_problems(write(folder, text), card())
    assert "control character" in problems[0].what
    assert "does not exist" in problems[1].what


def test_split_labels() -> None:
    assert split_labels(" golgi;; vesicles ;") == ["golgi", "vesicles"]
    assert split_labels("") == []

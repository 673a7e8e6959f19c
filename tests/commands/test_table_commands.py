"""Every command that reads a table reads it right, or not at all: there is one strict reader."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from table_commands import CLASSES, KEYS, READERS, message, prepare, read_with

LABELS = {"P1": "er", "P2": "er;golgi", "P3": "", "P4": "Nuclear bodies"}
generated = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NOTES = st.text(st.sampled_from("ab 1,;\t\"'é\u200b|\n"), min_size=0, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("tables"))


def rows_of(reader: str) -> list[list[str]]:
    """Return the header and the rows of a table for a reader."""
    rows = [READERS[reader].row(key, LABELS[key]) for key in KEYS]
    return [list(READERS[reader].columns), *rows]


def quoted(cell: str, delimiter: str, always: bool) -> str:
    if always or set(cell) & {delimiter, '"', "\r", "\n"}:
        return '"' + cell.replace('"', '""') + '"'
    return cell


def text_of(rows: list[list[str]], delimiter: str, end: str = "\n", always: bool = False) -> str:
    lines = [delimiter.join(quoted(cell, delimiter, always) for cell in row) for row in rows]
    return end.join(lines) + end


DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from("\t,;"),
        "ending": st.sampled_from([".csv", ".tsv", ".txt", ".TSV", ""]),
        "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
        "end": st.sampled_from(["\n", "\r\n", "\r"]),
        "always": st.booleans(),
        "declared": st.booleans(),
        "space": st.booleans(),
        "empty_columns": st.integers(0, 2),
        "empty_rows": st.integers(0, 2),
        "notes": st.lists(NOTES, min_size=4, max_size=4),
    }
)


# A command that decodes images takes a while.
EXAMPLES = {"sample sheet": 9, "list of a fetch": 15}


@pytest.mark.parametrize("reader", READERS)
def test_every_dialect_that_needs_no_guess_gives_the_same_labels(folder: Path, reader: str) -> None:
    @settings(max_examples=EXAMPLES.get(reader, 40), deadline=None)
    @given(dialect=DIALECTS)
    def check(dialect: dict[str, Any]) -> None:
        done, labels = read_with(reader, folder, written(reader, dialect), dialect["ending"])
        if done.exit_code:  # no guess: only where a note looks like stray quotes
            assert "quote" in message(done), message(done)
            assert any("\n" in note or '"' in note for note in dialect["notes"])
        else:
            assert labels == LABELS

    check()


def written(reader: str, dialect: dict[str, Any]) -> bytes:
    """Return the table of a reader in some dialect."""
    rows, delimiter, end = rows_of(reader), dialect["delimiter"], dialect["end"]
    for row, note in zip(rows[1:], dialect["notes"], strict=True):
        row[-1] = note
    if dialect["space"] and delimiter != "\t":
        rows = [[cell if n == 0 else f" {cell}" for n, cell in enumerate(row)] for row in rows]
    rows = [row + [""] * dialect["empty_columns"] for row in rows]
    rows += [[""] * len(rows[0])] * dialect["empty_rows"]
    text = text_of(rows, delimiter, end, dialect["always"])
    if dialect["declared"]:
        text = f"sep={delimiter}{end}{text}"
    return text.encode(dialect["encoding"])


def shifted(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    del draw
    return [rows[0], *[[*row, ""] for row in rows[1:]]], "cells, but the header has"


def one_more(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    at = draw(st.integers(1, 4))
    return [row if n != at else [*row, "x"] for n, row in enumerate(rows)], f"row {at + 1}"


def one_less(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    at = draw(st.integers(1, 4))
    return [row if n != at else row[:-1] for n, row in enumerate(rows)], f"row {at + 1}"


def row_names(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    del draw
    return [rows[0], *[[str(n), *row] for n, row in enumerate(rows[1:])]], "row names"


def index_column(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    del draw
    named = [["", *rows[0]], *[[str(n), *row] for n, row in enumerate(rows[1:])]]
    return named, "column 1 has no name"


def repeated_column(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    at = draw(st.integers(0, len(rows[0]) - 1))
    name = draw(st.sampled_from(["{}", " {}", "{} ", "\u00a0{}"])).format(rows[0][at])
    return [[name, *rows[0]], *[["x", *row] for row in rows[1:]]], "occurs twice"


def unseen_character(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    at = draw(st.integers(0, len(rows[0]) - 1))
    mark = draw(st.sampled_from("\u200b\ufeff\u00ad\u2060\u200e"))
    header = [name if n != at else f"{name}{mark}" for n, name in enumerate(rows[0])]
    return [header, *rows[1:]], "nobody sees"


def no_header_name(rows: list[list[str]], draw: st.DrawFn) -> tuple[list[list[str]], str]:
    del draw
    return [[*rows[0][:-1], ""], *rows[1:]], "has no name"


WRONG_ROWS = [
    shifted,
    one_more,
    one_less,
    row_names,
    index_column,
    repeated_column,
    unseen_character,
    no_header_name,
]


@pytest.mark.parametrize("reader", READERS)
@generated
@given(data=st.data())
def test_rows_and_headers_that_do_not_fit_are_refused(
    folder: Path, reader: str, data: st.DataObject
) -> None:
    wrong, said = data.draw(st.sampled_from(WRONG_ROWS))(rows_of(reader), data.draw)
    delimiter = data.draw(st.sampled_from("\t,;"))
    text = text_of(wrong, delimiter, data.draw(st.sampled_from(["\n", "\r\n", "\r"])))
    ending = data.draw(st.sampled_from([".csv", ".tsv", ".txt"]))
    done, _ = read_with(reader, folder, text.encode(), ending)
    assert done.exit_code == 1
    assert said in message(done)
    assert "given" in message(done)
    assert re.search(r"row \d|rows \d|line \d", message(done))
    assert "->" in message(done)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("delimiter", ["\t", ","])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Two stray quotes swallow the rows between them; one swallows the rest of the file.
        ('"er', 'golgi"'),
        ('"er', "golgi"),
        ('"er"x', "golgi"),
        ('"er', '"golgi'),
    ],
)
def test_stray_quotes_swallow_no_rows(
    folder: Path, reader: str, delimiter: str, first: str, second: str
) -> None:
    rows = rows_of(reader)
    rows[1][-1], rows[3][-1] = first, second
    text = "\n".join(delimiter.join(row) for row in rows) + "\n"
    done, _ = read_with(reader, folder, text.encode(), ".csv")
    assert done.exit_code == 1
    assert "quote" in message(done)
    assert re.search(r"line \d", message(done))


def test_a_lone_quote_in_a_csv_is_refused_and_in_a_tsv_is_a_character(folder: Path) -> None:
    rows = rows_of("hand labels")
    rows[2][-1] = '5" dish'
    for delimiter, code in ((",", 1), (";", 1), ("\t", 0)):
        text = "\n".join(delimiter.join(row).replace("er;golgi", "er") for row in rows)
        done, _ = read_with("hand labels", folder, text.encode(), ".txt")
        assert done.exit_code == code, done.output
    # Two within one cell are as unambiguous as they are in speech.
    rows[2][-1] = 'called "big"'
    text = "\n".join(",".join(row) for row in rows)
    assert read_with("hand labels", folder, text.encode(), ".csv")[1] == LABELS


WORKBOOK = b"PK\x03\x04\x14\x00\x06\x00" + bytes(40)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "ending", "said"),
    [
        (WORKBOOK, ".xlsx", "save it as CSV UTF-8"),
        (WORKBOOK, ".csv", "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xls", "workbook"),
        (b"PAR1....", ".parquet", "Parquet"),
        (b"\x1f\x8b\x08\x00", ".csv.gz", "Unpack"),
        (b"<!DOCTYPE html>\n<html>", ".csv", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", ".csv", "git lfs pull"),
        ("tile_id,labels\nP1,er\n".encode("utf-16-le"), ".csv", "UTF-16"),
        (b"tile_id,labels\nP1,\xe9r\n", ".csv", "line 2: not UTF-8 text: byte 0xe9"),
        (b"tile_id,labels\nP1,e\0r\n", ".csv", "line 2: holds a NUL"),
        (b"tile_id|labels\nP1|er\n", ".csv", "header is one cell"),
        (b"tile_id labels\nP1 er\n", ".tsv", "header is one cell"),
        (b"a,b;c\n1,2;3\n4,5;6\n", ".txt", "separated by comma and by semicolon"),
        (b'[{"tile_id": "P1"}]', ".tsv", "is JSON"),
        (b'{"tile_id": "P1"}\n{"tile_id": "P2"}\n', ".csv", "is JSON"),
        (b"\xef\xbb\xbf<table><tr><td>tile_id</td></tr></table>", ".csv", "web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(9), ".csv", "HDF5"),
        (b"SQLite format 3\0" + bytes(9), ".csv", "SQLite"),
        (b"II*\0" + bytes(9), ".csv", "image"),
        (b"\x80\x04\x95", ".csv", "pickle"),
        (b'"tile_id,labels"\n"P1,er"\n', ".csv", "whole rows are in quotes"),
        (b"Plate 1,,,\n,,,\ntile_id,labels,a,b\nP1,er,,\n", ".csv", "remove the rows above it"),
        (b"# of 2020, by X\ntile_id,labels,a,b\nP1,er,,\n", ".csv", "remove the rows above it"),
        (b"", ".csv", "empty"),
        (b",,\n,,\n", ".csv", "empty"),
        (b"sep=;\n", ".csv", "empty"),
    ],
)
def test_what_is_no_table_is_named(
    folder: Path, reader: str, content: bytes, ending: str, said: str
) -> None:
    done, _ = read_with(reader, folder, content, ending)
    assert done.exit_code == 1
    assert said in message(done)
    assert f"given{ending}" in message(done)


def test_the_line_is_that_of_the_file_and_the_row_that_of_a_spreadsheet(folder: Path) -> None:
    text = 'sep=;\ntile_id;labels;note\nP1;er;"a\nb"\nP2;er\n'
    done, _ = read_with("hand labels", folder, text.encode(), ".csv")
    assert "row 3: has 2 cells, but the header has 3 (line 5)" in message(done)


@pytest.mark.parametrize(
    ("key", "offer"),
    [
        ("p1", "case"),
        ("P01", "leading zeros"),
        ("P 1", "spaces, hyphens or underscores"),
        ("P-1", "spaces, hyphens or underscores"),
        ("\uff301", "the Unicode form"),
        ("\u04201", "letters of another alphabet"),
        ("P1.0", "decimals"),
        ("p_001", "case and spaces, hyphens or underscores and leading zeros"),
    ],
)
def test_a_key_that_is_likely_another_is_offered_and_never_joined(
    folder: Path, key: str, offer: str
) -> None:
    text = f"tile_id,labels\n{key},golgi\nP2,er\n"
    done, _ = read_with("hand labels", folder, text.encode(), ".csv")
    assert f'Likely "P1": it differs in {offer}.' in message(done)
    text = f"key,labels\n{key},golgi\nP2,er\n"
    done, labels = read_with("labels of a sheet", folder, text.encode(), ".csv")
    assert labels == {"P1": "", "P2": "er", "P3": "", "P4": ""}
    assert "1 keys fit no image" in done.output
    assert "3 images have no key" in done.output
    assert f'Likely "P1": it differs in {offer}.' in done.output


def test_numbers_stay_text(folder: Path) -> None:
    rows = rows_of("sample sheet")
    for n, row in enumerate(rows[1:]):
        row[0] = ["007", "7", "1e3", "NA"][n]
    done, labels = read_with("sample sheet", folder, text_of(rows, ",").encode(), ".csv")
    assert done.exit_code == 0, done.exception
    assert list(labels) == ["007", "7", "1e3", "NA"]


def test_two_keys_of_one_image_with_other_labels_are_refused(folder: Path) -> None:
    text = "key,labels\nP1,er\nP1.tif,golgi\n"
    done, _ = read_with("labels of a sheet", folder, text.encode(), ".csv")
    assert 'the keys "P1" and "P1.tif" both fit' in message(done)
    text = "key,labels\nP1,er\nP1.tif,er\n"
    done, labels = read_with("labels of a sheet", folder, text.encode(), ".csv")
    assert labels["P1"] == "er"


def test_rows_of_one_key_add_up_and_that_is_said(folder: Path) -> None:
    text = "key,labels\nP1,er\nP1,golgi\nP2,er\nP2,er\n"
    done, labels = read_with("labels of a sheet", folder, text.encode(), ".csv")
    assert (labels["P1"], labels["P2"]) == ("er;golgi", "er")
    assert (
        '1 keys have several rows with different labels, which are all taken: "P1"' in done.output
    )


@pytest.mark.parametrize("more", ["group", "labels", "id", "tile_id", "path_nucleus"])
def test_a_list_may_have_further_columns_of_any_name(folder: Path, more: str) -> None:
    rows = rows_of("list of a fetch")
    if more not in rows[0]:
        rows = [[*row, more if n == 0 else "other"] for n, row in enumerate(rows)]
    done, labels = read_with("list of a fetch", folder, text_of(rows, "\t").encode(), ".tsv")
    assert done.exit_code == 0, done.exception
    assert labels == LABELS


def test_the_classes_that_sheet_prints_can_be_pasted(folder: Path) -> None:
    odd = ["no", "1", "null", "a, b", "c: d", "#e", "it's", "[f]", "é", "y", "1e3", "", "~", "- g"]
    wanted = sorted({*odd, *CLASSES} - {""})
    rows = [["key", "labels"], *[["P1", label] for label in wanted]]
    done, _ = read_with("labels of a sheet", folder, text_of(rows, "\t").encode(), ".tsv")
    assert done.exit_code == 0, done.exception
    [line] = [line for line in done.output.splitlines() if "labels: [" in line]
    pasted = line.partition("for the dataset card:  ")[2]
    assert yaml.safe_load(pasted) == {"labels": wanted}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ""])
@pytest.mark.parametrize("more", ["dose, uM", "dose; uM"])
def test_a_name_with_a_comma_in_a_table_with_tabs(folder: Path, ending: str, more: str) -> None:
    text = f"tile_id\tlabels\t{more}\nP1\ter\t1,5;2\nP2\tgolgi\t2,5;3\n"
    _, labels = read_with("hand labels", folder, text.encode(), ending)
    assert (labels["P1"], labels["P2"]) == ("er", "golgi")


def test_a_header_that_was_split_otherwise_says_how_to_split_it(folder: Path) -> None:
    text = "tile_id;labels;dose, uM\nP1;er;1,5\nP2;golgi;2,5\n"
    done, _ = read_with("hand labels", folder, text.encode(), ".csv")
    assert "such as sep=;" in message(done)
    _, labels = read_with("hand labels", folder, f"sep=;\n{text}".encode(), ".csv")
    assert labels["P2"] == "golgi"


def test_columns_that_read_as_one_are_warned_of(folder: Path) -> None:
    done, labels = read_with("hand labels", folder, b"tile_id,labels,Labels\nP1,er,golgi\n", ".csv")
    assert labels["P1"] == "er"
    assert 'the columns "labels" and "Labels" read as one name' in done.output


def test_labels_that_are_separated_like_columns_are_to_be_quoted(folder: Path) -> None:
    done, _ = read_with("hand labels", folder, b"tile_id;labels\nP1;er;golgi\n", ".csv")
    assert "Quote cells that hold the delimiter" in message(done)


@pytest.mark.parametrize("reader", READERS)
@generated
@given(at=st.integers(1, 4), times=st.integers(1, 2))
def test_a_header_that_is_repeated_is_refused(
    folder: Path, reader: str, at: int, times: int
) -> None:
    header, *rows = rows_of(reader)
    rows = [*rows[:at], *[header] * times, *rows[at:]]
    done, _ = read_with(reader, folder, text_of([header, *rows], "\t").encode(), ".tsv")
    assert "repeats the header" in message(done)
    assert re.search(rf"rows? {at + 2}\b", message(done))


SECRET = "hunter2"
URLS_WITH_SECRETS = st.sampled_from(
    [
        "https://me:{}@host/x",
        "s3://bucket/x?X-Amz-Signature={}",
        "https://host/x#access_token={}",
        "https://{}@host/x",
        "https://me:a/{}@host/x",
    ]
)


@pytest.mark.parametrize("reader", READERS)
@generated
@given(data=st.data(), url=URLS_WITH_SECRETS, before=st.sampled_from(["", "see "]))
def test_no_secret_of_a_url_is_stored_or_printed(
    folder: Path, reader: str, data: st.DataObject, url: str, before: str
) -> None:
    rows = rows_of(reader)
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(rows[0])))  # one too many, too
    cell = before + url.format(SECRET)
    rows[row] = [*rows[row][:column], cell, *rows[row][column + 1 :]]
    done, _ = read_with(reader, folder, text_of(rows, "\t").encode(), ".tsv")
    assert "Take the secret out of the table" in message(done)
    assert SECRET not in message(done) + done.output


def test_other_urls_are_carried(folder: Path) -> None:
    rows = rows_of("sample sheet")
    for row, url in zip(rows[1:], ["https://doi.org/10.1/x", "mailto:a@b.org"], strict=False):
        row[-1] = url
    done, found = read_with("sample sheet", folder, text_of(rows, "\t").encode(), ".tsv")
    assert done.exit_code == 0, done.exception
    assert found == LABELS


@pytest.mark.parametrize("text", ["er,golgi", "er|golgi", "['er', 'golgi']", "er / golgi"])
def test_labels_that_are_joined_otherwise_are_told_how(folder: Path, text: str) -> None:
    rows = rows_of("sample sheet")
    rows[2][3] = text
    done, _ = read_with("sample sheet", folder, text_of(rows, "\t").encode(), ".tsv")
    assert 'Separate labels by ";": er;golgi.' in message(done)
    rows = rows_of("labels of a sheet")
    rows[2][1] = text
    done, _ = read_with("labels of a sheet", folder, text_of(rows, "\t").encode(), ".tsv")
    assert 'Separate labels by ";"' in done.output or "|" in text


@pytest.mark.parametrize("text", ["nan", "NA", "None"])
def test_labels_that_mean_nothing_are_no_class_in_silence(folder: Path, text: str) -> None:
    rows = rows_of("sample sheet")
    rows[2][3] = text
    done, _ = read_with("sample sheet", folder, text_of(rows, "\t").encode(), ".tsv")
    assert "Leave the cell empty" in message(done)


FOVS = ["fov", "", "P1", "P3", "P4"]


def test_a_field_is_of_one_group_where_its_name_is_that_of_a_row(folder: Path) -> None:
    rows = [[*row, fov] for row, fov in zip(rows_of("sample sheet"), FOVS, strict=True)]
    done, _ = read_with("sample sheet", folder, text_of(rows, "\t").encode(), ".tsv")
    assert 'fov "P1" is of group' in message(done)

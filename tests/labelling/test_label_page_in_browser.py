"""The page in a real browser: keys, undo, drafts, pictures, and the CSV that comes back."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest

from browser import Browser, Page
from label_pages import CLASSES, LIMITS, label_page, nasty_page, tile_of, write_page
from transferscope.cards import DatasetCard
from transferscope.labelling.label_table import with_hand_labels
from transferscope.labelling.page import EarlierRow
from transferscope.tiles.contact_sheets import composite

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NO_STORAGE = """
Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("forbidden", "SecurityError"); },
});
"""
SHOWN = "document.querySelector('#tile').dataset"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    running = Browser(tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def open_page(browser, tmp_path):
    opened = []

    def open_page(page, **options):
        path = write_page(tmp_path / "label.html", page)
        opened.append(Page(browser, path.as_uri(), **options))
        opened[-1].wait_for(f"{SHOWN}.tile !== undefined")
        return opened[-1]

    yield open_page
    for page in opened:
        page.close()


def shown_tile(page):
    """Return the id of the tile whose picture is painted, once the painting is done."""
    number = int(page.text("#position").split()[1])
    page.wait_for(f"{SHOWN}.tile === JSON.parse(data.textContent).tiles[{number - 1}].id")
    return page.value(f"{SHOWN}.tile")


def saved(page, folder):
    """Save, and return the rows of the file, its header first."""
    content = page.download(folder, "#save")
    assert content.endswith(b"\r\n")
    return list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))


def test_one_key_labels_a_tile_and_goes_on(open_page, tmp_path):
    page = open_page(label_page())
    assert shown_tile(page) == "t0"
    page.click("#labeller")
    page.press(*"Jo 1", "Enter")
    page.press("1", "3", "s", "u")
    assert shown_tile(page) == "t4"
    assert page.text("#progress-text") == "4 of 5"
    header, *rows = saved(page, tmp_path / "saved")
    assert header == ["tile_id", "labels", "labeller", "time"]
    assert [row[:3] for row in rows] == [
        ["t0", "er", "Jo 1"],
        ["t1", "nucleus", "Jo 1"],
        ["t2", "skip", "Jo 1"],
        ["t3", "unsure", "Jo 1"],
    ]
    assert all(TIME.fullmatch(row[3]) for row in rows)
    assert page.complaints() == []


def test_what_is_saved_is_read_back(open_page, tmp_path):
    classes = ["er", 'a,"b"', "o'c"]
    page = open_page(label_page(classes=classes, multiple=True))
    page.press("2", "1", "Enter", "3", "Enter", "s", "Enter", "2")
    (tmp_path / "hand.csv").write_bytes(page.download(tmp_path / "saved", "#save"))
    card = DatasetCard(
        name="demo", sheet="s.tsv", channels=["nucleus"], labels=classes, label_table="hand.csv"
    )
    table = pd.DataFrame({"tile_id": [f"t{i}" for i in range(5)], "group": "g", "labels": "er"})
    found = with_hand_labels(table, card, tmp_path / "demo.yaml")
    assert found["labels"].tolist() == ['er;a,"b"', "o'c", "", "", 'a,"b"']


def test_several_labels_are_toggled_until_enter(open_page, tmp_path):
    page = open_page(label_page(multiple=True))
    page.press("1", "2", "1", "3")
    assert shown_tile(page) == "t0"
    pressed = "[...document.querySelectorAll('#classes [aria-pressed=true]')]"
    assert page.value(f"{pressed}.map(b => b.dataset.name)") == ["golgi", "nucleus"]
    page.press("Enter", "2", "2", "Enter", "s")
    _, *rows = saved(page, tmp_path / "saved")
    # What was toggled back is not decided.
    assert [row[:2] for row in rows] == [["t0", "golgi;nucleus"], ["t2", "skip"]]


def test_undo_takes_back_and_goes_back(open_page, tmp_path):
    page = open_page(label_page())
    page.press("1", "2", "ArrowLeft", "ArrowLeft", "3")
    assert shown_tile(page) == "t1"
    page.press("z")
    assert shown_tile(page) == "t0"
    page.press("Backspace")
    assert shown_tile(page) == "t1"
    _, *rows = saved(page, tmp_path / "saved")
    assert [row[:2] for row in rows] == [["t0", "er"]]
    page.press("z", "z")
    assert page.text("#progress-text") == "0 of 5"
    assert "nothing to undo" in page.text("#status")


def test_keys_move_change_the_view_and_the_brightness(open_page):
    page = open_page(label_page())
    page.press("ArrowLeft", "ArrowRight", "ArrowRight")
    assert shown_tile(page) == "t2"
    page.press("c")
    page.wait_for(f"{SHOWN}.view === 'nucleus'")
    page.press("c", "c")
    page.wait_for(f"{SHOWN}.view === 'colours'")
    filtered = "document.querySelector('#tile').style.filter"
    page.press("+", "+", "+", "+")
    assert page.value(filtered) == "brightness(2)"
    page.press("0", "-", "-", "-", "-")
    assert page.value(filtered) == "brightness(0.5)"
    page.press("1", "n")
    assert shown_tile(page) == "t0"


def painted(page):
    """Return the pixels of the canvas, [H, W, 3]."""
    pixels = page.value(
        "(c => [c.height, c.width, ...c.getContext('2d').getImageData(0, 0, c.width, c.height)"
        ".data])(document.querySelector('#tile'))"
    )
    return np.array(pixels[2:]).reshape(pixels[0], pixels[1], 4)[..., :3]


def test_the_mixed_picture_has_the_colours_of_the_contact_sheets(open_page):
    page = open_page(label_page())
    page.press("ArrowRight")
    assert shown_tile(page) == "t1"
    expected = composite(tile_of(1), LIMITS, ["nucleus", "protein"]) * 255
    assert expected.std() > 30
    np.testing.assert_allclose(painted(page), expected, atol=2)
    page.press("c")
    page.wait_for(f"{SHOWN}.view === 'nucleus'")
    grey = np.repeat(tile_of(1)[0, :, :, None] / 1000 * 255, 3, axis=2)
    np.testing.assert_allclose(painted(page), grey, atol=1)


def test_a_draft_outlives_the_page(open_page, tmp_path):
    page = open_page(label_page(dataset="draft"))
    page.press("1", "2")
    page.open(str(page.value("location.href")))
    assert page.text("#progress-text") == "2 of 5"
    assert shown_tile(page) == "t2"
    assert [row[:2] for row in saved(page, tmp_path / "saved")[1:]] == [
        ["t0", "er"],
        ["t1", "golgi"],
    ]


def test_it_works_where_the_browser_keeps_nothing(open_page, tmp_path):
    page = open_page(label_page(), before=NO_STORAGE)
    page.press("1")
    assert "keeps no draft" in page.text("#status")
    page.press("2")
    assert [row[1] for row in saved(page, tmp_path / "saved")[1:]] == ["er", "golgi"]
    assert page.complaints() == []


def test_an_earlier_table_is_gone_on_with(open_page, tmp_path):
    earlier = [EarlierRow("before", "golgi", "Jo", "2026-01-02T03:04:05Z")]
    page = open_page(label_page(dataset="earlier", earlier=earlier))
    table = tmp_path / "earlier.csv"
    rows = 't0,nucleus,"Doe, ""J""",2026\r\nt1,unsure,,\r\nother,er,,\r\n'
    table.write_text("\ufefftile_id,labels,labeller,time\r\n" + rows, encoding="utf-8", newline="")
    page.give_file("#file", table)
    page.wait_for("progress.value === 2")
    assert shown_tile(page) == "t2"
    page.press("1")
    assert saved(page, tmp_path / "saved")[1:4] == [
        ["before", "golgi", "Jo", "2026-01-02T03:04:05Z"],
        ["other", "er", "", ""],
        ["t0", "nucleus", 'Doe, "J"', "2026"],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tile_id,labels\nt0,eer\n", 'unknown label "eer" of t0'),
        ("tile,labels\nt0,er\n", '"tile_id" is missing'),
        ("tile_id,labels\nt0,er;golgi\n", "several labels of t0"),
        ('tile_id,labels\nt0,"er\n', "row 2 is no valid CSV"),
    ],
)
def test_a_bad_table_is_refused_as_a_whole(open_page, tmp_path, text, message):
    page = open_page(label_page(dataset="bad"))
    (tmp_path / "bad.csv").write_text(text)
    page.give_file("#file", tmp_path / "bad.csv")
    page.wait_for("document.querySelector('#status').textContent")
    assert message in page.text("#status")
    assert page.text("#progress-text") == "0 of 5"


def test_harmful_names_are_mere_text(open_page, tmp_path):
    nasty = nasty_page()
    page = open_page(nasty)
    names = "[...document.querySelectorAll('#classes .name')].map(n => n.textContent)"
    assert page.value(names) == nasty.classes
    page.press("1", "2", "3", "4", "5")
    _, earlier, *rows = saved(page, tmp_path / "saved")
    assert earlier[0] == nasty.earlier[0].tile_id
    assert [row[0] for row in rows] == [tile.id for tile in nasty.tiles]
    assert [row[1] for row in rows] == nasty.classes[:5]
    assert page.value("window.harm") is None


def test_nothing_is_asked_for_from_anywhere(open_page):
    page = open_page(label_page())
    page.press("1", "c", "2")
    assert shown_tile(page) == "t2"
    assert page.requests() <= {"file", "data"}
    assert (
        page.value("fetch('data:text/plain,1').then(() => 'loaded', () => 'refused')") == "refused"
    )


def test_every_control_has_a_name_and_is_reached_by_tab(open_page):
    page = open_page(label_page())
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "slider", "progressbar", "image"}
    controls = [n for n in tree if n.get("role", {}).get("value") in roles]
    assert len(controls) >= len(CLASSES) + 9
    assert [n for n in controls if not n["name"]["value"]] == []
    page.press("Tab")
    assert page.value("document.activeElement !== document.body")

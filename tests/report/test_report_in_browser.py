"""The report in a real browser: choosing, sorting, enlarging, saving."""

import pytest

from browser import Browser, Page
from report_pages import leaderboard, page_of, shown_dataset, written_study

ROWS = "document.querySelectorAll('#leaderboard tbody tr').length"
MOST_BYTES = 15_000_000
SHOWN = "document.querySelectorAll('#tile-gallery .tile').length"
# Milliseconds of a frame: all points are drawn anew, and the pixels are read, so that none waits.
FRAME = """(() => {
  const canvas = document.querySelector("#tile-map");
  const times = [];
  for (let i = 0; i < 20; i++) {
    const start = performance.now();
    tiles.zoom.scale = 1 + i / 50;
    drawMap();
    canvas.getContext("2d").getImageData(0, 0, 1, 1);
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[10];
})()"""
HOSTILE = "</script><img src=x onerror=alert(1)>\u2028"
FIRST = "document.querySelector('#leaderboard tbody tr td').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    running = Browser(tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def open_report(browser, tmp_path):
    opened = []

    def open_report(table=None, tiles=()):
        (tmp_path / "study").mkdir()
        path = tmp_path / "report.html"
        page = page_of(written_study(tmp_path / "study"), table, tiles=tiles)
        path.write_text(page, encoding="utf-8")
        assert path.stat().st_size < MOST_BYTES
        opened.append(Page(browser, path.as_uri()))
        return opened[-1]

    yield open_report
    for page in opened:
        page.close()


def test_stores_are_chosen_sorted_filtered_and_saved(open_report, tmp_path):
    page = open_report()
    page.wait_for(f"{ROWS} === 2")
    assert page.text("#count") == "2 of 2 stores"
    best = page.value(FIRST)
    page.click("#leaderboard th:nth-child(3) button")
    assert page.value(FIRST) != best
    assert page.value("document.querySelector('[aria-sort=ascending]').textContent") == "Score"
    page.click("#filter")
    page.press(*"RAND")
    page.wait_for(f"{ROWS} === 1")
    assert page.value(FIRST) == "random"
    lines = page.download(tmp_path / "saved", "#download").decode().splitlines()
    assert lines[0].startswith("backbone,channels,mean,ci_low,ci_high")
    assert len(lines) == 3
    assert page.complaints() == []


def test_a_figure_is_enlarged_and_closed(open_report):
    page = open_report()
    page.value("document.querySelector('.picture').scrollIntoView() ?? true")
    page.click(".picture")
    page.wait_for("document.querySelector('#large').open")
    page.press("Enter")
    page.wait_for("!document.querySelector('#large').open")
    assert page.complaints() == []


def test_a_hundred_backbones_are_usable(open_report):
    names = [f"backbone-{number:03}" for number in range(100)]
    page = open_report(leaderboard(names, datasets=["cells"]))
    page.wait_for(f"{ROWS} === 100")
    page.click("#leaderboard th:first-child button")
    assert page.value(FIRST) == names[0]
    assert page.complaints() == []


def test_the_pictures_behind_a_confusion_open(open_report):
    page = open_report(tiles=[shown_dataset(), shown_dataset(40, name="others")])
    page.wait_for(f"{SHOWN} === 48")
    assert page.text("#tile-gallery-title") == "Pictures: with a mistake"
    page.value("document.querySelector('#tile-pairs button').click() ?? true")
    assert page.text("#tile-gallery-title") == "Pictures: er, taken for golgi"
    assert page.text("#tile-gallery-about") == "48 of 67 tiles"
    page.value("document.querySelector('#tile-more').click() ?? true")
    assert page.value(SHOWN) == 67
    page.value("document.querySelector('#tile-gallery .tile').click() ?? true")
    page.wait_for("document.querySelector('#tile-large').open")
    assert "predicted as golgi" in page.text("#tile-name")
    page.press("Escape")
    assert page.complaints() == []
    assert page.requests() <= {"file", "data"}


def test_tiles_on_the_map_are_filtered_and_reached_with_keys(open_report):
    page = open_report(tiles=[shown_dataset()])
    for choice, value, left in (("kind", "wrong", 134), ("class", "0", 134), ("kind", "all", 267)):
        box = f"document.querySelector('#tile-{choice}')"
        change = "dispatchEvent(new Event('change'))"
        page.value(f"{box}.value = '{value}', {box}.{change}")
        assert page.text("#tile-count") == f"{left} of 400 tiles on the map"
    page.value("document.querySelector('#tile-map').focus() ?? true")
    page.press("ArrowRight", "ArrowRight")
    assert page.text("#tile-said").startswith("t")
    page.press("Enter")
    page.wait_for("document.querySelector('#tile-large').open")
    assert page.complaints() == []


def test_ten_thousand_points_are_drawn_at_thirty_frames_a_second(open_report, capsys):
    classes = [f"class {i}" for i in range(30)]
    page = open_report(tiles=[shown_dataset(10_000, classes, size=2)])
    milliseconds = float(page.value(FRAME))
    with capsys.disabled():
        print(f"\n10,000 points: {milliseconds:.1f} ms per frame")
    assert milliseconds < 1000 / 30


def test_a_large_report_is_small_enough_and_usable(open_report):
    table = leaderboard([f"backbone-{number:03}" for number in range(100)])
    page = open_report(table, [shown_dataset(5000, [f"class {i}" for i in range(20)], size=96)])
    page.wait_for(f"{ROWS} === 100")
    page.wait_for(f"{SHOWN} === 48")
    assert page.complaints() == []


def test_hostile_names_are_text(open_report):
    names = [HOSTILE, "<b>'\"&"]
    page = open_report(leaderboard(names, names), [shown_dataset(40, names, names, HOSTILE)])
    assert page.value("document.querySelectorAll('img[src=x], b').length") == 0
    assert HOSTILE in page.text("#tile-legend")
    assert page.complaints() == []
    assert page.requests() <= {"file", "data"}

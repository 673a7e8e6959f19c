"""The report in a real browser: choosing, sorting, enlarging, saving."""

import pytest

from browser import Browser, Page
from report_pages import leaderboard, page_of, written_study

ROWS = "document.querySelectorAll('#leaderboard tbody tr').length"
FIRST = "document.querySelector('#leaderboard tbody tr td').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    running = Browser(tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def open_report(browser, tmp_path):
    opened = []

    def open_report(table=None):
        (tmp_path / "study").mkdir()
        path = tmp_path / "report.html"
        path.write_text(page_of(written_study(tmp_path / "study"), table), encoding="utf-8")
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

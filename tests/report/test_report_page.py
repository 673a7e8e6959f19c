"""The report: what it says, what it holds, and that no name breaks it."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disturbances import COSTS
from report_pages import FIGURES, leaderboard, page_of, shown_dataset, written_study
from transferscope.report.figures import LARGEST_BYTES, ReportFigure
from transferscope.report.page import CONTEST, contests, unscored_page
from transferscope.runtime.single_page import part

HOSTILE = st.text(min_size=1, max_size=30) | st.sampled_from(
    [
        "</script><img src=x>",
        "<!--",
        "{{ data }}",
        '"><svg onload=x>',
        "\u2028",
        "&lt;",
        "__proto__",
    ]
)


class Elements(HTMLParser):
    """Collects names and attributes of the elements of a page, and the text of its data."""

    def __init__(self):
        super().__init__()
        self.found, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1] == ("script", {"type": "application/json", "id": "data"}):
            self.texts.append(data)


def parsed(page):
    """Return the elements and the data of a page."""
    elements = Elements()
    elements.feed(page)
    return elements.found, json.loads("".join(elements.texts[:1]))


def test_the_answer_comes_first_and_every_figure_has_its_caption(tmp_path):
    page = page_of(written_study(tmp_path))
    for text in (
        "may be the best",
        "Which classes are hard?",
        "All that was compared",
        "study: glow",
    ):
        assert text in page
    assert page.index("may be the best") < page.index("Which classes are hard?")
    found, _ = parsed(page)
    pictures = [attrs for tag, attrs in found if tag == "img" and "decoding" in attrs]
    assert [attrs["src"].partition(";")[0] for attrs in pictures] == ["data:image/svg+xml"]


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    found, _ = parsed(page_of(written_study(tmp_path)))
    for tag, attrs in found:
        assert tag not in {"link", "iframe", "object", "embed"}
        assert attrs.get("src", "data:").startswith("data:")
        # Downloads are next to the page.
        assert re.match(r"#|[a-z_/]+\.(csv|md|yaml|json)$", attrs.get("href", "#"))


def test_a_figure_that_is_too_large_is_shown_as_pixels_or_left_out(tmp_path):
    root = written_study(tmp_path)
    drawn = root / "figures/classes.svg"
    drawn.write_bytes(b" " * (LARGEST_BYTES + 1))
    assert "Too large for this page." in page_of(root)
    drawn.with_suffix(".png").write_bytes(b"png")
    assert "data:image/png" in page_of(root)
    assert len(page_of(root)) < LARGEST_BYTES


@settings(max_examples=40, deadline=None)
@given(st.lists(HOSTILE, min_size=4, max_size=4, unique=True))
def test_no_name_becomes_markup(tmp_path_factory, names):
    root = written_study(tmp_path_factory.mktemp("study"))
    table = leaderboard(backbones=names[:2], datasets=names[2:])
    tiles = [shown_dataset(4, names[:2], names[2:], names[3], size=1)]
    tiles[0]["ids"] = names
    plain, _ = parsed(page_of(root, tiles=[shown_dataset(4, size=1)]))
    found, data = parsed(page_of(root, table, study=names[0], tiles=tiles))
    assert data["tiles"][0]["ids"] == names
    assert data["tiles"][0]["classes"] == names[:2]
    assert [tag for tag, _ in found] == [tag for tag, _ in plain]
    shown = {row["backbone"] for contest in data["contests"] for row in contest["rows"]}
    assert shown == set(names[:2])


def test_the_head_of_the_headline_comes_first():
    table = leaderboard()
    chosen = table[(table["head"] == "knn") & (table["k"] == 5)][CONTEST].drop_duplicates()
    first, *others = contests(table, chosen.astype({"k": "Int64"}))
    assert (first["head"], first["headline"]) == ("knn, k = 5", True)
    headlines = [contest["head"] for contest in (first, *others) if contest["headline"]]
    assert headlines == ["knn, k = 5"] * 4
    assert all(contest["headline"] for contest in others[:3])
    scores = [row["mean"] for row in first["rows"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("given", ["../x.svg", "/etc/passwd", "figures/../../x.svg"])
def test_no_figure_is_read_from_elsewhere(given):
    assert not ReportFigure(given, "caption.rst", "Figures").is_within
    assert not ReportFigure("x.svg", given, "Figures").is_within


def test_missing_values_are_json(tmp_path):
    table = leaderboard().assign(ci_low=float("nan"), operations=float("nan"))
    _, data = parsed(page_of(written_study(tmp_path), table))
    assert {row["ci_low"] for contest in data["contests"] for row in contest["rows"]} == {None}


def test_captions_are_markdown(repository):
    # What only reST means would be shown as it stands.
    only_rest = re.compile(r"^\.\. |`_|:\w+:`", re.MULTILINE)
    for caption in (repository / "workflow").rglob("*.rst"):
        assert not only_rest.search(caption.read_text()), caption


def luminance(colour):
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def colours_of(style):
    """Return the colours of the page by name: as they are, and in the dark if it has both."""
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    found = [dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in blocks]
    assert len({frozenset(colours) for colours in found}) == 1
    return found


@pytest.mark.parametrize("package", ["report", "labelling"])
def test_every_text_can_be_read_on_every_ground(package):
    style = part(f"transferscope.{package}", "page.css")
    used = set(re.findall(r"(?<![-\w])color: var\(--([a-z-]+)\)", style))
    assert "text" in used
    for colours in colours_of(style):
        grounds = [name for name in ("back", "panel") if name in colours]
        for text in used - {*grounds}:
            for ground in grounds:
                # WCAG AA, of text of any size.
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        if "warn-back" in colours:
            for text in ("warn", "text", "accent", "quiet"):
                assert contrast(colours[text], colours["warn-back"]) >= 4.5, text


def test_the_page_says_what_the_jobs_took(tmp_path):
    root = written_study(tmp_path)
    costs = (["", "jobs"], [["heads<b>", "3"]])
    page = unscored_page(root, {"study": "glow"}, ["Why."], FIGURES, costs)
    assert '<th scope="row">heads&lt;b&gt;</th><td>3</td>' in page
    without = unscored_page(root, {"study": "glow"}, ["Why."], FIGURES)
    assert COSTS.sub(b"", page.encode()) == COSTS.sub(b"", without.encode())


def test_a_study_without_scores_has_a_page_that_says_why(tmp_path):
    root = written_study(tmp_path)
    (root / "summary.md").unlink()
    (root / "details.md").unlink()
    hostile = "Nothing of <b>cells</b> is scored: no tile has a label."
    page = unscored_page(root, {"study": "glow"}, [hostile], FIGURES)
    assert "Nothing of &lt;b&gt;cells&lt;/b&gt; is scored" in page
    assert "figures/classes.svg" in page
    found, data = parsed(page)
    assert data == {}
    assert not [a for _, a in found if a.get("id") in ("stores", "tiles", "leaderboard")]
    inside = {a["href"] for tag, a in found if tag == "a" and a["href"].startswith("#")}
    assert inside <= {f"#{a['id']}" for _, a in found if "id" in a}

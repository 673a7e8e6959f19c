"""The page is one file that loads nothing, and no name can break out of its place."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from label_pages import CLASSES, COMMENT, SCRIPT, label_page, nasty_page
from transferscope.labelling.page import page_html


class Parsed(HTMLParser):
    """Tags of a page, and the text within scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.within = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in self.texts:
            self.texts[tag].append("")
            self.within = tag

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if self.within:
            self.texts[self.within][-1] += data


@pytest.mark.parametrize("make", [label_page, nasty_page])
def test_the_page_is_one_file_that_refers_to_nothing(make):
    text = page_html(make())
    assert not re.search(r"https?://|@import|url\(", text)
    for tag, attributes in Parsed(text).tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "href", "action", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("make", [label_page, nasty_page])
def test_the_policy_allows_just_the_own_program_and_style(make):
    parsed = Parsed(page_html(make()))
    [policy] = [a["content"] for t, a in parsed.tags if t == "meta" and "http-equiv" in a]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))

    def source(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    data, program = parsed.texts["script"]
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == source(program)
    assert rules["style-src"] == source(parsed.texts["style"][0])
    assert rules["img-src"] == "data:"
    assert '"use strict"' in program
    json.loads(data)


def test_names_come_through_unchanged_and_cannot_end_the_script():
    page = nasty_page()
    text = page_html(page)
    assert SCRIPT not in text
    assert COMMENT not in text
    assert text.count("<script") == text.count("</script>") == 2
    data = json.loads(Parsed(text).texts["script"][0])
    assert [one["name"] for one in data["classes"]] == page.classes
    assert [tile["id"] for tile in data["tiles"]] == [tile.id for tile in page.tiles]
    assert data["earlier"][0]["tile_id"] == page.earlier[0].tile_id


def test_the_dataset_is_escaped_in_title_and_heading():
    text = page_html(label_page(dataset=SCRIPT))
    assert SCRIPT not in text
    assert "&lt;/script&gt;" in text


def test_the_inherited_labels_of_the_tiles_are_not_on_the_page():
    data = label_page().data()
    assert all(set(tile) == {"id", "pictures"} for tile in data["tiles"])


def test_each_class_has_a_key_of_its_own_while_there_are_any():
    names = [f"class {i}" for i in range(60)]
    keys = [one["key"] for one in label_page(classes=names).data()["classes"]]
    given = [key for key in keys if key]
    assert keys[:10] == [*"123456789", "a"]
    assert len(given) == len(set(given)) == 51
    # Keys that mean skip, unsure, undo, next open, view, brightness.
    assert not set(given) & set("suznc0+-=")
    assert len(keys) == 60


def test_other_tiles_or_classes_are_another_draft():
    drafts = {
        label_page().data()["draft"],
        label_page(classes=CLASSES[::-1]).data()["draft"],
        label_page(tiles=label_page().tiles[:4]).data()["draft"],
    }
    assert len(drafts) == 3
    assert label_page().data()["draft"] in drafts

"""The pages of the documentation: their links, their place on the site, what they quote."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from doc_pages import BLOCK
from factories import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(DOCS.rglob("*.md")),
]


def prose(page: Path) -> str:
    """Return the text of a page without its code."""
    return BLOCK.sub("", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site and code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"\s", "-", text) for text in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{page.name} links to {target}"


def test_the_make_targets_that_pages_name_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    text = "\n".join(page.read_text() for page in PAGES)
    for target in set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def named(entries: list) -> Iterator[str]:
    """Yield the pages of a navigation."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, list):
            yield from named(entry)
        else:
            yield from named(list(entry.values()))


def test_every_page_is_on_the_site_and_on_its_start_page() -> None:
    site = tomllib.loads((REPOSITORY / "zensical.toml").read_text())["project"]
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    listed = list(named(site["nav"]))
    assert sorted(listed) == sorted(pages)
    linked = set(re.findall(r"\]\(([^)#]+)\)", (DOCS / "index.md").read_text()))
    assert linked == pages - {"index.md"}


def test_pages_show_nothing_from_elsewhere() -> None:
    for page in PAGES:
        assert not re.search(r"!\[[^]]*\]\(https?:", prose(page)), page.name


def test_pages_and_captions_are_in_plain_words() -> None:
    odd = re.compile(r"\b(mend(s|ed|ing)?|beside|but for|a row a)\b", re.IGNORECASE)
    for page in [*PAGES, *(REPOSITORY / "workflow").rglob("*.rst")]:
        assert not odd.search(page.read_text()), page.name


def test_every_picture_is_shown() -> None:
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", prose(page))
    }
    assert set((DOCS / "images").rglob("*.png")) | set((DOCS / "images").glob("*.svg")) == shown


@pytest.fixture(scope="module")
def said() -> str:
    """Return every text that the package may print."""
    modules = (REPOSITORY / "workflow/transferscope").rglob("*.py")
    nodes = (node for module in modules for node in ast.walk(ast.parse(module.read_text())))
    return "\n".join(
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_the_messages_that_troubleshooting_quotes_exist(said: str) -> None:
    rows = re.findall(r"^\| (.+?) \|", prose(DOCS / "troubleshooting.md"), re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row) if " " in text]
    assert len(quoted) > 20
    for text in quoted:
        for part in text.split("..."):
            assert part.strip() in said, f"no message of the package says {text!r}"


def test_the_glossary_is_in_order() -> None:
    terms = re.findall(r"^(\S.*)\n:   ", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(terms) > 20
    assert terms == sorted(terms, key=str.casefold)


def test_the_workflow_catalog_gets_what_it_asks_for() -> None:
    catalog = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())
    usage = catalog["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    assert usage["software-stack-deployment"]["conda"] is True
    rules = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    assert "conda:" in rules
    assert "apptainer" not in rules


def test_the_notebook_holds_no_outputs() -> None:
    for path in DOCS.rglob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)

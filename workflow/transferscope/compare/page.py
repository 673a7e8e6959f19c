"""The summary as an HTML page; names from the user's tables are escaped."""

from __future__ import annotations

from markdown_it import MarkdownIt

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { border-bottom: 1px solid #ccc; padding: 0.2rem 1rem 0.2rem 0; text-align: left; }
code { background: #eee; padding: 0 0.2rem; }
"""


def as_page(markdown: str, title: str) -> str:
    """Convert Markdown to a self-contained HTML page.

    Parameters
    ----------
    markdown
        The text; HTML in it is escaped.
    title
        Title of the page.
    """
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    body = as_html(markdown)
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def as_html(markdown: str) -> str:
    """Convert Markdown to a fragment of HTML; HTML in it is escaped."""
    # Raw HTML and links are disabled, because a label may contain any text.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image"])
    rendered: str = parser.render(markdown)
    return rendered

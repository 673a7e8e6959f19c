"""The figures of the report, each with its caption, within the page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transferscope.compare.page import as_html
from transferscope.runtime.shipped import SHIPPED

TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
# A page that is sent by mail: what is above this is left next to it.
MOST_BYTES = 5 << 20
LARGEST_BYTES = 2 << 20


@dataclass(frozen=True)
class ReportFigure:
    """A figure.

    Parameters
    ----------
    path
        The file, relative to the folder of the study.
    caption
        File of its caption, relative to the folder of the workflow.
    category, labels
        Its heading.
    wildcards
        Of the job that drew it.
    """

    path: str
    caption: str
    category: str
    labels: Mapping[str, str] = field(default_factory=dict)
    wildcards: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_within(self) -> bool:
        """Whether file and caption are below the folders that they are relative to."""
        given = (Path(self.path), Path(self.caption))
        return not any(path.is_absolute() or ".." in path.parts for path in given)

    @property
    def title(self) -> str:
        """What distinguishes it within its category."""
        return ", ".join(self.labels.values()) or Path(self.path).stem


def figures_markup(figures: Sequence[ReportFigure], root: Path, config: Mapping[str, Any]) -> str:
    """Return the figures as HTML, in sections by category.

    Parameters
    ----------
    figures
        The figures, in order.
    root
        Folder of the study.
    config
        Its config, which captions quote.
    """
    left = MOST_BYTES
    sections: dict[str, list[str]] = {}
    for figure in figures:
        source = root / figure.path
        shown = next(_small(source, min(left, LARGEST_BYTES)), None)
        left -= shown.stat().st_size if shown else 0
        text = as_html(_caption(figure, config))
        markup = _figure_markup(figure, shown, text)
        sections.setdefault(figure.category, []).append(markup)
    return "\n".join(
        f'<section class="figures" id="{_anchor(name)}"><h2>{html.escape(name)}</h2>'
        f"{''.join(found)}</section>"
        for name, found in sections.items()
    )


def categories(figures: Sequence[ReportFigure]) -> dict[str, str]:
    """Return the headings of the figures, each with its anchor."""
    return {figure.category: _anchor(figure.category) for figure in figures}


def _small(path: Path, most: int) -> Iterator[Path]:
    """Yield the forms of a figure that are small enough: lines first, then pixels."""
    for suffix in TYPES:
        form = path.with_suffix(suffix)
        if form.exists() and form.stat().st_size <= most:
            yield form


def _figure_markup(figure: ReportFigure, shown: Path | None, caption: str) -> str:
    title, link = html.escape(figure.title), html.escape(figure.path, quote=True)
    picture = "<p>Too large for this page.</p>"
    if shown:
        content = base64.b64encode(shown.read_bytes()).decode("ascii")
        source = f"data:{TYPES[shown.suffix]};base64,{content}"
        picture = f'<img alt="{title}" decoding="async" src="{source}">'
    return (
        f'<figure><h3>{title}</h3><button type="button" class="picture" '
        f'aria-label="Enlarge: {title}">{picture}</button>'
        f'<figcaption>{caption}<p class="file">{link}</p></figcaption></figure>'
    )


def _caption(figure: ReportFigure, config: Mapping[str, Any]) -> str:
    """Return a caption as Markdown, which captions are where no directive of reST is in them."""
    text = (SHIPPED / "workflow" / figure.caption).read_text(encoding="utf-8")
    # Loaded here: every command knows of figures, and few write a page.
    from jinja2 import Environment

    job = SimpleNamespace(wildcards=SimpleNamespace(**figure.wildcards), config=config)
    return Environment(autoescape=False).from_string(text).render(snakemake=job)


def _anchor(name: str) -> str:
    return "figures-" + re.sub(r"\W+", "-", name.lower())

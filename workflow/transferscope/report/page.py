"""The page of a study: the answer first, then all stores, figures, details and what ran."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from transferscope import __version__
from transferscope.compare.page import as_html
from transferscope.report.figures import ReportFigure, categories, figures_markup
from transferscope.runtime.single_page import part, single_page

QUESTION = "Which backbone transfers, and how sure is that?"
UNSCORED = "Tiles, embeddings and maps: nothing is scored"
LINKS = {
    "summary.csv": "all scores with intervals",
    "compare/leaderboard.csv": "leaderboard",
    "compare/differences.csv": "paired differences",
    "compare/across_datasets.csv": "over datasets",
    "summary.md": "the answer as text",
    "details.md": "all that was compared, as text",
    "config.yaml": "config",
}
NEXT = (
    "Give labels in the sample sheet, or label tiles on a page: <code>transferscope label</code> "
    "with the file of the study. Then remove <code>scored: false</code>, and run it again: tiles "
    "and embeddings are kept. Overviews of the tiles are in <code>figures/contact_sheets/</code>."
)
PACKAGES = ("numpy", "pandas", "scikit-learn", "snakemake", "timm", "torch", "zarr")
SECTION = re.compile(r"^## ", re.MULTILINE)
HEADING = re.compile(r"^(#+ )", re.MULTILINE)
WARNINGS, READING = "Warnings", "How to read it"
Costs = tuple[Sequence[str], Sequence[Sequence[str]]]
NO_COSTS: Costs = ((), ())
CONTEST = ["dataset", "scheme", "head", "k", "metric"]
SHOWN = [
    *("backbone", "channels", "mean", "ci_low", "ci_high"),
    *("may_be_best", "at_most_behind", "letters", "operations"),
]


def report_page(
    root: Path,
    settings: Mapping[str, Any],
    leaderboard: pd.DataFrame,
    chosen: pd.DataFrame,
    figures: Sequence[ReportFigure],
    tiles: Sequence[Mapping[str, Any]] = (),
    costs: Costs = NO_COSTS,
) -> str:
    """Return the page.

    Parameters
    ----------
    root
        Folder of the study, with `summary.md`, `details.md` and the figures.
    settings
        Name of the study (`study`), and what captions quote of its config.
    leaderboard, chosen
        Tables of the comparison.
    figures
        What is shown.
    tiles
        From `report.tiles.shown_tiles`.
    costs
        Time and memory of the jobs that have run: headings and rows.
    """
    summary = (root / "summary.md").read_text(encoding="utf-8")
    details = (root / "details.md").read_text(encoding="utf-8")
    places = {"answer": "Answer", "stores": "All stores"}
    places |= {"tiles": "Tiles and mistakes"} if tiles else {}
    places |= {anchor: name for name, anchor in categories(figures).items()}
    places |= {"details": "Details", "ran": "What ran"}
    described = as_html(HEADING.sub(r"#\1", _without_title(details)))
    markup = _frame(root, settings, figures, places, costs) | {
        "question": QUESTION,
        "answer": "\n".join(_answer(summary)),
        "stores": part(__package__, "stores.html"),
        "tiles": part(__package__, "tiles.html") if tiles else "",
        "details": (
            '<section id="details" aria-labelledby="details-title">\n'
            '<h2 id="details-title">Details</h2>\n'
            f"<details><summary>All that was compared</summary>{described}</details>\n</section>"
        ),
        "downloads": "The table of all stores is in this page, with a button to save it. "
        f"The other files are links that work where the page lies in its folder: {_links(LINKS)}.",
    }
    data = {"contests": contests(leaderboard, chosen), "tiles": [*tiles]}
    return single_page(__package__, data, markup, ("page.js", "stores.js", "tiles.js"))


def unscored_page(
    root: Path,
    settings: Mapping[str, Any],
    reasons: Sequence[str],
    figures: Sequence[ReportFigure],
    costs: Costs = NO_COSTS,
) -> str:
    """Return the page of a study that makes no scores.

    Parameters
    ----------
    root, settings, figures, costs
        As of `report_page`.
    reasons
        Why nothing is scored, a sentence per dataset.
    """
    places = {"answer": "Not scored"}
    places |= {anchor: name for name, anchor in categories(figures).items()} | {"ran": "What ran"}
    told = as_html("\n".join(f"* {reason}" for reason in reasons))
    markup = _frame(root, settings, figures, places, costs) | {
        **{"question": UNSCORED, "stores": "", "tiles": "", "details": ""},
        "answer": f'<div class="answer">{told}</div><p>{NEXT}</p>',
        "downloads": f"Next to this page lies {_links({'config.yaml': 'the config'})}.",
    }
    return single_page(__package__, {}, markup)


def _frame(
    root: Path,
    settings: Mapping[str, Any],
    figures: Sequence[ReportFigure],
    places: Mapping[str, str],
    costs: Costs,
) -> dict[str, str]:
    """Return the markup that every page has."""
    return {
        "study": html.escape(str(settings["study"])),
        "contents": "".join(f'<a href="#{key}">{html.escape(n)}</a>' for key, n in places.items()),
        "figures": figures_markup(figures, root, settings),
        "config": html.escape(_config(root)),
        "versions": html.escape(_versions()),
        "costs": _costs(costs),
    }


def _costs(costs: Costs) -> str:
    """Return a table of time and memory; it differs from run to run, and so stands by itself."""
    columns, rows = costs
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    )
    return (
        "<details><summary>Time and memory of the jobs</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
    )


def _links(files: Mapping[str, str]) -> str:
    return ", ".join(f'<a href="{file}">{what}</a>' for file, what in files.items())


def contests(leaderboard: pd.DataFrame, chosen: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what is compared with one another: one entry per dataset, split, head, k and metric.

    Parameters
    ----------
    leaderboard
        Table of all stores.
    chosen
        The head of the headline, per dataset and split: these come first.

    Returns
    -------
    list of dict
        `dataset`, `scheme`, `head`, `metric`, `headline`, and `rows`, the highest score first.
    """
    headlines = set(_keys(chosen))
    found = []
    for _, rows in leaderboard.groupby(CONTEST, dropna=False, sort=False):
        [key] = set(_keys(rows))
        dataset, scheme, head, k, metric = key
        ordered = rows.sort_values("mean", ascending=False, kind="stable")[SHOWN]
        found.append(
            {
                "dataset": dataset,
                "scheme": scheme,
                "head": f"{head}, k = {k}" if k else head,
                "metric": metric,
                "headline": key in headlines,
                # NaN is no JSON.
                "rows": ordered.astype(object).where(ordered.notna(), None).to_dict("records"),
            }
        )
    return sorted(found, key=lambda contest: not contest["headline"])


def _keys(table: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Yield what the rows belong to as texts, in which numbers of any type are equal."""
    for row in table[CONTEST].astype(object).itertuples(index=False):
        yield tuple("" if pd.isna(value) else str(value).removesuffix(".0") for value in row)


def _answer(summary: str) -> Iterator[str]:
    """Yield the summary: a box with the answer of every dataset, warnings, and how to read it."""
    first, *sections = SECTION.split(summary)
    named = {section.partition("\n")[0]: section for section in sections}
    answers = [
        f"<section>{as_html(f'### {section}')}</section>"
        for name, section in named.items()
        if name not in (WARNINGS, READING)
    ]
    table = as_html(_without_title(first))
    yield f'<div class="answer">{table}<div class="answers">{"".join(answers)}</div></div>'
    if WARNINGS in named:
        text = as_html(f"### {named[WARNINGS]}")
        yield f'<section class="warnings" aria-label="{WARNINGS}">{text}</section>'
    if READING in named:
        rest = as_html(named[READING].partition("\n")[2])
        yield f"<details><summary>{READING}</summary>{rest}</details>"


def _config(root: Path) -> str:
    """Return the config of the run that writes the page; as a module, it may come later."""
    path = root / "config.yaml"
    return path.read_text(encoding="utf-8") if path.exists() else f"See {path.name}."


def _versions() -> str:
    """Return the versions of what computes the results, one per line."""
    return "\n".join(
        [f"transferscope {__version__}", *(f"{name} {version(name)}" for name in PACKAGES)]
    )


def _without_title(markdown: str) -> str:
    """Return a text without its first heading, which the page has."""
    first, _, rest = markdown.partition("\n")
    return rest if first.startswith("# ") else markdown

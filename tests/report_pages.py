"""Studies whose report is written in tests."""

import itertools

import pandas as pd

from transferscope.report.figures import ReportFigure
from transferscope.report.page import CONTEST, report_page

SUMMARY = """# What the comparison shows

| dataset | highest store | may be the best |
|---|---|---|
| `cells` | `dino / map`, 0.5 | 1 of 2 stores |

## `cells`, by group

* `dino / map` may be the best.

## Warnings

* `cells`: few groups.

## How to read it

Scores are macro F1.
"""
DRAWING = "<svg xmlns='http://www.w3.org/2000/svg' width='300' height='200'/>"
FIGURES = [ReportFigure("figures/classes.svg", "transferscope/figures/classes.rst", "Figures")]


def written_study(folder):
    """Write what a report is made of; return the folder."""
    (folder / "figures").mkdir()
    (folder / "figures/classes.svg").write_text(DRAWING)
    (folder / "summary.md").write_text(SUMMARY)
    (folder / "config.yaml").write_text("study: glow\n")
    (folder / "details.md").write_text("# Details\n\n## `cells`\n\nMore.\n")
    return folder


def leaderboard(backbones=("dino", "random"), datasets=("cells", "fields")):
    """Return a table of all stores."""
    heads = [("logreg", None), ("knn", 1.0), ("knn", 5.0)]
    keys = itertools.product(datasets, ["group", "image"], heads, backbones)
    rows = [
        {
            **dict(zip(CONTEST, (dataset, scheme, head, k, "macro_f1"), strict=True)),
            **{"backbone": backbone, "channels": "map", "mean": 0.3 + number % 7 / 10},
            **{"ci_low": 0.2, "ci_high": 0.9, "may_be_best": number % 2 == 0},
            **{"at_most_behind": 0.1, "letters": "a", "operations": 1e9 * number},
        }
        for number, (dataset, scheme, (head, k), backbone) in enumerate(keys)
    ]
    return pd.DataFrame(rows)


def page_of(root, table=None, study="glow"):
    """Return the report of a study."""
    table = leaderboard() if table is None else table
    chosen = table[table["head"] == "logreg"][CONTEST].drop_duplicates()
    return report_page(root, {"study": study}, table, chosen, FIGURES)

"""Studies whose report is written in tests."""

import itertools

import numpy as np
import pandas as pd

from transferscope.report.figures import ReportFigure
from transferscope.report.page import CONTEST, report_page
from transferscope.report.sprites import Sprites

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


def shown_dataset(n=400, classes=("er", "golgi"), groups=("g1", "g2"), name="cells", size=8):
    """Return what a page shows of a dataset: every third tile is predicted wrongly."""
    rng = np.random.default_rng(0)
    true = [[i % len(classes)] for i in range(n)]
    predicted = [[(c + (i % 3 == 0)) % len(classes)] for i, [c] in enumerate(true)]
    pictures = rng.integers(0, 255, (n, size, size, 3), np.uint8)
    return {
        **{"dataset": name, "store": "dino / map", "head": "logistic regression"},
        **{"scheme": "group", "multi_label": False, "map": "t-SNE", "n_labelled": n},
        **{"classes": [*classes], "ids": [f"t{i}" for i in range(n)], "groups": [*groups]},
        "group": [i % len(groups) for i in range(n)],
        "places": rng.random((n, 2)).round(4).tolist(),
        "true": true,
        "predicted": predicted,
        "per_class": [{"class": classes[0], "f1": 0.5, "ci_low": 0.4, "ci_high": None}],
        "pictures": Sprites(pictures).within(4_500_000),
    }


def page_of(root, table=None, study="glow", tiles=()):
    """Return the report of a study."""
    table = leaderboard() if table is None else table
    chosen = table[table["head"] == "logreg"][CONTEST].drop_duplicates()
    return report_page(root, {"study": study}, table, chosen, FIGURES, tiles)

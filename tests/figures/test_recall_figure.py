"""The figure of recall shows every map and source with its interval, or says why not."""

import pandas as pd
import pytest

from transferscope.figures.recall import draw_recall
from transferscope.figures.style import save, style


def table(**changes):
    rows = [
        {
            "map": name,
            "correction": correction,
            "source": source,
            "null": null,
            "measure": "recall, two-sided",
            "threshold": 0.05,
            "value": 0.3,
            "low": 0.25,
            "high": 0.37,
            "chance": 0.1,
            "chance_low": 0.08 if null == "all pairs" else None,
            "chance_high": 0.12 if null == "all pairs" else None,
            "status": "scored",
            **changes,
        }
        for name, correction in (("a $map", "none"), ("a $map", "tvn"), ("random", "none"))
        for source in ("humap", "a source with a long name that goes on")
        for null in ("all pairs", "same stratum")
    ]
    return pd.DataFrame(rows)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda o: hasattr(o, "get_text")))


def test_all_maps_and_sources_are_shown(tmp_path):
    with style():
        figure = draw_recall(table())
        save(figure, [tmp_path / "a.svg", tmp_path / "a.png"], 60)
        save(figure, [tmp_path / "b.svg"], 60)
    assert len(figure.axes) == 2
    shown = texts(figure)
    for name in ("a $map, tvn", "random", "humap", "pairs that share a label"):
        assert name in shown
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_values_without_interval_are_shown(tmp_path):
    with style():
        save(draw_recall(table(low=float("nan"), high=float("nan"))), [tmp_path / "a.svg"], 60)
    assert (tmp_path / "a.svg").exists()


@pytest.mark.parametrize("changes", [{"status": "too few entities"}, {"measure": "AUROC"}])
def test_nothing_scored_is_said(changes):
    with style():
        assert "recall.csv says why" in texts(draw_recall(table(**changes))).replace("\n", " ")

"""The main job on a tiny study: everything is there, and says what it is."""

import json
import shutil
from html.parser import HTMLParser
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
import zarr

from disturbances import COSTS
from factories import CLASSES, run_snakemake, write_study, write_yaml

pytestmark = pytest.mark.workflow


def test_every_result_is_there(finished_study):
    root = finished_study / "results/tiny"
    for name in (
        "strategies",
        "scaling",
        "neighbours",
        "classes",
        "confusion",
        "pareto",
        "split_gap",
    ):
        assert (root / f"figures/{name}.svg").stat().st_size > 1000
        assert (root / f"figures/{name}.png").stat().st_size > 1000
    assert (root / "figures/embedding_maps/cells.svg").exists()
    assert len(list((root / "figures/contact_sheets/cells").glob("*.png"))) == 3
    assert (root / "summary.md").read_text().strip()
    assert pd.read_csv(root / "tiles/cells.quality.csv")["tile_id"].nunique() == 36


def test_the_summary_covers_the_whole_study(finished_study):
    summary = pd.read_csv(finished_study / "results/tiny/summary.csv", keep_default_na=False)
    assert set(summary["backbone"]) == {"tiny", "handcrafted"}
    assert set(summary["channels"]) == {"replicate", "map", "features"}
    assert set(summary["scheme"]) == {"group", "image"}
    assert set(summary["head"]) == {"logreg", "mlp", "knn", "floor"}


def test_the_store_says_what_went_where(finished_study):
    path = finished_study / "results/tiny/embeddings/cells/tiny/map.zarr"
    attributes = dict(zarr.open(path, mode="r").attrs)
    assert attributes["slots"] == [{"red": None, "green": "protein", "blue": "nucleus"}]
    assert attributes["strategy"] == "map"
    assert attributes["precision"] in ("fp32", "bf16", "fp16")


def test_the_run_ends_by_saying_where_the_results_are(said):
    _, complete, ending = said.partition("Study tiny is complete")
    assert complete
    assert "results/tiny/summary.csv" in ending


@pytest.fixture(scope="module")
def odd_label():
    return '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def odd_study(odd_label, tmp_path_factory):
    """Folder of a study with a label that is HTML, which ran and was reported."""
    folder = write_study(
        tmp_path_factory.mktemp("odd") / "study",
        backbones=["handcrafted"],
        heads={"kinds": [], "epochs": 3},
        splits={
            "schemes": ["group"],
            "folds": {"group": 2},
            "seeds": [0],
            "fractions": [1.0],
            "halves": 1,
        },
    )
    card = folder / "cards/datasets/cells.yaml"
    write_yaml(card, {**yaml.safe_load(card.read_text()), "labels": [*CLASSES[:2], odd_label]})
    sheet = folder / "raw/samples.tsv"
    table = pd.read_csv(sheet, sep="\t").replace({"labels": {CLASSES[2]: odd_label}})
    table.to_csv(sheet, sep="\t", index=False)
    run_snakemake(folder)
    run_snakemake(folder, "--report", str(folder / "snakemake-report.html"))
    return folder


def test_the_report_is_one_file_with_figures_and_captions(odd_study):
    text = (odd_study / "snakemake-report.html").read_text()
    for part in ("strategies", "scaling", "summary.html"):
        assert part in text


def test_the_tiles_of_the_report_are_those_of_the_tables(odd_study):
    text = (odd_study / "results/tiny/report.html").read_text()
    data = text.partition('id="data">')[2].partition("</script>")[0]
    [shown] = json.loads(data)["tiles"]
    assert '<th scope="row">heads</th>' in COSTS.search(text.encode())[0].decode()
    assert None not in shown["predicted"]
    assert shown["pictures"]["sheets"]
    for number, row in enumerate(shown["per_class"]):
        assert row["class"] == shown["classes"][number]
        assert sum(number in classes for classes in shown["true"]) == row["n_positive"]
        assert sum(number in classes for classes in shown["predicted"]) == row["n_predicted"]


def test_a_label_that_is_html_is_text_in_pages_figures_and_report(odd_study, odd_label):
    page = (odd_study / "results/tiny/summary.html").read_text()
    assert odd_label not in page
    own = (odd_study / "results/tiny/report.html").read_text()
    for text in (page, own, (odd_study / "snakemake-report.html").read_text()):
        parsed = Tags()
        parsed.feed(text)
        assert ("img", "x") not in parsed.sources
    shown = []
    for figure in (odd_study / "results/tiny/figures").rglob("*.svg"):
        shown += [element.text for element in ElementTree.parse(figure).iter() if element.text]
    assert any("onerror" in text for text in shown)


class Tags(HTMLParser):
    """Names and sources of the elements of a page."""

    def __init__(self):
        super().__init__()
        self.sources = set()

    def handle_starttag(self, tag, attrs):
        self.sources.add((tag, dict(attrs).get("src")))


def test_results_survive_a_moved_study(finished_study, tmp_path):
    moved = shutil.copytree(finished_study, tmp_path / "elsewhere")
    from transferscope.stores.embedding_store import EmbeddingStore

    assert len(EmbeddingStore(moved / "results/tiny/embeddings/cells/tiny/map.json")) == 36

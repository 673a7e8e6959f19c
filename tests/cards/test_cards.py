import pytest
import yaml

from transferscope.cards import DatasetCard, HpaFetch, OpenCellFetch, TimmCard
from transferscope.cards.fetch import DownloadSettings
from transferscope.config.model import read_model, validate
from transferscope.errors import UserError

DATASET = {
    "name": "d",
    "sheet": "samples.tsv",
    "channels": ["nucleus", "protein"],
    "labels": ["a", "b"],
}
SIMULATED = {"domain": "hpa"}
BACKBONE = {"source": "timm", "name": "b", "architecture": "vit", "slots": [{"name": "nucleus"}]}


def cells(**changes):
    section = {"segmentation": {"method": "watershed"}, "crop": {"size": 64}, **changes}
    return {"cells": section}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sheet": None}, "either `sheet`, `simulate`, `fetch` or `published`"),
        ({"simulate": {"domain": "hpa"}}, "either `sheet`, `simulate`, `fetch` or `published`"),
        ({"fetch": {"kind": "opencell"}}, "either `sheet`, `simulate`, `fetch` or `published`"),
        ({"sheet": None, "fetch": {"kind": "opencel"}}, "fetch"),
        ({"sheet": None, "fetch": {"kind": "opencell", "grades": 4}}, "fetch"),
        (
            {"sheet": None, "fetch": {"kind": "opencell", "limt": 4}},
            r'fetch\.limt: unknown.*\n.*"limit"',
        ),
        ({"sheet": None, "fetch": {"kind": "hpa", "list": "a.tsv"}}, "fetch.colours"),
        ({"channels": ["a", "a"]}, "named twice: a"),
        ({"labels": ["a", "b;c"]}, "labels.1"),
        ({"intensity_range": {"er": [0, 1]}}, "no channel of this dataset"),
        ({"intensity_range": {"protein": [5, 5]}}, "not below"),
        ({"tiles": {"pixel_size_um": 0.3}}, "needs pixel_size_um"),
        ({"channels": ["Nucleus!"]}, "channels.0"),
        (cells(crop={}), "either `size` or `size_um`"),
        (cells(crop={"size": 64, "size_um": 9}), "either `size` or `size_um`"),
        (cells(crop={"size_um": 9}), "size_um needs pixel_size_um"),
        (cells(crop={"size": 64, "minimum_area": 5, "maximum_area": 4}), "must be above"),
        (cells(segmentation={"method": "watersed"}), "cells.segmentation"),
        (cells(segmentation={"method": "watershed", "cytoplasm": ["er"]}), "names.*er"),
        (cells(segmentation={"method": "cellpose", "channels": ["er"]}), "names.*er"),
        ({**cells(), "tiles": {"size": 64}}, "take `tiles` out"),
        (
            {**cells(segmentation={"method": "provided"}), "sheet": None, "simulate": SIMULATED},
            "needs a `sheet` with masks",
        ),
    ],
)
def test_an_inconsistent_dataset_card_is_refused(change, expected):
    with pytest.raises(UserError, match=expected):
        validate({**DATASET, **change}, DatasetCard, "d.yaml")


def test_labels_are_no_part_of_what_images_depend_on():
    card = validate(DATASET, DatasetCard, "d.yaml")
    relabelled = card.model_copy(update={"labels": ["a", "c"]})
    resized = card.model_copy(update={"z_projection": "mean"})
    assert card.image_fingerprint() == relabelled.image_fingerprint()
    assert card.image_fingerprint() != resized.image_fingerprint()


def test_a_grade_may_be_written_as_a_number():
    card = validate(
        {**DATASET, "sheet": None, "fetch": {"kind": "opencell", "grades": 3}}, DatasetCard, "d"
    )
    assert card.fetch.grades == "3"


def test_how_files_arrive_is_no_part_of_what_is_fetched():
    def digest(**settings):
        fetch = {"kind": "opencell", **settings}
        return validate({**DATASET, "sheet": None, "fetch": fetch}, DatasetCard, "d")

    plain = digest().fetch_fingerprint()
    assert digest(folder="raw", downloads={"connections": 1}).fetch_fingerprint() == plain
    assert digest(limit=5).fetch_fingerprint() != plain
    assert digest(grades="any").fetch_fingerprint() != plain


@pytest.mark.parametrize(("name", "kind"), [("opencell", OpenCellFetch), ("hpa-fov", HpaFetch)])
def test_the_cards_of_public_datasets_explain_every_key_where_it_stands(repository, name, kind):
    path = repository / f"resources/datasets/{name}.yaml"
    card = read_model(path, DatasetCard)
    assert isinstance(card.fetch, kind)
    given = yaml.safe_load(path.read_text())["fetch"]
    assert set(given) == set(kind.model_fields)
    assert set(given["downloads"]) == set(DownloadSettings.model_fields)
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  ") and line.strip().partition(":")[0] in given:
            assert "#" in lines[number - 1] or "#" in line, line


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slots": [{"name": "a"}, {"name": "a"}]}, "each name may occur only once"),
        ({"outputs": [{"name": "x"}, {"name": "x"}]}, "each name may occur only once"),
        ({"normalization": {"std": [0]}}, "std must be positive"),
        ({"normalization": {"mean": [0.1, 0.2]}}, "one value, or one for each slot"),
        ({"normalization": {"percentiles": [99, 1]}}, "percentiles must increase"),
    ],
)
def test_an_inconsistent_backbone_card_is_refused(change, expected):
    with pytest.raises(UserError, match=expected):
        validate({**BACKBONE, **change}, TimmCard, "b.yaml")


def test_cells_change_what_images_depend_on_but_not_of_other_datasets():
    plain = validate(DATASET, DatasetCard, "d.yaml")
    cut = validate({**DATASET, **cells()}, DatasetCard, "d.yaml")
    drawn = validate({**DATASET, **cells(overlays=3)}, DatasetCard, "d.yaml")
    larger = validate({**DATASET, **cells(crop={"size": 65})}, DatasetCard, "d.yaml")
    assert len({c.image_fingerprint() for c in (plain, cut, larger)}) == 3
    assert drawn.image_fingerprint() == cut.image_fingerprint()

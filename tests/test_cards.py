import pytest

from transferscope.cards import DatasetCard, TimmCard
from transferscope.errors import UserError
from transferscope.models import validate

DATASET = {
    "name": "d",
    "sheet": "samples.tsv",
    "channels": ["nucleus", "protein"],
    "labels": ["a", "b"],
}
BACKBONE = {"source": "timm", "name": "b", "architecture": "vit", "slots": [{"name": "nucleus"}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sheet": None}, "either `sheet` or `simulate`"),
        ({"simulate": {"domain": "hpa"}}, "either `sheet` or `simulate`"),
        ({"channels": ["a", "a"]}, "named twice: a"),
        ({"labels": ["a", "b;c"]}, "labels.1"),
        ({"intensity_range": {"er": [0, 1]}}, "no channel of this dataset"),
        ({"intensity_range": {"protein": [5, 5]}}, "not below"),
        ({"tiles": {"pixel_size_um": 0.3}}, "needs pixel_size_um"),
        ({"channels": ["Nucleus!"]}, "channels.0"),
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


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"slots": [{"name": "a"}, {"name": "a"}]}, "each name may occur only once"),
        ({"outputs": [{"name": "x"}, {"name": "x"}]}, "each name may occur only once"),
        ({"normalization": {"std": [0]}}, "std must be positive"),
        ({"normalization": {"mean": [0.1, 0.2]}}, "one value, or one for each slot"),
        ({"normalization": {"percentiles": [99, 1]}}, "percentiles must rise"),
    ],
)
def test_an_inconsistent_backbone_card_is_refused(change, expected):
    with pytest.raises(UserError, match=expected):
        validate({**BACKBONE, **change}, TimmCard, "b.yaml")

import pandas as pd
import pytest

from transferscope.cards import DatasetCard
from transferscope.config.model import read_model
from transferscope.datasets.annotations import (
    labels_of_proteins,
    read_annotations,
    unknown_classes,
)
from transferscope.errors import UserError

# As published: proteins with a label of grade 3, by class.
PROMINENT = {
    "cytoplasmic": 483,
    "nucleoplasm": 372,
    "vesicles": 240,
    "membrane": 117,
    "er": 96,
    "nuclear_punctae": 77,
    "nucleolus_gc": 76,
    "chromatin": 67,
    "golgi": 64,
    "centrosome": 50,
    "cytoskeleton": 34,
    "nuclear_membrane": 32,
    "cell_contact": 25,
    "big_aggregates": 22,
    "nucleolus_fc_dfc": 22,
    "mitochondria": 11,
    "focal_adhesions": 10,
}


@pytest.fixture(scope="module")
def path(shared_data):
    return shared_data / "opencell/localization_annotations.csv"


def counts(labels):
    names = pd.Series([name for found in labels.values() for name in found])
    return names.value_counts().to_dict()


def test_prominent_labels_have_the_published_counts(path):
    labels = labels_of_proteins(read_annotations(path), "3")
    assert len(labels) == 1310
    assert counts(labels) == PROMINENT
    assert sum(len(found) == 1 for found in labels.values()) == 868
    assert sum(not found for found in labels.values()) == 4


@pytest.mark.parametrize(("grades", "lowest"), [("3", 3), ("3+2", 2), ("any", 1)])
def test_graded_labels_are_those_that_pandas_counts(path, grades, lowest):
    table = pd.read_csv(path).query("annotation_grade >= @lowest")
    expected = table.groupby("annotation_name")["ensg_id"].nunique().to_dict()
    assert counts(labels_of_proteins(read_annotations(path), grades)) == expected


def test_the_looser_policies_have_these_counts(path):
    annotations = read_annotations(path)
    two, weak = (counts(labels_of_proteins(annotations, grades)) for grades in ("3+2", "any"))
    assert (two["cytoplasmic"], two["mitochondria"], sum(two.values())) == (594, 13, 2358)
    assert (weak["cytoplasmic"], weak["mitochondria"], sum(weak.values())) == (687, 13, 2749)


def test_single_labels_are_opencells_own_ground_truth(path):
    table = pd.read_csv(path).query("annotation_grade == 3")
    alone = table[~table["ensg_id"].duplicated(keep=False)]["annotation_name"].value_counts()
    assert alone.sum() == 868
    found = counts(labels_of_proteins(read_annotations(path), "single", 16))
    assert found == alone[alone > 15].to_dict()
    assert len(found) == 12
    assert sum(found.values()) == 825


def test_the_card_takes_more_than_15_proteins_a_class_for_single_labels(repository):
    card = read_model(repository / "resources/datasets/opencell.yaml", DatasetCard)
    assert card.fetch.least_groups == 1
    assert card.fetch.model_copy(update={"grades": "single"}).least_groups == 16
    assert set(card.labels) == set(PROMINENT)


def test_the_portals_table_with_a_column_a_grade_means_the_same(path, tmp_path):
    flat = pd.read_csv(path)
    wide = flat.pivot_table(
        index=["ensg_id", "target_name"],
        columns="annotation_grade",
        values="annotation_name",
        aggfunc=";".join,
    )
    wide.columns = [f"annotations_grade_{grade}" for grade in wide.columns]
    wide.reset_index().to_csv(tmp_path / "wide.csv", index=False)
    again = read_annotations(tmp_path / "wide.csv")
    for grades in ("3", "3+2", "any", "single"):
        assert labels_of_proteins(again, grades) == labels_of_proteins(flat, grades)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ensg_id,target_name,annotation_name,grade\nENSG1,A,er,3\n", "annotation_grade"),
        ("ensg_id,target_name,annotation_name,annotation_grade\nENSG1,A,er,4\n", "row 2.*no grade"),
        ("ensg_id,target_name,annotation_name,annotation_grade\nP1,A,er,3\n", "row 2.*Ensembl"),
        ("ensg_id,target_name,annotation_name,annotation_grade\n", "no rows"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_row(tmp_path, text, expected):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UserError, match=expected):
        read_annotations(tmp_path / "table.csv")


def test_a_class_that_is_not_in_the_table_is_named(path):
    (problem,) = unknown_classes(read_annotations(path), ["er", "centrosom"], "card.yaml")
    assert "centrosom" in problem.what
    assert "centrosome" in problem.fix

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencell_bucket import ensembl_id, file_name
from transferscope.cards import DatasetCard
from transferscope.config.model import validate
from transferscope.datasets.annotations import read_annotations
from transferscope.datasets.opencell import choose_proteins, parse_name, plan_opencell
from transferscope.errors import UserError
from transferscope.transport.bucket import BucketFile

CLASSES = ["er", "golgi", "vesicles"]


@given(
    st.from_regex(r"[A-Za-z0-9_.\- ]{1,30}", fullmatch=True),
    st.integers(1, 99_999_999_999),
    st.sampled_from(["proj", "stack"]),
)
def test_names_are_read_back_whatever_the_gene_is_called(gene, number, files):
    protein = f"{gene}_{ensembl_id(number)}"
    field = parse_name(f"{protein}/OC-FOV_{protein}_CID000001_FID00000002_{files}.tif")
    assert (field.gene, field.ensg_id) == (gene, ensembl_id(number))
    assert (field.cell_line, field.fov, field.files) == ("CID000001", "FID00000002", files)


@pytest.mark.parametrize(
    "name", ["readme.txt", "OC-FOV_A_ENSG1_CID1_FID1_proj.tiff", "OC-FOV_A_CID1_FID1_proj.tif"]
)
def test_other_files_are_not_fields(name):
    assert parse_name(name) is None


LABELS = st.dictionaries(
    st.integers(1, 500).map(ensembl_id),
    st.lists(st.sampled_from(CLASSES), unique=True, max_size=2).map(tuple),
    min_size=1,
    max_size=40,
)


@given(LABELS, st.integers(1, 45), st.integers(0, 3))
def test_a_limit_is_kept_and_a_larger_one_adds(labels, limit, seed):
    chosen = choose_proteins(labels, limit, seed)
    assert len(chosen) == min(limit, len(labels))
    assert set(chosen) <= set(choose_proteins(labels, limit + 1, seed))
    assert chosen == choose_proteins(dict(reversed(labels.items())), limit, seed)


@given(LABELS, st.integers(0, 3))
def test_every_class_keeps_a_protein_where_possible(labels, seed):
    classes = {name for names in labels.values() for name in names}
    if classes:
        chosen = choose_proteins(labels, len(classes), seed)
        assert classes == {name for ensg_id in chosen for name in labels[ensg_id]}


def test_another_seed_chooses_others():
    labels = {ensembl_id(number): ("er",) for number in range(100)}
    assert choose_proteins(labels, 5, 0) != choose_proteins(labels, 5, 1)


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "table.csv").write_text(
        "ensg_id,target_name,annotation_name,annotation_grade\n"
        f"{ensembl_id(1)},A,er,3\n{ensembl_id(1)},A,golgi,3\n"
        f"{ensembl_id(2)},B,golgi,3\n{ensembl_id(2)},B,er,2\n"
        f"{ensembl_id(3)},C,vesicles,3\n{ensembl_id(4)},D,membrane,3\n"
    )
    annotations = read_annotations(tmp_path / "table.csv")

    def make(names=None, **settings):
        card = validate(
            {
                "name": "opencell",
                "channels": ["nucleus", "protein"],
                "labels": CLASSES,
                "fetch": {"kind": "opencell", **settings},
            },
            DatasetCard,
            "card",
        )
        listing = None
        if names is not None:
            listing = [BucketFile(n, f"https://b/{n}", 10, f'"{"0" * 32}"') for n in names]
        folder = tmp_path / "files"
        return plan_opencell(card, card.fetch, tmp_path / "c.yaml", folder, annotations, listing)

    return make


NAMES = [
    file_name(gene, number, fov, files)
    for number, gene in enumerate("ABCD", 1)
    for fov in range(2)
    for files in ("proj", "stack")
]


def test_the_sheet_says_what_the_names_and_the_table_say(plan):
    planned = plan(NAMES)
    table = planned.table.set_index("tile_id")
    first = table.loc[f"A_{ensembl_id(1)}_CID000001_FID00000100"]
    assert first.to_dict() == {
        "path": f"files/{ensembl_id(1)}/OC-FOV_A_{ensembl_id(1)}_CID000001_FID00000100_proj.tif",
        "group": ensembl_id(1),
        "labels": "er;golgi",
        "fov": "FID00000100",
        "gene": "A",
        "cell_line": "CID000001",
    }
    assert table.groupby("gene")["labels"].first().to_dict() == {
        "A": "er;golgi",
        "B": "golgi",
        "C": "vesicles",
    }
    assert [str(one.checksum) for one in planned.downloads] == ["md5:" + "0" * 32] * 6
    assert [one.path for one in planned.downloads] == planned.files()


def test_unlabelled_proteins_are_kept_where_asked_for(plan):
    table = plan(NAMES, unlabelled="keep").table
    assert set(table.loc[table["labels"] == "", "gene"]) == {"D"}


def test_stacks_are_fetched_where_asked_for(plan):
    assert all(path.endswith("_stack.tif") for path in plan(NAMES, files="stack").table["path"])


def test_grades_and_minimum_decide_on_the_labels(plan):
    assert plan(NAMES, grades="3+2").table.set_index("gene")["labels"]["B"].iloc[0] == "er;golgi"
    single = plan(NAMES, grades="single", minimum_groups=1).table
    assert set(single["gene"]) == {"B", "C"}
    assert set(plan(NAMES, minimum_groups=2).table["gene"]) == {"A", "B"}
    assert plan(NAMES, grades="single").table.empty


def test_before_the_listing_there_is_a_row_a_protein(plan):
    planned = plan()
    assert not planned.complete
    assert planned.table["gene"].tolist() == ["A", "B", "C"]
    assert planned.downloads == []


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/../../../b", "A\\..\\b"])
def test_a_hostile_listing_writes_nothing_outside(plan, tmp_path, name):
    planned = plan([f"{name}/{file_name('A', 1, 0).partition('/')[2]}"])
    assert all(one.path.resolve().is_relative_to(tmp_path / "files") for one in planned.downloads)


def test_a_folder_of_this_machine_is_read_in_place(plan, tmp_path):
    for name in NAMES:
        (tmp_path / "mirror" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror" / name).touch()
    planned = plan(url="mirror")
    assert planned.downloads == []
    assert planned.root == tmp_path / "mirror"
    assert len(planned.table) == 6
    assert all(path.is_file() for path in planned.files())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file is named"):
        plan(url="empty")

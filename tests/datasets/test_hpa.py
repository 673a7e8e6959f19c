import gzip

import numpy as np
import pytest
import tifffile

from file_server import FileServer, Status, serving
from transferscope.cards import DatasetCard
from transferscope.config.model import validate
from transferscope.datasets.fetch import fetch
from transferscope.datasets.hpa import plan_hpa
from transferscope.errors import UserError
from transferscope.raw.images import decode_field
from transferscope.raw.sheets import read_sheet

CHANNELS = ["microtubules", "protein", "nucleus", "er"]
COLOURS = ["red", "green", "blue", "yellow"]


def card_of(**settings):
    value = {
        "name": "hpa",
        "channels": CHANNELS,
        "labels": ["Nucleoplasm", "Golgi apparatus"],
        "tiles": {"size": 16, "mode": "pad"},
        "fetch": {"kind": "hpa", "list": "list.tsv", **settings},
    }
    return validate(value, DatasetCard, "card")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "list.tsv").write_text(
        "id\tgene\tlabels\tcell line\n"
        "1/A1_1\tGENE1\tNucleoplasm;Cytosol\tU2OS\n"
        "1/A1_2\tGENE1\tGolgi apparatus;Nucleoplasm\tU2OS\n"
        "2/B1_1\tGENE2\tCytosol\tHeLa\n"
        "3/C1_1\tGENE3\tGolgi apparatus\tHeLa\n"
    )
    return tmp_path


def plan(folder, **settings):
    card = card_of(**settings)
    return plan_hpa(card, card.fetch, folder / "card.yaml", folder / "out/files")


def test_a_list_becomes_one_path_a_channel(folder):
    planned = plan(folder)
    first = planned.table.iloc[0].to_dict()
    assert first == {
        "tile_id": "1_A1_1",
        "group": "GENE1",
        "labels": "Nucleoplasm",
        "path_microtubules": "files/1/A1_1_red.tif",
        "path_protein": "files/1/A1_1_green.tif",
        "path_nucleus": "files/1/A1_1_blue.tif",
        "path_er": "files/1/A1_1_yellow.tif",
        "cell line": "U2OS",
    }
    assert planned.table["labels"].tolist() == [
        "Nucleoplasm",
        "Nucleoplasm;Golgi apparatus",
        "Golgi apparatus",
    ]
    wanted = planned.downloads[0]
    assert wanted.url == "https://images.proteinatlas.org/1/A1_1_red.tif.gz"
    assert wanted.unpack
    assert planned.files() == [one.path for one in planned.downloads]


def test_unlabelled_fields_are_kept_where_asked_for(folder):
    assert plan(folder, unlabelled="keep").table["labels"].tolist().count("") == 1


def test_an_id_may_be_the_beginning_of_a_url(folder):
    text = (folder / "list.tsv").read_text()
    for number in "123":
        text = text.replace(f"\n{number}/", f"\nhttps://a.org/images/{number}/")
    (folder / "list.tsv").write_text(text)
    planned = plan(folder, url="{id}_{colour}.jpg")
    assert planned.downloads[0].url == "https://a.org/images/1/A1_1_red.jpg"
    assert planned.table["path_er"].iloc[0] == "files/images/1/A1_1_yellow.jpg"
    assert planned.table["tile_id"].iloc[0] == "a.org_images_1_A1_1"


@pytest.mark.parametrize("separator", ["|", "||"])
def test_columns_and_separators_may_be_called_otherwise(folder, separator):
    row = f"a,Nucleoplasm{separator}Golgi apparatus,G1"
    (folder / "list.tsv").write_text(f"Image,Target,Gene\n{row}\n")
    columns = {"id": "Image", "labels": "Target", "group": "Gene"}
    planned = plan(folder, columns=columns, label_separator=separator)
    assert planned.table["labels"].tolist() == ["Nucleoplasm;Golgi apparatus"]
    assert planned.table["group"].tolist() == ["G1"]


def test_mistakes_in_the_list_are_named_together(folder):
    text = (folder / "list.tsv").read_text()
    (folder / "list.tsv").write_text(f"{text}\tG\tNucleoplasm\tx\n1/A1_1\t\tNucleoplasm\tx\n")
    with pytest.raises(UserError) as caught:
        plan(folder)
    text = str(caught.value)
    for part in ("row 6, column id", "row 7, column group", "row 7, column id"):
        assert part in text


def test_a_missing_column_and_an_unknown_class_are_named(folder):
    with pytest.raises(UserError, match=r'"image" is missing'):
        plan(folder, columns={"id": "image"})
    card = card_of().model_copy(update={"labels": ["Nucleoplasm", "Golgi aparatus"]})
    with pytest.raises(UserError, match=r'Did you mean "Golgi apparatus"'):
        plan_hpa(card, card.fetch, folder / "card.yaml", folder / "out")


def test_an_id_that_leads_out_of_the_folder_is_refused(folder):
    text = (folder / "list.tsv").read_text()
    (folder / "list.tsv").write_text(text.replace("3/C1_1", "../../C1_1"))
    with pytest.raises(UserError, match="row 5, column id"):
        plan(folder)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("{id}.tif", "needs {id} and {colour}"),
        ("{id}_{color}.tif", "needs {id} and {colour}"),
        ("{id_{colour}.tif", "not a template|needs"),
    ],
)
def test_a_template_without_id_and_colour_is_refused(url, expected):
    with pytest.raises(UserError, match=expected):
        card_of(url=url)


def test_colours_must_be_those_of_the_channels():
    with pytest.raises(UserError, match=r"fetch\.colours"):
        card_of(colours={"protein": "green"})


def pixels_of(image, colour):
    return 10 * ["1/A1_1", "1/A1_2", "2/B1_1", "3/C1_1"].index(image) + COLOURS.index(colour) + 1


def served(tmp_path, ending, dtype):
    """Return served path and bytes of every colour of every field, each of one grey value."""
    files = {}
    for image in ("1/A1_1", "1/A1_2", "2/B1_1", "3/C1_1"):
        for colour in COLOURS:
            path = tmp_path / "one.tif"
            tifffile.imwrite(path, np.full((16, 16), pixels_of(image, colour), dtype))
            content = path.read_bytes()
            packed = gzip.compress(content) if ending.endswith(".gz") else content
            files[f"/{image}_{colour}{ending}"] = packed
    return files


@pytest.mark.parametrize(
    ("ending", "dtype"), [(".tif.gz", np.uint8), (".tif.gz", np.uint16), (".tif", np.uint16)]
)
def test_fetched_files_are_decoded_channel_by_channel(folder, tmp_path, ending, dtype):
    with serving(FileServer(served(tmp_path, ending, dtype))) as server:
        card = card_of(url=f"{server.url}/{{id}}_{{colour}}{ending}")
        sheet = folder / "out/samples.tsv"
        fetch(card, folder / "card.yaml", sheet, folder / "out/fetched.json")
        assert len(server.requests) == 12
        fetch(card, folder / "card.yaml", sheet, folder / "out/fetched.json")
        assert len(server.requests) == 12
    read = read_sheet(sheet, card)
    field = decode_field(read.files(1), card, one_file_per_channel=True)
    assert field.dtype == dtype
    assert field[:, 0, 0].tolist() == [pixels_of("1/A1_2", colour) for colour in COLOURS]


def test_a_missing_colour_is_named_with_its_address(folder, tmp_path):
    with serving(FileServer(served(tmp_path, ".tif", np.uint8))) as server:
        server.faults["/3/C1_1_blue.tif"] = [Status(404)]
        card = card_of(url=f"{server.url}/{{id}}_{{colour}}.tif")
        with pytest.raises(UserError, match=r"3/C1_1_blue\.tif: the server answered 404"):
            fetch(card, folder / "card.yaml", folder / "out/samples.tsv", folder / "out/f.json")
    assert not (folder / "out/samples.tsv").exists()


def test_images_of_this_machine_are_read_in_place(folder, tmp_path):
    for name, content in served(tmp_path, ".tif", np.uint8).items():
        path = folder / "images" / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    card = card_of(url="images/{id}_{colour}.tif")
    sheet = folder / "out/samples.tsv"
    fetch(card, folder / "card.yaml", sheet, folder / "out/fetched.json")
    assert (folder / "out/files").is_symlink()
    field = decode_field(read_sheet(sheet, card).files(0), card, one_file_per_channel=True)
    assert field[:, 0, 0].tolist() == [1, 2, 3, 4]


def test_packed_files_on_this_machine_are_refused_before_a_run(folder):
    (folder / "images").mkdir()
    with pytest.raises(UserError, match="read where they are") as caught:
        plan(folder, url="images/{id}_{colour}.tif.gz")
    assert "gunzip" in str(caught.value)

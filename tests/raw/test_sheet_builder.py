"""Sheets from file names: real layouts come out right, and what does not fit is explained."""

from pathlib import Path

import pytest

from transferscope.cards import DatasetCard
from transferscope.errors import UserError
from transferscope.raw.file_checks import check_files
from transferscope.raw.places import absolute_path
from transferscope.raw.sheet_builder import BuiltSheet, LabelTable, build_sheet
from transferscope.raw.sheets import SampleSheet, read_sheet

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared test data are not here")


def images(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder / "images"


def read_back(built: BuiltSheet, channels: list[str], **changes: object) -> SampleSheet:
    """Read the sheet with a card that is written after what the builder reported."""
    labels = [*built.labels, "one", "two"][: max(2, len(built.labels))]
    values = {"name": "d", "sheet": "s", "channels": channels, "labels": labels}
    roots = {"roots": [str(built.root)] if built.root else []}
    return read_sheet(built.path, DatasetCard.model_validate({**values, **roots, **changes}))


def refused(*arguments: object, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        build_sheet(*arguments, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_multi_channel_files(tmp_path: Path) -> None:
    folder = images(tmp_path, "LMNB1_1.tif", "LMNB1_2.tif", "MY_GENE_1.tif", "notes.txt")
    built = build_sheet(folder, "{group}_{fov}.tif", tmp_path / "samples.tsv")
    assert (built.n_rows, built.n_unused, built.channels, built.root) == (3, 1, [], None)
    table = read_back(built, ["nucleus"]).table
    assert table["tile_id"].tolist() == ["LMNB1_1", "LMNB1_2", "MY_GENE_1"]
    assert table["group"].tolist() == ["LMNB1", "LMNB1", "MY_GENE"]
    assert table["path"].tolist()[0] == "images/LMNB1_1.tif"
    assert table["fov"].tolist() == ["LMNB1_1", "LMNB1_2", "MY_GENE_1"]
    assert list(table.columns) == ["tile_id", "path", "group", "labels", "fov", "batch"]


def test_sheet_inside_the_folder_is_not_an_image_of_itself(tmp_path: Path) -> None:
    folder = images(tmp_path, "A_1.tif")
    for _ in range(2):
        built = build_sheet(folder, "{group}_{site}.{_}", folder / "samples_1.tsv")
        assert built.n_rows == 1
    assert read_back(built, ["nucleus"]).table["site"].tolist() == ["1"]


def test_folders_channels_and_their_order(tmp_path: Path) -> None:
    names = [
        f"{g}/B0{w}_{s}_w{c}.tiff" for g in "XY" for w in (1, 2) for s in (1, 2) for c in (1, 2)
    ]
    folder = images(tmp_path, *names)
    built = build_sheet(
        folder,
        "{group}/{well}_{site}_w{channel}.tiff",
        tmp_path / "samples.tsv",
        channel_names={"2": "protein", "1": "nucleus"},
    )
    assert built.channels == ["protein", "nucleus"]
    table = read_back(built, ["protein", "nucleus"]).table
    assert len(table) == 8
    assert table.iloc[0][["tile_id", "well", "site"]].tolist() == ["X_B01_1", "B01", "1"]
    assert table.iloc[0]["path_protein"] == "images/X/B01_1_w2.tiff"


def test_channels_that_are_not_named_are_left_out(tmp_path: Path) -> None:
    folder = images(tmp_path, "a_red.png", "a_green.png", "b_red.png", "b_green.png")
    options = {"channel_names": {"red": "microtubules"}}
    built = build_sheet(folder, "{group}_{channel}.png", tmp_path / "s.tsv", **options)
    assert (built.channels, built.n_unused) == (["microtubules"], 2)
    message = refused(
        folder, "{group}_{channel}.png", tmp_path / "s.tsv", channel_names={"rde": "microtubules"}
    )
    assert 'no file has the channel "rde"' in message
    assert 'Did you mean "red"?' in message


def test_missing_channel_files_are_listed(tmp_path: Path) -> None:
    folder = images(tmp_path, "a_red.png", "a_green.png", "b_red.png", "c_green.png")
    message = refused(folder, "{group}_{channel}.png", tmp_path / "s.tsv")
    assert 'the field of "b_red.png" has no file for: green' in message
    assert 'the field of "c_green.png" has no file for: red' in message
    assert not (tmp_path / "s.tsv").exists()


def test_channel_names_must_be_usable(tmp_path: Path) -> None:
    folder = images(tmp_path, "a_DAPI.png")
    message = refused(folder, "{group}_{channel}.png", tmp_path / "s.tsv")
    assert "--channel DAPI=nucleus" in message


def test_nothing_matches_shows_the_first_names(tmp_path: Path) -> None:
    folder = images(tmp_path, *(f"n{i}.tif" for i in range(7)))
    message = refused(folder, "{group}_{fov}.tif", tmp_path / "s.tsv")
    assert "none of 7 files matches" in message
    assert '"n0.tif", "n1.tif", "n2.tif", "n3.tif", "n4.tif".' in message


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("{well}_{site}.tif", "names no group"),
        ("{group}_{.tif", "brace"),
        ("{group}_{1}.tif", "not valid"),
        ("{group}_{a b}.tif", "not valid"),
        ("{group}_{labels}.tif", "uses the name labels"),
    ],
)
def test_bad_patterns(tmp_path: Path, pattern: str, part: str) -> None:
    assert part in refused(images(tmp_path, "a_1.tif"), pattern, tmp_path / "s.tsv")


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no files" in refused(tmp_path / "empty", "{group}", tmp_path / "s.tsv")
    assert "does not exist" in refused(tmp_path / "none", "{group}", tmp_path / "s.tsv")


def test_ids_must_be_unique(tmp_path: Path) -> None:
    folder = images(tmp_path, "p1/a_1.tif", "p2/a_1.tif")
    assert "has the same fields" in refused(folder, "{_}/{group}_{site}.tif", tmp_path / "s.tsv")
    folder = images(tmp_path / "b", "a_b/c.tif", "a/b_c.tif")
    assert 'would both have the id "a_b_c"' in refused(
        folder, "{group}/{n}.tif", tmp_path / "s.tsv"
    )


def test_repeated_names_must_agree(tmp_path: Path) -> None:
    folder = images(tmp_path, "G1/G1_1.tif", "G2/G1_1.tif")
    built = build_sheet(folder, "{group}/{group}_{site}.tif", tmp_path / "s.tsv")
    assert (built.n_rows, built.n_unused) == (1, 1)


def test_regular_expression(tmp_path: Path) -> None:
    name = "OC-FOV_HLA-DRA_ENSG00000204287_CID001234_FID00012345_proj.tif"
    folder = images(tmp_path, name, name.replace("proj", "stack"))
    pattern = r"OC-FOV_(?P<gene>.+)_(?P<group>ENSG\d+)_(CID\d+)_(?P<fov>FID\d+)_proj\.tif"
    built = build_sheet(folder, pattern, tmp_path / "s.tsv", regex=True)
    row = read_back(built, ["nucleus"]).table.iloc[0]
    assert row["gene"] == "HLA-DRA"
    assert row["group"] == "ENSG00000204287"
    assert row["fov"] == "HLA-DRA_ENSG00000204287_FID00012345"


def test_ome_zarr_folders_are_files(tmp_path: Path) -> None:
    folder = images(tmp_path, "A_1.zarr/zarr.json", "A_1.zarr/0/zarr.json")
    built = build_sheet(folder, "{group}_{fov}.zarr", tmp_path / "s.tsv")
    assert read_back(built, ["nucleus"]).table["path"].tolist() == ["images/A_1.zarr"]


def test_labels_from_a_table(tmp_path: Path) -> None:
    folder = images(tmp_path, "A_1.tif", "A_2.tif", "B_1.tif", "C_1.tif")
    (tmp_path / "l.csv").write_text("gene,where\nA,golgi|er\nA,er;nucleus\nB,Unknown\n")
    labels = LabelTable.parse(f"{tmp_path / 'l.csv'}:gene:where", unlabelled=["Unknown"])
    built = build_sheet(folder, "{group}_{fov}.tif", tmp_path / "s.tsv", labels=labels)
    assert built.labels == ["er", "golgi", "nucleus"]
    assert built.n_unlabelled == 2
    table = read_back(built, ["nucleus"]).table
    assert table["labels"].tolist() == ["golgi;er;nucleus", "golgi;er;nucleus", "", ""]


def test_label_tables_that_do_not_fit(tmp_path: Path) -> None:
    folder, sheet = images(tmp_path, "A_1.tif"), tmp_path / "s.tsv"
    (tmp_path / "l.csv").write_text("gene,where\nX,golgi\n")

    def attempt(columns: str, name: str = "l.csv") -> str:
        labels = LabelTable.parse(f"{tmp_path / name}:{columns}")
        return refused(folder, "{group}_{fov}.tif", sheet, labels=labels)

    assert 'The first keys are "X"' in attempt("gene:where")
    assert 'Did you mean "where"?' in attempt("gene:wheres")
    assert "cannot be read" in attempt("gene:where", "none.csv")
    with pytest.raises(UserError, match=r"table\.csv:key_column:label_column"):
        LabelTable.parse("table.csv")


# Real layouts

LAYOUTS = {
    "bbbc014": (
        r"Channel (?P<channel>\d)-(?P<column>\d\d)-(?P<group>[A-P]-\d\d)-00\.tif",
        {"1": "protein", "2": "nucleus"},
        2,
    ),
    "human": (
        "{plate}_{group}f{site}d{channel}.tif",
        {"0": "nucleus", "1": "tubulin", "2": "er"},
        1,
    ),
    "fly": ("{_}_POS{group}_{channel}.TIF", {"D": "nucleus", "F": "protein", "R": "er"}, 3),
    "jump": (
        "r{row}c{column}f{group}p01-ch{channel}sk1fk1fl1.tiff",
        {"5": "nucleus", "2": "er", "3": "actin"},
        1,
    ),
    "nf1": (
        "images/{group}_01_{_}_{fov}_{channel}_001.tif",
        {"DAPI": "nucleus", "GFP": "protein", "RFP": "actin"},
        5,
    ),
}


@needs_data
@pytest.mark.parametrize("layout", LAYOUTS)
def test_real_layouts(tmp_path: Path, layout: str) -> None:
    pattern, names, n_fields = LAYOUTS[layout]
    built = build_sheet(
        DATA / "fields" / layout,
        pattern,
        tmp_path / "samples.tsv",
        regex="(?P" in pattern,
        channel_names=names,
    )
    assert built.n_rows == n_fields
    assert built.root == absolute_path(DATA / "fields" / layout)
    sheet = read_back(built, list(names.values()))
    assert sheet.one_file_per_channel
    card = DatasetCard(name="d", sheet=built.path, channels=built.channels, labels=["a", "b"])
    assert check_files(sheet, card) == []


@needs_data
def test_name_with_a_space_fits_a_plain_pattern(tmp_path: Path) -> None:
    built = build_sheet(
        DATA / "fields" / "bbbc014",
        "Channel {channel}-{_}-{row}-{group}-00.tif",
        tmp_path / "samples.tsv",
        channel_names={"1": "protein", "2": "nucleus"},
    )
    table = read_back(built, ["protein", "nucleus"]).table
    assert table["group"].tolist() == ["01", "12"]
    assert table["row"].tolist() == ["A", "A"]


@needs_data
def test_real_hpa_fields_with_their_labels(tmp_path: Path) -> None:
    names = {"red": "microtubules", "green": "protein", "blue": "nucleus", "yellow": "er"}
    labels = LabelTable(DATA / "hpa_fov" / "labels.csv", "ID", "Labels")
    built = build_sheet(
        DATA / "hpa_fov",
        "images/{group}_{channel}.png",
        tmp_path / "samples.tsv",
        channel_names=names,
        labels=labels,
    )
    assert (built.n_rows, built.n_unlabelled) == (7, 0)
    assert "Golgi apparatus" in built.labels
    sheet = read_back(built, list(names.values()))
    assert sheet.table["path_nucleus"].str.endswith("_blue.png").all()
    assert sheet.table.set_index("tile_id").loc[
        "000a6c98-bb9b-11e8-b2b9-ac1f6b6435d0", "labels"
    ] == ("Golgi apparatus;Nuclear membrane;Nucleoli;Nucleoplasm")


@needs_data
def test_real_bbbc013_crops_with_their_labels(tmp_path: Path) -> None:
    table = LabelTable.parse(
        f"{DATA / 'bbbc013' / 'cells.csv'}:file:human_label", unlabelled=["Unknown"]
    )
    built = build_sheet(
        DATA / "bbbc013" / "crops", "{group}_{cell}.png", tmp_path / "samples.tsv", labels=table
    )
    assert (built.n_rows, built.n_unlabelled) == (794, 794 - 198)
    assert built.labels == ["CytoplasmicGFP", "NoGFP", "NuclearGFP"]
    card = DatasetCard(
        name="d",
        sheet=built.path,
        channels=["protein", "nucleus"],
        ignore_channels=[2],
        labels=built.labels,
        task="single-label",
        roots=[str(built.root)],
        tiles={"size": 64, "mode": "resize"},
    )
    assert check_files(read_sheet(built.path, card), card) == []

"""What is wrong is said before any job starts, all at once, with file, row and fix."""

import re

import pandas as pd
import pytest
import tifffile
import yaml

from factories import STUDY, TINY_NETWORK, run_snakemake, write_study, write_yaml

pytestmark = pytest.mark.workflow


# No network, whose architecture would be looked up by each run: that takes longer than the rest.
SMALL = {"backbones": ["handcrafted"]}


@pytest.fixture
def folder(tmp_path):
    return write_study(tmp_path / "study", **SMALL)


def edit_sheet(folder, **cells):
    """Set cells given as column=(row position, value)."""
    path = folder / "raw/samples.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column, (position, value) in cells.items():
        table.loc[position, column] = value
    table.to_csv(path, sep="\t", index=False)


def edit_card(folder, kind, name, **changes):
    path = folder / f"cards/{kind}/{name}.yaml"
    write_yaml(path, {**yaml.safe_load(path.read_text()), **changes})


def refusal(folder, *arguments):
    """Run, expect to be refused before any job, and return the message."""
    done = run_snakemake(folder, *arguments, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in text
    assert not (folder / "results").exists(), "a job has started"
    return text


def test_all_kinds_of_mistakes_are_reported_together(folder):
    edit_sheet(folder, tile_id=(1, "P00_0"), labels=(4, "membran"), path=(5, "gone.tif"))
    write_yaml(
        folder / "cards/backbones/tiny.yaml",
        {"name": "tiny", **TINY_NETWORK, "architecture": "vit_tinny_patch16_224"},
    )
    write_yaml(folder / "study.yaml", STUDY)
    text = refusal(folder)
    for part in (
        "samples.tsv, row 3",
        "P00_0",
        "row 6",
        "membran",
        "row 7",
        "gone.tif",
        "vit_tinny",
    ):
        assert part in text
    assert 'Did you mean "membrane"?' in text
    assert 'Did you mean "vit_tiny_patch16_224"?' in text


def test_a_dry_run_reports_them_as_well(folder):
    edit_sheet(folder, labels=(4, "membran"))
    assert "membran" in refusal(folder, "--dry-run")


def test_each_bad_file_is_named_with_its_row(folder):
    raw = folder / "raw"
    kept = (raw / "P00_1.tif").read_bytes()
    (raw / "P00_1.tif").unlink()
    assert named_files(refusal(folder)) == {("P00_1.tif", 3)}
    # Images are opened once all of them are there.
    (raw / "P00_1.tif").write_bytes(b"this is no image")
    (raw / "P00_2.tif").write_bytes(kept[:-4000])
    tifffile.imwrite(raw / "P01_0.tif", tifffile.imread(raw / "P01_0.tif")[:1])
    found = named_files(refusal(folder))
    assert found == {("P00_1.tif", 3), ("P00_2.tif", 4), ("P01_0.tif", 5)}


def named_files(text):
    """Return the files of raw images that a refusal names, with their rows in the sheet."""
    problems = re.split(r"^ +\d+\. ", text, flags=re.MULTILINE)[1:]
    return {
        (re.search(r"P\d\d_\d\.tif", problem)[0], int(re.search(r"row (\d+)", problem)[1]))
        for problem in problems
    }


def test_an_unknown_channel_column_is_reported(folder):
    path = folder / "raw/samples.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str)
    table = table.rename(columns={"path": "path_nucleus"}).assign(path_protien=table["path"])
    table.to_csv(path, sep="\t", index=False)
    text = refusal(folder)
    assert "protien" in text
    assert 'Did you mean "' in text


def test_a_class_with_too_few_groups_is_reported(folder):
    table = pd.read_csv(folder / "raw/samples.tsv", sep="\t")
    keep = ~((table["labels"] == "membrane") & (table["group"] != "P01"))
    table[keep].to_csv(folder / "raw/samples.tsv", sep="\t", index=False)
    text = refusal(folder)
    assert "membrane" in text
    assert "rare_classes" in text


def test_fewer_groups_than_folds_are_reported(folder):
    table = pd.read_csv(folder / "raw/samples.tsv", sep="\t")
    table.assign(group="P00").to_csv(folder / "raw/samples.tsv", sep="\t", index=False)
    assert "group" in refusal(folder)


def test_an_unknown_backbone_is_reported_with_a_suggestion(folder):
    write_yaml(folder / "study.yaml", {**STUDY, "backbones": ["handcraftet"]})
    text = refusal(folder)
    assert 'unknown backbone "handcraftet"' in text
    assert 'Did you mean "handcrafted"?' in text


def test_a_typo_in_the_config_is_reported_with_a_suggestion(folder):
    write_yaml(folder / "study.yaml", {**STUDY, **SMALL, "chanel_strategies": ["map"]})
    text = refusal(folder)
    assert "chanel_strategies" in text
    assert 'Did you mean "channel_strategies"?' in text


def test_a_number_that_yaml_parses_as_text_runs_and_a_boolean_does_not(folder):
    # `study check` accepts the first, too.
    write_yaml(folder / "study.yaml", {**STUDY, **SMALL, "heads": {"learning_rate": "1e-3"}})
    assert "learning_rate: 1e-3\n" in (folder / "study.yaml").read_text()
    run_snakemake(folder, "--dry-run")
    write_yaml(folder / "study.yaml", {**STUDY, **SMALL, "heads": {"epochs": True}})
    assert "key heads.epochs" in refusal(folder)


def constant_field(folder):
    image = tifffile.imread(folder / "raw/P00_1.tif")
    tifffile.imwrite(folder / "raw/P00_1.tif", image * 0 + 7, metadata={"axes": "CYX"})


def test_a_constant_field_stops_its_job_and_leaves_the_rest(folder):
    constant_field(folder)
    done = run_snakemake(folder, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "P00_1.tif" in text
    assert "bad_tiles: skip" in text
    assert "Traceback" not in text
    assert not (folder / "results/tiny/tiles/cells.json").exists()


def test_skipping_lists_what_was_skipped(folder):
    constant_field(folder)
    (folder / "raw/P03_0.tif").write_bytes(b"this is no image")
    write_yaml(folder / "study.yaml", {**STUDY, **SMALL, "bad_tiles": "skip"})
    run_snakemake(folder, "results/tiny/tiles/cells.json")
    skipped = pd.read_csv(folder / "results/tiny/tiles/cells.skipped.tsv", sep="\t")
    assert set(skipped["tile_id"]) == {"P00_1", "P03_0"}
    assert len(pd.read_parquet(folder / "results/tiny/tiles/cells.tiles.parquet")) == 34

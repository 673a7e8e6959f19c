import importlib.util
import os
import re

import pytest

from factories import CLASSES, DATASET_CARD, STUDY, write_study, write_yaml
from transferscope.backbones import checks
from transferscope.backbones.input_adaptation import AdaptationError
from transferscope.errors import Problem, UserError
from transferscope.runtime.shipped import install_hint
from transferscope.steps.preflight import Passed, preflight
from transferscope.study.loading import load_study


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_study(tmp_path)


def load(folder, repository, **changes):
    config = {**STUDY, "backbones": ["handcrafted"], **changes}
    return load_study(config, [folder, repository], "study.yaml")


def test_sound_input_passes(folder, repository):
    preflight(load(folder, repository))


def test_classes_with_fewer_groups_than_are_asked_for_are_named(folder, repository, caplog):
    splits = {**STUDY["splits"], "groups_per_class": [1, 8]}
    preflight(load(folder, repository, splits=splits))
    found = [text for text in caplog.messages if "splits.groups_per_class" in text]
    assert len(found) == len(CLASSES)
    text = f'class "{CLASSES[0]}" has 4 groups, of which about 2 are trained on: all of them stand'
    assert text in found[0]


def test_problems_of_sheet_and_backbone_come_together(folder, repository):
    card = folder / "cards/backbones/tiny.yaml"
    card.write_text(card.read_text().replace("vit_tiny_patch16_224", "vit_tinny_patch16_224"))
    sheet = folder / "raw/samples.tsv"
    sheet.write_text(sheet.read_text().replace(CLASSES[1], "membran", 1))
    with pytest.raises(UserError) as caught:
        preflight(load(folder, repository, backbones=["cards/backbones/tiny.yaml"]))
    text = str(caught.value)
    assert "membran" in text
    assert "vit_tinny_patch16_224" in text


def test_a_passed_check_is_not_repeated_and_a_failed_one_is(tmp_path):
    path = tmp_path / "passed.json"
    calls = []

    def check():
        calls.append(1)
        return [] if len(calls) > 1 else [Problem("a", "is bad")]

    assert Passed(path).once("digest", check)
    assert not Passed(path).once("digest", check)
    assert not Passed(path).once("digest", check)
    assert len(calls) == 2


@pytest.mark.parametrize("content", ["{", "7", "[[]]"])
def test_a_damaged_cache_only_costs_time(tmp_path, content):
    path = tmp_path / "passed.json"
    path.write_text(content)
    assert not Passed(path).once("digest", list)


def test_a_replaced_file_is_checked_again(folder, repository):
    preflight(load(folder, repository))
    image = folder / "raw/P00_0.tif"
    image.write_bytes(b"this is no image")
    os.utime(image, ns=(5, 5))
    with pytest.raises(UserError, match=r"P00_0\.tif"):
        preflight(load(folder, repository))


def test_a_backbone_whose_input_cannot_be_adapted_is_refused_before_the_run(
    folder, repository, monkeypatch
):
    study = {"backbones": ["cards/backbones/tiny.yaml"], "channel_strategies": ["adapt"]}
    preflight(load(folder, repository, **study))
    (folder / ".snakemake/transferscope/checked.json").unlink()

    def refuse(*_):
        raise AdaptationError("its first layer is no plain convolution over the input slots")

    monkeypatch.setattr(checks, "input_convolutions", refuse)
    preflight(load(folder, repository, **{**study, "channel_strategies": ["map"]}))
    with pytest.raises(UserError, match="cannot serve the channel strategy adapt") as caught:
        preflight(load(folder, repository, **study))
    assert "no plain convolution" in str(caught.value)


def test_a_missing_umap_is_refused_before_the_run(folder, repository, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "umap" else found(n))
    preflight(load(folder, repository))
    with pytest.raises(UserError, match="(?s)figures.map.*" + re.escape(install_hint("umap"))):
        preflight(load(folder, repository, figures={"map": "umap"}))


def test_a_fetch_is_checked_before_it_is_done(folder, repository):
    (folder / "table.csv").write_text(
        "ensg_id,target_name,annotation_name,annotation_grade\nENSG1,A,membran,3\n"
    )
    fetch = {"kind": "opencell", "annotations": "table.csv"}
    write_yaml(folder / "public.yaml", {**DATASET_CARD, "sheet": None, "fetch": fetch})
    with pytest.raises(UserError) as caught:
        preflight(load(folder, repository, datasets=["public.yaml"]))
    assert 'Did you mean "membran"?' in str(caught.value)
    assert len(caught.value.problems) == len(CLASSES)


def label_by_hand(folder, text, **changes):
    """Write a label table, and name it in the dataset's card."""
    (folder / "raw/hand.csv").write_text(text)
    own = {"sheet": "../../raw/samples.tsv", "label_table": "../../raw/hand.csv"}
    write_yaml(folder / "cards/datasets/cells.yaml", {**DATASET_CARD, **own, **changes})


def labels_of(groups):
    rows = [f"P{group:02d}_{fov},{CLASSES[group % 3]}" for group in groups for fov in range(3)]
    return "\n".join(["tile_id,labels", *rows, ""])


def test_labels_given_by_hand_are_checked_with_their_row(folder, repository):
    label_by_hand(folder, labels_of(range(12)))
    preflight(load(folder, repository))
    label_by_hand(folder, labels_of(range(12)) + "P77_0,membran\n")
    with pytest.raises(UserError) as caught:
        preflight(load(folder, repository))
    text = str(caught.value)
    for part in ("hand.csv, row 38", 'unknown label "membran"', 'no tile "P77_0"'):
        assert part in text


def test_labels_given_by_hand_must_suffice_for_the_folds(folder, repository):
    label_by_hand(folder, labels_of(range(4)))
    with pytest.raises(UserError, match=r"hand\.csv.*fewer than the 2 folds"):
        preflight(load(folder, repository))


def test_the_sheet_may_be_without_labels_where_they_are_given_by_hand(folder, repository):
    label_by_hand(folder, labels_of(range(12)))
    sheet = folder / "raw/samples.tsv"
    lines = [line.rpartition("\t")[0] for line in sheet.read_text().splitlines()[1:]]
    sheet.write_text("\n".join(["tile_id\tpath\tgroup\tlabels", *(f"{x}\t" for x in lines)]))
    preflight(load(folder, repository))


def test_nothing_needs_a_label_before_the_scores(folder, repository):
    sheet = folder / "raw/samples.tsv"
    lines = [line.rpartition("\t")[0] for line in sheet.read_text().splitlines()[1:]]
    sheet.write_text("\n".join(["tile_id\tpath\tgroup\tlabels", *(f"{x}\t" for x in lines)]))
    preflight(load(folder, repository), scored=False)
    with pytest.raises(UserError, match=r"(?s)no tile has a label.*--until tiles"):
        preflight(load(folder, repository))


def test_hand_labels_of_cut_tiles_wait_for_the_tiles(folder, repository):
    cut = {"tiles": {"size": 32, "mode": "cut"}}
    label_by_hand(folder, "tile_id,labels\nP00_0_y0_x32,membrane\n", **cut)
    preflight(load(folder, repository))
    label_by_hand(folder, "tile_id,labels\nP00_0_y0_x32,membran\n", **cut)
    with pytest.raises(UserError, match="membran"):
        preflight(load(folder, repository))


def test_hand_labels_of_no_tile_are_left_out_where_bad_tiles_are(folder, repository):
    label_by_hand(folder, labels_of(range(12)) + "P77_0,membrane\n")
    preflight(load(folder, repository, bad_tiles="skip"))


def test_the_label_table_of_a_simulated_dataset_is_checked(folder, repository):
    label_by_hand(
        folder, "tile_id,labels\nx,membran\n", sheet=None, simulate={"domain": "opencell"}
    )
    with pytest.raises(UserError, match="membran"):
        preflight(load(folder, repository))


def test_batches_that_k_nn_needs_are_asked_for_before_the_run(folder, repository):
    study = load(folder, repository, knn={"k": [1], "exclude": "batch"})
    with pytest.raises(UserError, match=r"36 tiles have no batch, but `knn\.exclude: batch`"):
        preflight(study)
    sheet = folder / "raw/samples.tsv"
    head, *rows = sheet.read_text().splitlines()
    sheet.write_text("\n".join([f"{head}\tbatch", *(f"{row}\tb{len(row)}" for row in rows)]))
    preflight(load(folder, repository, knn={"k": [1], "exclude": "batch"}))
    preflight(load(folder, repository, knn={"k": [], "exclude": "batch"}))


def finetune(folder, repository, backbones=("cards/backbones/tiny.yaml",), **changes):
    listed = ["handcrafted", "cards/backbones/tiny.yaml"]
    settings = {"backbones": list(backbones), **changes}
    return load(folder, repository, backbones=listed, finetune=settings)


def test_what_can_be_fine_tuned_passes(folder, repository):
    modes = ["full", "last-2", "lora", "head"]
    preflight(finetune(folder, repository, modes=modes, channels=["map", "replicate"]))


def test_a_mode_that_a_backbone_cannot_serve_is_refused(folder, repository):
    study = finetune(folder, repository, modes=["full", "last-9"])
    with pytest.raises(UserError, match="last-9 cannot be served by tiny: it has 2 layers"):
        preflight(study)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbones": ["handcrafted"]}, "handcrafted has no trainable weights"),
        ({"backbones": ["tiny"]}, "not one of the backbones of the study"),
        ({"channels": ["adapt"]}, "finetune.channels: adapt is not among the study's"),
        ({"fractions": [0.3]}, "finetune.fractions: 0.3 is not among the study's: 0.5, 1.0"),
        ({"modes": ["fulll"]}, "no such mode. Known: full, last-<number of layers>, lora, head"),
    ],
)
def test_fine_tuning_that_cannot_be_paired_is_refused_at_once(folder, repository, changes, message):
    with pytest.raises(UserError, match=message):
        finetune(folder, repository, **changes)


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("relations.sources", {"relations": {"sources": ["pairs.csv"]}}),
        ("segmentation", {"segmentation": {}}),
        ("figures.gallery", {"figures": {"gallery": 2}}),
        ("aggregate.levels", {"aggregate": {"levels": ["fov"]}}),
        (
            "finetune.backbones",
            {"finetune": {"backbones": ["cards/backbones/tiny.yaml"], "modes": ["head"]}},
        ),
    ],
)
def test_a_study_without_scores_asks_for_nothing_that_needs_them(folder, repository, key, asked):
    with pytest.raises(UserError) as caught:
        load(folder, repository, scored=False, **asked)
    told = [problem for problem in caught.value.problems if "`scored: false`" in problem.what]
    assert [problem.where for problem in told] == [f"study.yaml, key {key}"]


def test_columns_that_are_to_be_predicted_must_be_in_the_sheet(folder, repository, caplog):
    asked = {"columns": ["plate"], "numbers": ["group"]}
    with pytest.raises(UserError) as caught:
        preflight(load(folder, repository, nuisance=asked))
    text = str(caught.value)
    assert 'no column "plate", which the key nuisance.columns names' in text
    assert "is no number" in text
    preflight(load(folder, repository, nuisance={}))
    assert "no column of batches, so no robustness index" in caplog.text

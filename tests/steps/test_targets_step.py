"""Masks become targets where a study segments, and nowhere else; bad ones stop it beforehand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

from command_tree import run, words_of
from factories import DATASET_CARD, STUDY, TINY_NETWORK, write_raw, write_yaml
from transferscope.config.segmentation import SegmentationSettings
from transferscope.errors import UserError
from transferscope.steps.plan import Plan
from transferscope.steps.preflight import Passed, preflight
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.study.loading import load_study
from transferscope.upkeep.verify import repair, verify

MASKS = {"kind": "instances"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with fields, a mask for each, and the cards of a study."""
    sheet = write_raw(tmp_path / "raw", n_groups=6, fovs_per_group=2)
    table = pd.read_csv(sheet, sep="\t")
    rng = np.random.default_rng(0)
    for name in table["tile_id"]:
        mask = rng.integers(0, 9, (64, 64)).astype(np.uint16)
        tifffile.imwrite(tmp_path / "raw" / f"{name}_mask.tif", mask)
    table["mask"] = table["tile_id"] + "_mask.tif"
    table.to_csv(sheet, sep="\t", index=False)
    write_yaml(tmp_path / "cards/backbones/tiny.yaml", {"name": "tiny", **TINY_NETWORK})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study_of(folder, repository, *, segments=True, masks=MASKS, **changes):
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv", **changes}
    card |= {} if masks is None else {"masks": masks}
    write_yaml(folder / "cards/datasets/cells.yaml", card)
    config = {**STUDY, "results": str(folder / "results")}
    study = load_study(config, [folder, repository], "study.yaml")
    # What a study that segments has in its config.
    object.__setattr__(study.config, "segmentation", SegmentationSettings() if segments else None)
    return study


def test_only_a_study_that_segments_has_the_step(folder, repository):
    steps = Plan(study_of(folder, repository)).steps
    without = Plan(study_of(folder, repository, segments=False)).steps
    assert "targets" in steps
    assert "targets" not in without
    assert "targets" not in Plan(study_of(folder, repository, masks=None)).steps
    # What the other steps are made from is the same, with masks or without.
    job = {"dataset": "cells"}
    plain = Plan(study_of(folder, repository, segments=False, masks=None)).steps
    for name in ("tiles", "splits"):
        digests = [s[name].made_from()(job) for s in (steps, without, plain)]
        assert digests[0] == digests[1] == digests[2]


def test_the_step_runs_as_a_command_and_its_store_is_verified_and_repaired(folder, repository):
    study = study_of(folder, repository)
    plan = Plan(study)
    for name in ("tiles", "targets"):
        step = plan.steps[name]
        for job in step.planned:
            ended = run(words_of(step, job))
            assert ended.code == 0, ended.err
    paths = study.paths
    tiles, targets = TileStore(paths.tiles("cells")), TargetStore(paths.targets("cells"))
    assert targets.tile_ids == tiles.tile_ids
    mask = tifffile.imread(folder / "raw" / f"{targets.tile_ids[3]}_mask.tif")
    np.testing.assert_array_equal(targets.read(np.array([3]))[0], mask)
    root = folder / "results/tiny"
    assert verify(root).faults == []
    assert verify(root).stores == 2
    [data] = [p for p in (root / "targets/cells.zarr/targets/c").rglob("*") if p.is_file()]
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    [fault] = verify(root).faults
    assert (fault.file, fault.block) == (paths.targets("cells"), 0)
    repair([fault])
    assert not paths.targets("cells").exists()
    step = plan.steps["targets"]
    assert run(words_of(step, step.planned[0])).code == 0
    assert verify(root).faults == []


def test_targets_of_other_tiles_are_noticed(folder, repository):
    study = study_of(folder, repository)
    plan = Plan(study)
    for name in ("tiles", "targets"):
        assert run(words_of(plan.steps[name], {"dataset": "cells"})).code == 0
    field = folder / "raw/P00_0.tif"
    tifffile.imwrite(field, tifffile.imread(field)[:, ::-1], metadata={"axes": "CYX"})
    assert run(words_of(plan.steps["tiles"], {"dataset": "cells"})).code == 0
    [fault] = verify(folder / "results/tiny").faults
    assert fault.file == study.paths.targets("cells")
    assert "tiles_sha256" in fault.what


def test_a_mask_that_changes_makes_the_targets_again_and_not_the_tiles(folder, repository):
    def digests():
        steps = Plan(study_of(folder, repository)).steps
        return [steps[name].made_from()({"dataset": "cells"}) for name in ("tiles", "targets")]

    tiles, targets = digests()
    tifffile.imwrite(folder / "raw/P00_0_mask.tif", np.zeros((64, 64), np.uint8))
    assert digests()[0] == tiles
    assert digests()[1] != targets


def test_all_bad_masks_stop_a_study_before_its_first_job(folder, repository):
    bad = {
        "P00_0": np.zeros((60, 64), np.uint8),
        "P01_0": np.zeros((64, 64), np.float32),
        "P02_0": np.zeros((64, 64, 3), np.uint8),
    }
    for name, mask in bad.items():
        photometric = "rgb" if mask.ndim == 3 else "minisblack"
        tifffile.imwrite(folder / f"raw/{name}_mask.tif", mask, photometric=photometric)
    (folder / "raw/P03_0_mask.tif").write_bytes(b"")
    with pytest.raises(UserError) as raised:
        preflight(study_of(folder, repository), Passed(folder / "checked.json"))
    whats = [f"{problem.where}: {problem.what}" for problem in raised.value.problems]
    assert len(whats) == 4
    for name, what in zip(["P00_0", "P01_0", "P02_0", "P03_0"], whats, strict=True):
        assert f"{name}_mask.tif" in what
    # A study that does not segment does not look at them.
    preflight(study_of(folder, repository, segments=False), Passed(folder / "checked.json"))


def test_a_sheet_without_masks_stops_a_study_that_segments_it(folder, repository):
    sheet = folder / "raw/samples.tsv"
    table = pd.read_csv(sheet, sep="\t").drop(columns="mask")
    table.to_csv(sheet, sep="\t", index=False)
    with pytest.raises(UserError, match='the column "mask" is missing'):
        preflight(study_of(folder, repository), Passed(folder / "checked.json"))


def test_what_masks_mean_may_change_and_the_drawn_images_stay(folder, repository):
    config = {**STUDY, "results": str(folder / "results"), "datasets": ["glands-demo"]}
    study = load_study(config, [folder, repository], "study.yaml")
    object.__setattr__(study.config, "segmentation", SegmentationSettings())
    steps, job = Plan(study).steps, {"dataset": "glands-demo"}
    assert study.paths.raw_sheet("glands-demo") in steps["tiles"].made_again(job)
    assert steps["targets"].made_again(job) == [
        study.paths.targets("glands-demo"),
        study.paths.target_table("glands-demo"),
    ]
    # Masks are drawn with the images, and decoded from where these are.
    assert study.paths.raw_sheet("glands-demo") in steps["targets"].read_by(job)


def test_the_need_grows_with_the_fields(folder, repository):
    job = SimpleNamespace(dataset="cells")
    small = Plan(study_of(folder, repository)).steps["targets"].need(job)
    for path in sorted((folder / "raw").glob("*_[01].tif")):
        tifffile.imwrite(path, np.ones((2, 3000, 3000), np.uint16), metadata={"axes": "CYX"})
    large = Plan(study_of(folder, repository)).steps["targets"].need(job)
    # Five copies of a mask in 32 bit, two masks that wait, and a part that is looked at.
    expected = (7 * 4 * 3000**2 + 100 * 2048**2) / 2**20
    assert large.mem_mb - small.mem_mb == pytest.approx(expected, abs=60)

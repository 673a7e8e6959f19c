"""`transferscope study check` as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from factories import REPOSITORY, environment, write_study
from transferscope.errors import UserError
from transferscope.study.defaults import merged_config

CARDS = [
    *sorted((REPOSITORY / "resources/backbones").glob("*.yaml")),
    *sorted((REPOSITORY / "resources/datasets").glob("*.yaml")),
]


def check(folder, *arguments, **variables):
    return subprocess.run(
        [Path(sys.executable).parent / "transferscope", "study", "check", "study.yaml", *arguments],
        cwd=folder,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_sound_study_is_passed_with_what_it_takes(tmp_path):
    done = check(write_study(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Study tiny is sound" in done.stdout
    for part in ("cells", "tiny, replicate", "all of them", "Disk:", "Probes:", "results/tiny"):
        assert part in done.stdout
    plain = json.loads(check(tmp_path, "--json", "--tflops", "400").stdout)
    assert plain["jobs"]["embed"] == 3
    assert plain["rates"]["measured"] is False
    assert plain["device_hours"] > 0


def test_the_check_says_the_warnings(tmp_path):
    probes = {"compute": {"device": "cpu", "probes": "cuda"}}
    folder = write_study(tmp_path, knn={"k": [1], "exclude": "group"}, **probes)
    done = check(folder, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert "Warning: `knn.exclude: group` makes k-NN in the split by image worse" in done.stdout
    found = check(folder, "--json", CUDA_VISIBLE_DEVICES="")
    excluded, no_gpu = json.loads(found.stdout)["warnings"]
    assert "worse than chance" in excluded
    assert "need a GPU, and this machine has none" in no_gpu


def test_what_is_wrong_is_listed_and_nothing_is_estimated(tmp_path):
    folder = write_study(tmp_path, backbones=["handcrafted"])
    sheet = folder / "raw/samples.tsv"
    pd.read_csv(sheet, sep="\t").assign(labels="golgi").to_csv(sheet, sep="\t", index=False)
    done = check(folder)
    assert done.returncode == 1
    assert "golgi" in done.stderr
    assert not done.stdout


def test_a_config_lies_on_top_of_the_defaults_and_of_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("study: mine\nsplits: {seeds: [7]}\n")
    merged = merged_config(Path("mine.yaml"))
    assert (merged["study"], merged["splits"]["seeds"]) == ("mine", [7])
    assert merged["heads"]["kinds"] == ["linear", "logreg", "mlp"]
    own = {"study": "base", "heads": {"kinds": ["linear"]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own))
    assert merged_config(Path("mine.yaml")) == merged
    with pytest.raises(UserError, match="does not exist"):
        merged_config(Path("none.yaml"))


@pytest.mark.parametrize("card", CARDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_card_is_recognised_as_one(card):
    kind = card.parent.name.removesuffix("s")
    with pytest.raises(UserError, match=f"is the card of a {kind}, not a study") as caught:
        merged_config(card)
    assert f"{kind}s: [{card}]" in caught.value.problems[0].fix

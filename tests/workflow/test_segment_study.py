"""A study that segments: simulated glands, two real networks, to the sentences and the figure."""

import pandas as pd
import pytest
import yaml

from factories import REPOSITORY, STUDY, TINY_NETWORK, run_snakemake, write_yaml

OPTED = {"objects": True, "pictures": True, "out_of_domain": {"glands": ["other"]}}

pytestmark = pytest.mark.workflow


def test_simulated_glands_are_segmented_and_told(tmp_path):
    cards = REPOSITORY / "resources"
    glands = yaml.safe_load((cards / "datasets/glands-demo.yaml").read_text())
    glands["simulate"] |= {"n_groups": 12, "fovs_per_group": 2, "fov_size": 64}
    write_yaml(tmp_path / "glands.yaml", {**glands, "name": "glands"})
    other = {"domain": "glands-other-lab", "n_groups": 12, "fovs_per_group": 1}
    simulated = {**glands["simulate"], **other}
    write_yaml(tmp_path / "other.yaml", {**glands, "name": "other", "simulate": simulated})
    lite = yaml.safe_load((cards / "backbones/efficientnet-lite0.yaml").read_text())
    write_yaml(tmp_path / "lite.yaml", {**lite, "name": "lite", "input_size": 64})
    slots = [{"name": name} for name in ("red", "green", "blue")]
    small = {"arguments": {**TINY_NETWORK["arguments"], "patch_size": 8}, "input_size": 64}
    write_yaml(tmp_path / "tiny.yaml", {"name": "tiny", **TINY_NETWORK, **small, "slots": slots})
    study = {
        **STUDY,
        "datasets": ["glands.yaml", "other.yaml"],
        "backbones": ["tiny.yaml", "lite.yaml"],
        "channel_strategies": ["map"],
        "splits": {**STUDY["splits"], "schemes": ["group"], "fractions": [0.5, 1.0]},
        "heads": {"kinds": ["logreg"]},
        "knn": {"k": []},
        "segmentation": {"decoders": ["linear", "unet"], "steps": 20, "size": 32} | OPTED,
    }
    write_yaml(tmp_path / "study.yaml", study)
    run_snakemake(tmp_path, "--until", "compare")
    made = tmp_path / "results/tiny"
    limits = pd.read_csv(made / "compare/mask_limits.csv").query("dataset == 'glands'")
    # The transformer has no pyramid for a U-Net, so that there is one pair.
    assert limits["head"].tolist() == ["linear"]
    scores = pd.read_csv(made / "compare/masks.csv").query("metric == 'dice'")
    assert set(scores["head"]) == {"linear", "unet"}
    assert scores["floor"].between(0.4, 0.9).all()
    summary, details = ((made / f"{name}.md").read_text() for name in ("summary", "details"))
    for text in (summary, details):
        assert "## `glands`, segmentation" in text
        assert "Decoder linear, all training labels" in text
        assert "interval of that number" in text
    assert "| `lite / map` | unet |" in details
    # Twenty steps find no glands, but where none is found there is a score.
    assert "Single objects, decoder linear" in summary
    gains = pd.read_csv(made / "compare/object_gains.csv")
    assert gains["dataset"].tolist() == ["glands"] * 2 + ["other"] * 2
    shifts = pd.read_csv(made / "compare/mask_shifts.csv")
    assert set(shifts["tested_on"]) == {"other"}
    assert set(shifts["metric"]) == {"dice", "pq"}
    assert "Out of domain, on `other` (12 groups)" in summary
    assert (made / "figures/masks/glands/lite/map.png").exists()
    assert (made / "figures/dice.svg").exists()

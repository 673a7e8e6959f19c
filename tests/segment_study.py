"""A small study that segments: simulated glands of two labs, two networks, single glands."""

from pathlib import Path
from typing import Any

import yaml

from factories import REPOSITORY, STUDY, TINY_NETWORK, write_yaml

SEGMENTATION = {
    "decoders": ["linear", "unet"],
    "steps": 20,
    "size": 32,
    "objects": True,
    "pictures": True,
    "keep_masks": True,
    "out_of_domain": {"glands": ["other"]},
}


def write_segment_study(folder: Path, **changes: Any) -> Path:
    """Write cards and `study.yaml`, whose name is `tiny`; changes are to its segmentation."""
    folder.mkdir(parents=True, exist_ok=True)
    cards = REPOSITORY / "resources"
    glands = yaml.safe_load((cards / "datasets/glands-demo.yaml").read_text())
    glands["simulate"] |= {"n_groups": 12, "fovs_per_group": 2, "fov_size": 64}
    write_yaml(folder / "glands.yaml", {**glands, "name": "glands"})
    other = {"domain": "glands-other-lab", "n_groups": 12, "fovs_per_group": 1}
    simulated = {**glands["simulate"], **other}
    write_yaml(folder / "other.yaml", {**glands, "name": "other", "simulate": simulated})
    lite = yaml.safe_load((cards / "backbones/efficientnet-lite0.yaml").read_text())
    write_yaml(folder / "lite.yaml", {**lite, "name": "lite", "input_size": 64})
    slots = [{"name": name} for name in ("red", "green", "blue")]
    small = {"arguments": {**TINY_NETWORK["arguments"], "patch_size": 8}, "input_size": 64}
    write_yaml(folder / "tiny.yaml", {"name": "tiny", **TINY_NETWORK, **small, "slots": slots})
    study = {
        **STUDY,
        "datasets": ["glands.yaml", "other.yaml"],
        "backbones": ["tiny.yaml", "lite.yaml"],
        "channel_strategies": ["map"],
        "splits": {**STUDY["splits"], "schemes": ["group"], "fractions": [0.5, 1.0]},
        "heads": {"kinds": ["logreg"]},
        "knn": {"k": []},
        "segmentation": {**SEGMENTATION, **changes},
    }
    write_yaml(folder / "study.yaml", study)
    return folder

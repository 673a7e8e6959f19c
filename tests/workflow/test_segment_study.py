"""A study that segments: simulated glands, two real networks, to the sentences and the figure."""

import pandas as pd
import pytest

from factories import run_snakemake
from segment_study import write_segment_study
from transferscope.stores.target_store import TargetStore
from transferscope.upkeep.verify import verify

pytestmark = pytest.mark.workflow


def test_simulated_glands_are_segmented_and_told(tmp_path):
    write_segment_study(tmp_path)
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
    kept = TargetStore.open(made / "predicted_masks/glands/lite/map.json")
    assert kept.attributes["decoders"] == ["linear", "unet"]
    assert len(kept) == 2 * 24
    assert verify(made).faults == []

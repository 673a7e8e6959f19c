"""A study that asks for known pairs makes their tables from its own stores."""

import json

import pandas as pd
import pytest

from factories import run_snakemake, write_study

pytestmark = pytest.mark.workflow


def test_a_study_relates_its_stores(tmp_path):
    relations = {"sources": ["pairs.csv"], "min_entities": 3, "permutations": 20, "draws": 100}
    folder = write_study(tmp_path, relations=relations)
    sheet = pd.read_csv(folder / "raw/samples.tsv", sep="\t")
    groups = sorted(sheet["group"].astype(str).unique())
    pairs = pd.DataFrame({"a": groups[:-1], "b": groups[1:]})
    pairs.to_csv(folder / "pairs.csv", index=False)
    done = run_snakemake(folder, "--until", "relate")
    assert done.returncode == 0, done.stdout + done.stderr
    made = folder / "results/tiny/relations/cells"
    recall = pd.read_csv(made / "recall.csv")
    assert set(recall.query("null == 'all pairs'")["status"]) == {"scored"}
    # Of pairs that share labels, the labels alone say nothing more.
    within = recall.query("null == 'same stratum' and map == 'labels only'")
    assert set(within["status"]) <= {"no information: all cosines are equal", "scored"}
    assert {"random", "labels only", "tiny, map", "handcrafted, agnostic"} & set(recall["map"])
    assert json.loads((made / "record.json").read_text())["n_entities"] == len(groups)
    assert len(pd.read_csv(made / "new_pairs.csv"))

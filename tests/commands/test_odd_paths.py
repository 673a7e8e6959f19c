"""Odd paths of results, cards and tables: used as they are, or refused before any job."""

from pathlib import Path

import pytest
import yaml

from command_tree import Ended, run
from factories import CLASSES, DATASET_CARD, STUDY, TINY_NETWORK, write_raw, write_yaml
from transferscope.config.study import StudyConfig

PLAIN = [
    "re sults", "a'b", 'a"b', "$(touch x)", "a%sb", "x[1]*?", "r:x", "é", "a//b/", "../r", "ａ b",
    "a;b&", "a#b", "a\\b", "`x`", "!x", "x=y", "a$b", ".hidden", "100%",
]  # fmt: skip
REFUSED = [
    "a{y}", "{y}", "a}b", "a{b", "{{y}}", "a\nb", "a\tb", "a\x1b[2J", "a\u2028b", "-x", "-rf /",
    "~/r", "~me/r", "$HOME/r", "$SCRATCH", "a\u202eb",
]  # fmt: skip


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: object) -> Ended:
    monkeypatch.chdir(folder)
    write_yaml(folder / "study.yaml", {**STUDY, **changes})
    return run(["study", "check", "study.yaml"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_raw(tmp_path / "raw", n_groups=6)
    card = {**DATASET_CARD, "sheet": "../../raw/samples.tsv"}
    write_yaml(tmp_path / "cards/datasets/cells.yaml", card)
    write_yaml(tmp_path / "cards/backbones/tiny.yaml", {"name": "tiny", **TINY_NETWORK})
    return tmp_path


def test_plain_results(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for results in PLAIN:
        assert StudyConfig(**{**STUDY, "results": results}).results == results
    for results in PLAIN[::7]:
        ended = check(place, monkeypatch, results=results)
        assert ended.code == 0, ended.err


def test_results_that_are_read_as_something_else(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for results in REFUSED:
        ended = check(place, monkeypatch, results=results)
        assert ended.code == 1, results
        assert "study.yaml, key results: " in ended.err
        assert "Traceback" not in ended.err
        for words in (["verify"], ["export"]):
            again = run([*words, "study.yaml"])
            assert again.code == 1, again.err
            assert "Traceback" not in again.err


BRACES = {"{1}": False, "a {plate} b": False, "{x,y}": False, "{ z }": False, "{{w}}": False}
BRACES |= {"{}": True, "{x y}": True, "{x": True, "x}": True, "{-}": True}


KINDS = ["dataset", "backbone", "sheet", "labels", "folder"]


@pytest.mark.parametrize("what", KINDS)
def test_names_in_braces(place: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Snakemake would ask for the value of a wildcard; other braces are characters to it."""
    # Each kind of file has two names of either kind, of which all are tried.
    for name, is_right in list(BRACES.items())[KINDS.index(what) % 3 :: 3]:
        card = {**DATASET_CARD, "sheet": str(place / "raw/samples.tsv")}
        dataset, backbone = f"cards/datasets/{name}.yaml", "cards/backbones/tiny.yaml"
        if what != "dataset":
            dataset = "cards/datasets/cells.yaml"
        if what == "backbone":
            backbone = f"cards/backbones/{name}.yaml"
            write_yaml(place / backbone, {"name": "tiny", **TINY_NETWORK})
        elif what == "sheet":
            (place / "raw" / f"{name}.tsv").write_bytes((place / "raw/samples.tsv").read_bytes())
            card["sheet"] = str(place / "raw" / f"{name}.tsv")
        elif what == "labels":
            rows = (place / "raw/samples.tsv").read_text().splitlines()[1:]
            ids = [row.split("\t")[0] for row in rows]
            lines = [f"{one}\t{CLASSES[int(one[1:3]) % 3]}" for one in ids]
            table = place / f"labels {name}.tsv"
            table.write_text("\n".join(["tile_id\tlabels", *lines]) + "\n")
            card["label_table"] = str(table)
        elif what == "folder":
            dataset = f"cards {name}/cells.yaml"
        write_yaml(place / dataset, card)
        ended = check(place, monkeypatch, datasets=[dataset], backbones=[backbone])
        assert ended.code == (0 if is_right else 1), f"{name}: {ended.err}"
        if not is_right:
            assert "which Snakemake takes for a wildcard" in ended.err
            assert yaml.safe_load((place / "study.yaml").read_text())["datasets"] == [dataset]

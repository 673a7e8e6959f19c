"""`transferscope relate` as a user types it: cards, tables, counts, messages."""

import json
import re
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from factories import REPOSITORY
from screens import screen
from transferscope.cards.relations import RelationCard
from transferscope.commands.app import app
from transferscope.config.model import read_model
from transferscope.errors import UserError
from transferscope.relations.sources import distinct_names, read_export, read_source

CARDS = sorted((REPOSITORY / "resources/relations").glob("*.yaml"))
QUICK = ["--permutations", "20", "--draws", "100"]
ROLES = ["--entity", "gene", "--batch", "plate", "--control", "kind", "--control-value", "dmso"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with a screen as CSV and Parquet, and its known pairs."""
    monkeypatch.chdir(tmp_path)
    one = screen(0, 80, n_perturbations=40, size=12)
    table = pd.DataFrame(one.values, columns=[f"f{n}" for n in range(12)])
    table.insert(0, "gene", [f"g{p:02d}" if p >= 0 else "" for p in one.perturbations])
    table.insert(1, "plate", [one.rows.names[code] for code in one.rows.codes])
    table.insert(2, "kind", np.where(one.perturbations < 0, "dmso", "treated"))
    table.insert(3, "Metadata_Well", "A01")
    table.insert(4, "target", [f"t{p % 10}" if p >= 0 else "" for p in one.perturbations])
    table.to_csv("screen.csv", index=False)
    table.to_parquet("screen.parquet")
    pairs = [(f"g{a:02d}", f"g{a + 1:02d}") for a in range(0, 40, 2)]
    pairs += [("g01", "g00"), ("g03", "g03"), ("g00", "unknown")]
    pd.DataFrame(pairs, columns=["a", "b"]).to_csv("pairs.csv", index=False)
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["relate", *arguments])


def message(*arguments):
    done = run(*arguments)
    assert isinstance(done.exception, UserError), done.output
    return str(done.exception)


def test_a_table_is_related_with_every_correction(folder):
    corrections = [
        text
        for name in ("none", "center", "standardise", "sphere", "tvn")
        for text in ("--correction", name)
    ]
    more = ["--targets", "target", "--labels", "target", "--output", "out"]
    done = run("screen.csv", "--source", "pairs.csv", *ROLES, *corrections, *more, *QUICK)
    assert done.exit_code == 0, done.output
    assert "pairs: 20 of 23 listed pairs used; left out: 1 repeated, 1 with itself" in done.output
    assert re.search(r"screen \(tvn\): \d+ of 40 perturbations active", done.output)
    recall = pd.read_csv("out/recall.csv")
    assert set(recall["map"]) == {"screen", "random", "labels only"}
    assert set(recall["correction"]) == {"none", "center", "standardise", "sphere", "tvn"}
    assert recall["n_entities"].unique().tolist() == [40]
    activity = pd.read_csv("out/activity.csv")
    assert activity.groupby("correction").size().unique().tolist() == [40]
    assert len(pd.read_csv("out/consistency.csv")) == 50
    record = json.loads((folder / "out/record.json").read_text())
    assert record["maps"]["screen"]["tvn"]["n_controls"] == 80
    assert record["sources"]["pairs"]["n_used"] == 20


def test_parquet_and_csv_give_the_same(folder):
    both = ["a=screen.csv", "b=screen.parquet", "--source", "pairs.csv", *ROLES, *QUICK]
    done = run(*both, "--ignore", "target", "--no-references")
    assert done.exit_code == 0, done.output
    recall = pd.read_csv("relations/recall.csv")
    own = [recall[recall["map"] == name].drop(columns="map") for name in "ab"]
    pd.testing.assert_frame_equal(*(table.reset_index(drop=True) for table in own), rtol=1e-4)
    differences = pd.read_csv("relations/differences.csv")
    assert differences["difference"].abs().max() < 0.06


def test_the_same_command_gives_the_same_bytes(folder):
    told = ["screen.csv", "--source", "pairs.csv", *ROLES, *QUICK, "--ignore", "target"]
    for name in ("one", "two"):
        assert run(*told, "--output", name).exit_code == 0
    for path in (folder / "one").iterdir():
        assert path.read_bytes() == (folder / "two" / path.name).read_bytes(), path.name


def test_rows_that_cannot_be_used_are_counted(folder):
    table = pd.read_csv("screen.csv", keep_default_na=False)
    table = table.astype({"f0": object})
    treated = table.index[table["kind"] == "treated"]
    table.loc[treated[0], "f0"] = "nan"
    table.loc[treated[1], "f0"] = ""
    table.loc[treated[2], "f0"] = "inf"
    table.loc[treated[3], "gene"] = ""
    table.loc[treated[4], "plate"] = ""
    table.loc[treated[5], [c for c in table if c.startswith("f")]] = 0
    table.to_csv("odd.csv", index=False)
    done = run("odd.csv", "--source", "pairs.csv", *ROLES, *QUICK, "--ignore", "target")
    assert done.exit_code == 0, done.output
    for told in (
        "odd: 3 rows left out: values that are not finite",
        "odd: 1 rows left out: zero in all features",
        "odd: 1 rows left out: no entity",
        "odd: 1 rows left out: no batch",
    ):
        assert told in done.output


def test_few_entities_are_told_and_not_scored(folder):
    table = pd.read_csv("screen.csv", keep_default_na=False)
    table[table["gene"].isin([f"g{n:02d}" for n in range(19)])].to_csv("few.csv", index=False)
    told = ["few.csv", "--source", "pairs.csv", "--entity", "gene", "--ignore", "target"]
    done = run(*told, "--ignore", "plate", "--ignore", "kind", *QUICK)
    assert done.exit_code == 0, done.output
    assert "few (none), pairs: not scored: too few entities" in done.output


def test_perturbations_in_one_well_position_are_told(folder):
    table = pd.read_csv("screen.csv")
    genes = table["gene"].fillna("")
    # The first ten genes are always in one well, the others never.
    fixed = genes.isin([f"g{n:02d}" for n in range(10)])
    table["well"] = np.where(fixed, "w_" + genes, [f"w{n}" for n in range(len(table))])
    table.to_csv("screen.csv", index=False)
    done = run("screen.csv", "--source", "pairs.csv", *ROLES, "--ignore", "target", *QUICK)
    assert done.exit_code == 0, done.output
    assert "10 of 40 perturbations are in one well position throughout" in done.output
    activity = pd.read_csv("relations/activity.csv").set_index("name")["one_position"]
    assert activity.sum() == 10
    assert activity["g00"]


@pytest.mark.parametrize("column", ["batch", "control", "perturbation", "well"])
def test_a_usual_column_without_any_content_has_no_role(folder, column):
    table = pd.read_csv("screen.csv").drop(columns=["plate", "target"]).fillna("g00")
    table = table.drop(columns="kind").rename(columns={"gene": "group"}).assign(**{column: ""})
    table.to_csv("screen.csv", index=False)
    done = run("screen.csv", "--source", "pairs.csv", "--ignore", column, *QUICK)
    assert done.exit_code == 0, done.output


def test_mistakes_name_place_and_fix(folder):
    told = ["screen.csv", "--source", "pairs.csv"]
    assert 'the column "group" is missing' in message(*told)
    assert 'Did you mean "plate"' in message(*told, "--entity", "gene", "--batch", "plates")
    text = message(*told, "--entity", "gene")
    assert 'column plate: "plate0" is not a number' in text
    assert 'say `--ignore "plate"`' in text
    text = message(*told, *ROLES[:-1], "water", "--ignore", "target")
    assert 'no row of column kind is "water"' in text
    assert "it has dmso, treated" in text
    no_values = message(*told, *ROLES[:-2], "--ignore", "target")
    assert 'no row of column kind is "true, yes, 1"' in no_values
    told += ["--entity", "gene", "--ignore", "target", "--ignore", "plate", "--ignore", "kind"]
    assert "needs negative controls" in message(*told, "--correction", "tvn")
    assert "corrections" in message(*told, "--correction", "tvm")
    assert 'two maps are named "screen"' in message("screen.parquet", *told)
    assert 'two are named "pairs"' in message(*told, "--source", "./pairs.csv")
    assert "does not say what its rows are" in message("store.json", "--source", "pairs.csv")
    assert 'unknown relation "humab"' in message("screen.csv", "--source", "humab")
    assert 'Did you mean "humap"?' in message("screen.csv", "--source", "humab")


def test_a_batch_without_controls_is_told(folder, caplog):
    table = pd.read_csv("screen.csv", keep_default_na=False)
    table = table[(table["plate"] != "plate2") | (table["kind"] != "dmso")]
    table.to_csv("some.csv", index=False)
    told = ["some.csv", "--source", "pairs.csv", *ROLES, "--ignore", "target", *QUICK]
    done = run(*told, "--correction", "standardise")
    assert done.exit_code == 0, done.output
    record = json.loads((folder / "relations/record.json").read_text())
    [note] = record["maps"]["some"]["standardise"]["notes"]
    assert "1 of 4 batches have no control (first plate2)" in note
    text = message(*told, "--correction", "standardise", "--published")
    assert "needs 1 controls per batch, but plate2 has 0" in text


def card(folder, **changes):
    told = {"name": "mine", "path": "pairs.csv", "columns": ["a", "b"], "licence": "CC0 1.0"}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**told, **changes}))
    return str(path)


def test_a_card_names_columns_and_confidence(folder):
    pd.DataFrame(
        {"x": ["a", "b", "c"], "p": ["A", "B", "C"], "q": ["B", "C", "A"], "score": [1, 900, 500]}
    ).to_csv("scored.tsv", sep="\t", index=False)
    ref = card(folder, path="scored.tsv", columns=["p", "q"], at_least={"score": 500})
    found = read_source(ref, [folder])
    assert (found.name, found.first.tolist(), found.second.tolist()) == (
        "mine",
        ["B", "C"],
        ["C", "A"],
    )
    for changes, text in (
        ({"columns": ["p", "r"]}, 'the column "r" is missing'),
        ({"at_least": {"x": 1}}, 'column x: "a" is not a number'),
        ({"at_least": {"score": 1000}}, "no row reaches score of 1000"),
        ({"columns": ["p", "p"]}, '`columns` names "p" twice'),
        ({"url": "https://example.org/x.csv"}, "give either `path` or `url`"),
        ({"sha256": "0" * 64}, "the checksum is"),
        ({"licence": None}, "licence"),
    ):
        told = {"path": "scored.tsv", "columns": ["p", "q"], **changes}
        with pytest.raises(UserError, match=re.escape(text)):
            read_source(card(folder, **told), [folder])


def test_a_table_of_pairs_needs_two_names_in_each_row(folder):
    (folder / "half.csv").write_text("a,b\nx,\ny,z\n")
    with pytest.raises(UserError, match=r"half.csv, row 2, column b: has no name"):
        read_source("half.csv", [])
    (folder / "one.csv").write_text("a\nx\n")
    with pytest.raises(UserError, match="has 1 columns, but a pair takes two"):
        read_source("one.csv", [])
    with pytest.raises(UserError, match="does not exist"):
        read_source("none.csv", [])


def test_a_numbered_export_at_an_address_is_read(folder):
    """Published tables may have a column without a name; they are verified, not typed by hand."""
    (folder / "export.csv").write_text(",p,q\n0,A,B\n1,B,NA\n")
    table = read_export(folder / "export.csv", "mine.yaml")
    assert table["q"].tolist() == ["B", "NA"]
    assert table.index.tolist() == [2, 3]
    (folder / "broken.csv").write_text("a,b\n1,2,3,4\n")
    with pytest.raises(UserError, match=r"is not a table.*\n.*Check `url:` in mine.yaml"):
        read_export(folder / "broken.csv", "mine.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,b\n"x,1\ny,2\nz",3\n', "of several lines"),
        ('a\tb\n"x\t1\ny\t2\n', "never closed"),
        ("a,b\nx,1\ny\n", 'has 1 cells, but the header has 2: "y"'),
        ("<!doctype html><p>a,b</p>", "web page"),
    ],
)
def test_no_pair_of_an_address_is_swallowed_by_a_quote(folder, text, said):
    (folder / "pairs.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_source("pairs.csv", [])


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_shipped_cards_are_whole(path):
    found = read_model(path, RelationCard)
    assert found.name == path.stem
    assert found.sha256
    if found.path:
        assert sha256((path.parent / found.path).read_bytes()).hexdigest() == found.sha256
        return
    assert found.url
    assert found.citation
    # A commit, so that the table never changes.
    assert re.search(r"/[0-9a-f]{40}/", found.url)


def test_sources_have_different_names(folder):
    one = read_source("pairs.csv", [])
    with pytest.raises(UserError, match='two are named "pairs"'):
        distinct_names([one, one])
    distinct_names([one])

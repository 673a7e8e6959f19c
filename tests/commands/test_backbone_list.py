"""Listing backbones, and fetching their weights before a run."""

import io
import json

import huggingface_hub.constants
import pytest
import torch
from typer.testing import CliRunner

from checkpoint_files import vit_state
from factories import write_yaml
from file_server import FileServer, serving
from transferscope.commands.app import app
from transferscope.commands.catalogue import Entry, markdown
from transferscope.errors import UserError

WIDTH, SIDE = 64, 3
CARD = {
    "source": "url",
    "layout": "dino",
    "architecture": "vit_base_patch16_224",
    "arguments": {"embed_dim": WIDTH, "depth": 2, "num_heads": 1},
    "slots": [{"name": "red"}, {"name": "green"}, {"name": "blue"}],
    "input_size": 16 * SIDE,
    "licence": "MIT [free]",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with a cache of its own, and no network but this machine's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERSCOPE_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "TRANSFERSCOPE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write_card(folder, url):
    write_yaml(folder / "mine.yaml", {"name": "mine", "url": url, **CARD})


def run(*arguments):
    return CliRunner().invoke(app, ["backbone", *arguments])


def entries(*arguments):
    found = run("list", "--json", *arguments)
    assert found.exit_code == 0, found.output
    return {entry["name"]: entry for entry in json.loads(found.stdout)}


def test_the_list_has_every_shipped_card_and_those_of_the_working_folder(folder, repository):
    write_card(folder / "resources/backbones", "https://a.b/c")
    found = entries()
    shipped = {path.stem for path in (repository / "resources/backbones").glob("*.yaml")}
    assert set(found) == shipped | {"mine"}
    assert found["mine"]["weights"] == "to fetch"
    assert (found["mine"]["features"], found["mine"]["channels"]) == (WIDTH, "red, green, blue")
    assert found["handcrafted"]["weights"] == "none needed"
    assert found["vit-small-random"]["weights"] == "none needed"
    assert found["cell-dino-hpa-vitl16"]["weights"] == "missing file"
    assert (found["openphenom"]["channels"], found["openphenom"]["features"]) == ("any", 384)
    assert found["uni2-h"]["weights"] == "to ask for"
    page = (repository / "docs/backbones.md").read_text(encoding="utf-8")
    table = page.partition("<!-- cards:begin -->\n")[2].partition("\n<!-- cards:end -->")[0]
    # Written by `transferscope backbone list --markdown`.
    assert table == markdown([Entry(**found[name]) for name in sorted(shipped)])


def test_the_table_shows_a_licence_as_it_is_written(folder):
    write_card(folder / "cards", "https://a.b/c")
    found = run("list", "--folder", "cards")
    assert "MIT [free]" in found.stdout
    assert len(found.stdout.splitlines()) == 2


def test_gated_weights_are_said_to_be_so_before_they_are_fetched_and_after(folder):
    changed = {key: value for key, value in CARD.items() if key != "source"}
    write_yaml(
        folder / "cards/mine.yaml",
        {"name": "mine", "source": "hub", "repo": "a/b", "gated": True, **changed},
    )
    assert entries("--folder", "cards")["mine"]["weights"] == "to ask for"
    assert "| `mine` | a/b | 0.2 | 48 | 10 | 64 |" in run(
        "list", "--folder", "cards", "--markdown"
    ).stdout  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        found = run("fetch", "cards/mine.yaml")
    assert "Accept the conditions at https://huggingface.co/a/b and log in" in str(found.exception)


def test_all_broken_cards_are_named_at_once(folder):
    for name in ("one", "two"):
        write_yaml(folder / f"cards/{name}.yaml", {"name": name, **CARD, "ulr": "https://a.b/c"})
    found = run("list", "--folder", "cards")
    assert isinstance(found.exception, UserError)
    for part in ("one.yaml, key ulr", "two.yaml, key ulr", 'Did you mean "url"?'):
        assert part in str(found.exception)


def test_weights_are_fetched_once_and_then_are_here(folder):
    buffer = io.BytesIO()
    torch.save(vit_state(WIDTH, 2, 3, side=SIDE), buffer)
    server = FileServer({"/vit.pth": buffer.getvalue()})
    with serving(server):
        write_card(folder / "cards", f"{server.url}/vit.pth")
        assert entries("--folder", "cards")["mine"]["weights"] == "to fetch"
        for _ in range(2):
            found = run("fetch", "cards/mine.yaml", "handcrafted")
            assert found.exit_code == 0, found.output
            assert found.stdout.splitlines() == ["mine: here", "handcrafted: none needed"]
        assert server.paths() == ["/vit.pth"]
    assert entries("--folder", "cards")["mine"]["weights"] == "here"


def test_what_cannot_be_fetched_is_listed_after_the_rest_is_done(folder):
    server = FileServer({})
    with serving(server):
        write_card(folder / "cards", f"{server.url}/no.pth")
        found = run("fetch", "cards/mine.yaml", "dino-vitz16", "handcrafted")
    assert isinstance(found.exception, UserError)
    assert "404" in str(found.exception)
    assert 'Did you mean "dino-vits16"?' in str(found.exception)
    assert "handcrafted: none needed" in found.stdout

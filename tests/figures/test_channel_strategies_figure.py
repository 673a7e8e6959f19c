"""The pictures of the channel strategies, and the command that draws them."""

import xml.etree.ElementTree as ET

import pytest
from typer.testing import CliRunner

from transferscope.cards import DatasetCard, Slot, TimmCard
from transferscope.channels.assignment import assign
from transferscope.commands.app import app
from transferscope.errors import UserError
from transferscope.figures.channel_strategies import describe, draw_channel_strategies
from transferscope.figures.style import save, style

CHANNELS = ["nucleus", "protein", "actin"]
SLOTS = [Slot(name=n) for n in ("microtubules", "protein", "nucleus", "er")]
DATASET = DatasetCard(name="cells", sheet="s.tsv", channels=CHANNELS, labels=["a", "b"])
BACKBONE = TimmCard(source="timm", name="vit", architecture="vit", slots=SLOTS)
STRATEGIES = ["replicate", "mean", "only-protein", "map", "map-random-0", "adapt"]


def texts_of(svg):
    root = ET.parse(svg).getroot()
    return [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]


def drawn(folder, strategies, dataset=DATASET):
    path = folder / "s.svg"
    with style():
        save(draw_channel_strategies(dataset, BACKBONE, strategies), [path], 60)
    return texts_of(path)


def test_each_slot_of_each_pass_is_drawn_with_what_it_is_fed(tmp_path):
    texts = drawn(tmp_path, ["replicate"])
    slots = len(CHANNELS) * [slot.name for slot in SLOTS]
    for name in ("microtubules", "er"):
        assert texts.count(name) == slots.count(name)
    assert texts.count("network") == 3
    assert {"of nucleus", "of protein", "of actin"} <= set(texts)
    texts = drawn(tmp_path, ["map"])
    assert {"microtubules: 0", "er: 0"} <= set(texts)
    assert any("not shown: actin" in text for text in texts)


@pytest.mark.parametrize("strategies", [STRATEGIES, STRATEGIES[:1], STRATEGIES[:5]])
def test_every_strategy_has_its_title_and_its_line(tmp_path, strategies):
    texts = drawn(tmp_path, strategies)
    for strategy in strategies:
        assert strategy.replace("-0", " (order of seed 0)") in texts
        assert describe(strategy, assign(strategy, CHANNELS, SLOTS)) in texts


def test_pictures_are_deterministic(tmp_path):
    first = drawn(tmp_path, STRATEGIES)
    before = (tmp_path / "s.svg").read_bytes()
    assert drawn(tmp_path, STRATEGIES) == first
    assert (tmp_path / "s.svg").read_bytes() == before


def test_one_channel_takes_over_the_weights_of_all_slots(tmp_path):
    alone = DATASET.model_copy(update={"channels": ["protein"]})
    assert "as all slots" in drawn(tmp_path, ["adapt"], alone)


def arguments(output, *more, backbone="vit-tiny-hpa-random"):
    cards = ["--dataset", "opencell-demo", "--backbone", backbone]
    return ["strategies", *cards, "--output", str(output), *more]


def test_the_command_draws_what_the_pair_can_serve(tmp_path, repository, monkeypatch):
    monkeypatch.chdir(repository)
    done = CliRunner().invoke(app, arguments(tmp_path / "s.svg"), catch_exceptions=False)
    assert done.exit_code == 0
    texts = texts_of(tmp_path / "s.svg")
    served = {"replicate", "mean", "only-nucleus", "only-protein", "map", "adapt"}
    assert served <= set(texts)
    assert "agnostic" not in texts


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strategy", "mapp"], 'Did you mean "map"'),
        (["--strategy", "only-er"], "has no channel er"),
        (["--strategy", "agnostic"], "fixed slots"),
    ],
)
def test_what_cannot_be_served_is_refused(tmp_path, repository, monkeypatch, more, message):
    monkeypatch.chdir(repository)
    command = arguments(tmp_path / "s.svg", *more)
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(app, command, catch_exceptions=False)
    assert message in str(caught.value)


def test_features_without_a_network_have_no_slots_to_draw(tmp_path, repository, monkeypatch):
    monkeypatch.chdir(repository)
    command = arguments(tmp_path / "s.svg", backbone="handcrafted")
    with pytest.raises(UserError, match="hand-crafted"):
        CliRunner().invoke(app, command, catch_exceptions=False)

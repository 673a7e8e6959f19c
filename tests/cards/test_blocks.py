"""Every block of a backbone as an output, by one key of its card and one word of a study."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import STUDY, TINY_NETWORK, TRAINED, write_study, write_yaml
from transferscope.backbones.checks import check_backbone
from transferscope.cards import BackboneCard
from transferscope.cards.lookup import SHIPPED
from transferscope.config.model import read_model, validate
from transferscope.errors import UserError
from transferscope.study.loading import load_study

POOLED = {"cls": "cls", "mean": "mean", "cls+mean": "cls+mean", "pool": "mean"}


def card(**changes):
    return validate({**TINY_NETWORK, "name": "tiny", **changes}, BackboneCard, "tiny.yaml")


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(POOLED)), st.integers(1, 40), st.booleans())
def test_each_block_is_an_output_once_however_often_the_card_is_read(pooling, n_blocks, again):
    plain = card(outputs=[{"name": "main", "pooling": pooling}])
    found = card(outputs=[{"name": "main", "pooling": pooling}], blocks=n_blocks)
    if again:
        found = type(found)(**found.model_dump())
    assert found.outputs[: len(plain.outputs)] == plain.outputs
    of_blocks = [(o.name, o.layer, o.pooling) for o in found.outputs[len(plain.outputs) :]]
    assert of_blocks == [(f"block{n + 1}", n, POOLED[pooling]) for n in range(n_blocks)]


@pytest.mark.parametrize(
    "name", ["dino-vits16", "resnet50", "vit-mini-random", "vit-grid-mae-hpa-demo"]
)
def test_a_card_that_asks_for_no_blocks_says_nothing_of_them(name):
    read = read_model(SHIPPED / f"resources/backbones/{name}.yaml", BackboneCard)
    assert "blocks" not in read.model_dump()


def test_blocks_change_no_training():
    one = validate({**TRAINED, "name": "own"}, BackboneCard, "own.yaml")
    other = validate({**TRAINED, "name": "own", "blocks": 2}, BackboneCard, "own.yaml")
    assert one.training_fingerprint() == other.training_fingerprint()
    assert one.fingerprint() != other.fingerprint()


def test_a_depth_of_a_grid_has_blocks_of_its_own():
    grid = {"name": "grid", "blocks": 2, "grid": {"depth": [1, 3]}, "outputs": [{"layer": -1}]}
    cells = validate({**TRAINED, **grid}, BackboneCard, "grid.yaml").cells()
    names = {name: cell.output_names for name, (_, cell) in cells.items()}
    assert names["grid_depth1_seed0"] == ["cls", "block1"]
    assert names["grid_depth3_seed0"] == ["cls", "block1", "block2", "block3"]


@pytest.mark.parametrize("n_blocks", [1, 3, 12])
def test_another_number_of_blocks_than_the_network_has_is_refused_once(n_blocks):
    [problem] = check_backbone(card(blocks=n_blocks), Path("tiny.yaml"))
    assert "key blocks: the network has 2" in str(problem)
    assert "`blocks: 2`" in str(problem)
    assert not check_backbone(card(blocks=2), Path("tiny.yaml"))


def test_a_study_selects_all_by_one_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_study(tmp_path)
    path = write_yaml(folder / "b.yaml", {**TINY_NETWORK, "name": "b", "blocks": 2})
    study = load_study({**STUDY, "backbones": [f"{path}@blocks"]}, [folder], "s.yaml")
    assert study.uncorrected == ["b@block1", "b@block2"]
    assert study.layered == ["b"]


def test_all_blocks_of_a_card_that_does_not_count_them_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_study(tmp_path)
    path = write_yaml(folder / "b.yaml", {**TINY_NETWORK, "name": "b"})
    wrong = {**STUDY, "backbones": [f"{path}@blocks"]}
    wrong["finetune"] = {"backbones": [f"{path}@blocks"]}
    with pytest.raises(UserError) as caught:
        load_study(wrong, [folder], "s.yaml")
    text = "\n".join(map(str, caught.value.problems))
    assert "does not say how many blocks it has" in text
    assert "each would be fine-tuned" in text

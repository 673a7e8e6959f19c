import pytest
import yaml

from transferscope.config.probed import Probed
from transferscope.errors import UserError
from transferscope.study.loading import load_study

DATASET = {
    "name": "cells",
    "sheet": "samples.tsv",
    "channels": ["nucleus", "protein"],
    "labels": ["a", "b"],
}
NETWORK = {
    "name": "vit",
    "source": "timm",
    "architecture": "vit_tiny_patch16_224",
    "slots": [{"name": "nucleus"}, {"name": "protein"}, {"name": "er"}],
    "outputs": [{"name": "cls"}, {"name": "mean", "pooling": "mean"}],
}
CONFIG = {
    "study": "s",
    "datasets": ["cells"],
    "backbones": ["vit", "vit@mean", "plain"],
    "channel_strategies": ["replicate", "mean"],
    "card_folders": {"datasets": "d", "backbones": "b"},
}


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(value))


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "d" / "cells.yaml", DATASET)
    write(tmp_path / "b" / "vit.yaml", NETWORK)
    write(tmp_path / "b" / "plain.yaml", {"name": "plain", "source": "handcrafted"})
    return tmp_path


def load(root, **change):
    return load_study({**CONFIG, **change}, [root], "my.yaml")


def problems_of(root, **change):
    with pytest.raises(UserError) as caught:
        load(root, **change)
    return [str(problem) for problem in caught.value.problems]


def test_each_representation_meets_the_strategies_that_it_can_serve(root):
    assert load(root).probed() == [
        Probed("cells", "vit", "replicate"),
        Probed("cells", "vit", "mean"),
        Probed("cells", "vit@mean", "replicate"),
        Probed("cells", "vit@mean", "mean"),
        Probed("cells", "plain", "features"),
    ]


def test_a_probe_knows_its_backbone_output_and_store():
    probed = Probed("cells", "vit@mean", "mean")
    assert (probed.backbone, probed.output, probed.stored_channels) == ("vit", "mean", "replicate")
    assert Probed("cells", "vit", "map").output is None


def test_cards_may_be_given_by_path(root):
    study = load(root, backbones=["b/vit.yaml", "b/vit.yaml@mean"])
    assert list(study.representations) == ["vit", "vit@mean"]


def test_the_first_root_wins(root, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    write(own / "d" / "cells.yaml", {**DATASET, "labels": ["x", "y"]})
    study = load_study(CONFIG, [own, root], "my.yaml")
    assert study.datasets["cells"].card.labels == ["x", "y"]


def test_unknown_cards_of_both_kinds_are_reported_together(root):
    first, second = problems_of(root, datasets=["cels"], backbones=["vot", "plain"])
    assert 'unknown dataset "cels"' in first
    assert 'Did you mean "cells"?' in first
    assert 'unknown backbone "vot"' in second
    assert 'Did you mean "vit"?' in second


def test_cards_next_to_a_study_that_runs_elsewhere_are_told(root, tmp_path_factory):
    with pytest.raises(UserError) as caught:
        load_study(CONFIG, [tmp_path_factory.mktemp("elsewhere")], str(root / "my.yaml"))
    problems = caught.value.problems
    assert [f"`cd {root}`" in problem.fix for problem in problems] == [True] * 4
    with pytest.raises(UserError, match="unknown dataset"):
        load_study({**CONFIG, "datasets": ["cels"]}, [root], str(root / "my.yaml"))


def test_an_unknown_output_is_reported(root):
    (problem,) = problems_of(root, backbones=["vit@men"])
    assert 'backbone "vit" has no output "men"' in problem
    assert 'Did you mean "mean"?' in problem


def test_a_strategy_that_cannot_be_served_is_refused_with_the_reason(root):
    write(root / "b" / "vit.yaml", {**NETWORK, "slots": [{"name": "er"}]})
    (problem,) = problems_of(root, backbones=["vit"], channel_strategies=["map"])
    assert "map cannot be served by vit on cells" in problem


def test_random_orders_are_repeats_with_a_store_each(root):
    orders = {"channel_strategies": ["map-random"], "strategy_seeds": [4, 0, 1, 2, 3]}
    probed = load(root, backbones=["vit"], **orders).probed()
    names = [p.channels for p in probed]
    assert names[0] == "map-random-4"
    assert 2 <= len(names) <= 3  # that is how many orders there are
    assert [p.stored_channels for p in probed] == names


def test_a_single_channel_that_one_dataset_lacks_is_refused_for_that_one(root):
    write(root / "d" / "other.yaml", {**DATASET, "name": "other", "channels": ["nucleus", "er"]})
    (problem,) = problems_of(
        root,
        datasets=["cells", "other"],
        backbones=["vit"],
        channel_strategies=["replicate", "only-protein"],
    )
    assert "only-protein cannot be served by vit on other" in problem
    assert "no channel protein" in problem


@pytest.mark.parametrize(
    ("name", "fix"), [("replicat", "replicate"), ("maprandom", "map-random"), ("adapted", "adapt")]
)
def test_a_strategy_that_does_not_exist_is_reported_with_the_nearest(root, name, fix):
    (problem,) = problems_of(root, channel_strategies=["map", name])
    assert "channel_strategies.1" in problem
    assert f'Did you mean "{fix}"?' in problem


def test_a_backbone_at_its_own_scale_needs_tiles_of_a_known_one(root):
    card = {**NETWORK, "scale": "physical", "pixel_size_um": 0.32}
    write(root / "b" / "vit.yaml", card)
    (problem,) = problems_of(root, backbones=["vit"])
    assert "cells.yaml, key pixel_size_um" in problem
    assert "b/vit.yaml" in problem
    write(root / "d" / "cells.yaml", {**DATASET, "pixel_size_um": 0.2})
    assert load(root, backbones=["vit"]).probed()


def test_a_card_named_otherwise_than_its_file_is_reported(root):
    write(root / "b" / "vit.yaml", {**NETWORK, "name": "vitt"})
    (problem,) = problems_of(root, backbones=["vit"])
    assert "key name" in problem


def test_two_cards_of_one_name_are_reported(root):
    write(root / "b" / "other.yaml", NETWORK)
    (problem,) = problems_of(root, backbones=["vit", "b/other.yaml"])
    assert "two cards are named" in problem


def test_the_default_output_comes_first(root):
    assert load(root).backbones["vit"].card.output_names == ["cls", "mean"]


def test_published_weights_may_have_seen_what_their_collection_holds(root):
    write(root / "d" / "cells.yaml", {**DATASET, "collections": ["opencell", "hpa"]})
    write(root / "d" / "own.yaml", {**DATASET, "name": "own"})
    weights = {**NETWORK, "pretrained": True}
    write(root / "b" / "vit.yaml", {**weights, "trained_on": ["hpa"]})
    write(root / "b" / "control.yaml", {**NETWORK, "name": "control", "pretrained": False})
    datasets, backbones = ["cells", "own"], [*CONFIG["backbones"], "control"]
    study = load(root, datasets=datasets, backbones=backbones)
    assert study.may_have_seen() == {"cells": ["vit", "vit@mean"]}
    # What is said of weights is no reason to embed again.
    before = study.backbones["vit"].card.fingerprint()
    write(root / "b" / "vit.yaml", weights)
    study = load(root)
    assert study.may_have_seen() == {}
    assert study.backbones["vit"].card.fingerprint() == before
    # Random weights have seen nothing, whatever their card was copied from.
    write(root / "b" / "vit.yaml", {**weights, "pretrained": False, "trained_on": ["hpa"]})
    assert load(root).may_have_seen() == {}

"""Where the file behind a card is: here, at an address, on the hub."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch

from checkpoint_files import card_for, save, vit_state
from transferscope.backbones.checks import check_backbone
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.weights import weights_sha256
from transferscope.cards import BackboneCard, FileCard, HubCard, TimmCard, UrlCard
from transferscope.checkpoints.sources import checkpoint_file, file_sha256, present_file, stamp
from transferscope.config.model import validate
from transferscope.errors import Problem, UserError

HERE = Path("cards/x.yaml")
ADDRESS = "https://example.org/w.pth"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save({"teacher": vit_state(channels=4)}, tmp_path / "w.pth")


def elsewhere(path: Path, source: str, **changes: Any) -> Any:
    """Return the card of a file, as if it came from somewhere else."""
    values = card_for(path).model_dump(mode="json", exclude={"weights"})
    return validate({**values, "source": source, **changes}, BackboneCard, "x.yaml")


class Cache:
    """Stands for the cache of downloads: a file that may or may not be there yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[str, str | None]] = []
        self.offline = False

    def is_offline(self) -> bool:
        return self.offline

    def cached_path(self, url: str, sha256: str | None) -> Path:
        return self.path

    def cached_file(self, url: str, sha256: str | None) -> Path:
        self.asked.append((url, sha256))
        if not self.path.is_file():
            raise UserError(Problem(url, "cannot be downloaded"))
        return self.path


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, weights: Path) -> Cache:
    found = Cache(weights)
    module: Any = types.ModuleType("transferscope.transport.cache")
    module.cached_path, module.cached_file = found.cached_path, found.cached_file
    module.is_offline = found.is_offline
    monkeypatch.setitem(sys.modules, "transferscope.transport.cache", module)
    return found


def test_a_file_is_relative_to_its_card(weights: Path) -> None:
    card = card_for(weights).model_copy(update={"weights": Path("../w.pth")})
    at = weights.parent / "cards" / "x.yaml"
    at.parent.mkdir()
    assert checkpoint_file(card, at).resolve() == weights
    assert present_file(card, weights.parent / "x.yaml") is None
    with pytest.raises(UserError, match="does not exist"):
        checkpoint_file(card, weights.parent / "x.yaml")


def test_an_address_gives_the_same_network_as_the_file(weights: Path, cache: Cache) -> None:
    card = elsewhere(weights, "url", url=ADDRESS, sha256=file_sha256(weights))
    assert isinstance(card, UrlCard)
    assert check_backbone(card, HERE) == []
    built = build_backbone(card, HERE)
    assert cache.asked == [(ADDRESS, file_sha256(weights))]
    direct = build_backbone(card_for(weights), HERE)
    assert weights_sha256(built) == weights_sha256(direct)


def test_what_is_not_downloaded_yet_is_checked_without_the_network(
    weights: Path, cache: Cache
) -> None:
    weights.rename(weights.with_name("moved.pth"))
    card = elsewhere(weights.with_name("moved.pth"), "url", url=ADDRESS)
    assert present_file(card, HERE) is None
    assert check_backbone(card, HERE) == []
    wrong = card.model_copy(update={"input_size": 50})
    assert "multiple of the patch size" in str(check_backbone(wrong, HERE)[0])
    assert cache.asked == []
    with pytest.raises(UserError, match="cannot be downloaded"):
        build_backbone(card, HERE)
    cache.offline = True
    assert "cannot be downloaded" in str(check_backbone(card, HERE)[0])


def test_a_downloaded_file_that_does_not_fit_is_known_before_the_run(
    weights: Path, cache: Cache
) -> None:
    card = elsewhere(weights, "url", url=ADDRESS)
    changed = card.model_copy(update={"slots": card.slots[:2]})
    assert "instead of (64, 2, 16, 16)" in str(check_backbone(changed, HERE)[0])


def test_the_hub_s_cache_is_used(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    calls = []

    def download(repo: str, filename: str, *, revision: str) -> str:
        calls.append((repo, filename, revision))
        return str(weights)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(weights))
    card = elsewhere(weights, "hub", repo="lab/model", filename="w.pth", revision="v1")
    assert isinstance(card, HubCard)
    assert present_file(card, HERE) == weights
    assert check_backbone(card, HERE) == []
    built = build_backbone(card, HERE)
    assert calls == [("lab/model", "w.pth", "v1")]
    assert weights_sha256(built) == weights_sha256(build_backbone(card_for(weights), HERE))


@pytest.mark.parametrize("server", ["http://127.0.0.1:9", "http://hub.invalid"])
def test_a_hub_that_cannot_be_reached_is_given_up_within_seconds(
    server: str, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    hub = huggingface_hub.constants
    monkeypatch.setattr(hub, "ENDPOINT", server)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    start = time.monotonic()
    with pytest.raises(UserError, match=f"{server} cannot be reached"):
        build_backbone(elsewhere(weights, "hub", repo="lab/model", filename="w.pth"), HERE)
    # The library alone takes 24 s.
    assert time.monotonic() - start < 10
    assert hub.HF_HUB_OFFLINE is False


def test_the_hub_without_a_network_says_what_to_fetch_and_where_to(
    monkeypatch: pytest.MonkeyPatch, weights: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    card = elsewhere(weights, "hub", repo="lab/model", filename="w.pth")
    with pytest.raises(UserError) as caught:
        build_backbone(card, HERE)
    for text in (str(check_backbone(card, HERE)[0]), str(caught.value)):
        assert "hf download lab/model w.pth --revision main" in text
        assert str(tmp_path / "hub") in text


def test_a_replaced_file_has_another_stamp(weights: Path) -> None:
    card = card_for(weights)
    before = stamp(card, HERE)
    assert stamp(card, HERE) == before
    torch.save({"teacher": vit_state(channels=4), "more": torch.ones(100)}, weights)
    assert stamp(card, HERE) != before
    weights.unlink()
    assert stamp(card, HERE) == [-1]


def test_a_network_of_timm_s_has_no_file() -> None:
    card = TimmCard(source="timm", name="x", architecture="resnet18", slots=[{"name": "a"}])
    assert present_file(card, HERE) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"source": "url", "url": "ftp://example.org/w.pth"}, "url"),
        ({"source": "hub", "repo": "no-owner"}, "repo"),
        ({"source": "url", "url": ADDRESS, "sha256": "abc"}, "sha256"),
        ({"source": "url", "url": ADDRESS, "layout": "dinno"}, 'Did you mean "dino"'),
        ({"source": "file"}, "weights"),
    ],
)
def test_a_card_with_a_wrong_source_is_refused(change: dict[str, Any], expected: str) -> None:
    values = {"name": "x", "architecture": "resnet18", "slots": [{"name": "a"}], **change}
    with pytest.raises(UserError, match=expected):
        validate(values, BackboneCard, "x.yaml")


def test_the_layout_is_detected_unless_it_is_given() -> None:
    card = FileCard(
        source="file", name="x", architecture="resnet18", slots=[{"name": "a"}], weights="w.pth"
    )
    assert (card.layout, card.state_key) == ("auto", None)

"""Models of the transformers library, which is an optional dependency."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoint_files import images
from transferscope.backbones import transformers_network
from transferscope.backbones.checks import check_backbone
from transferscope.backbones.networks import build_backbone
from transferscope.backbones.precision import LEAST_AGREEMENT, centred_cosine
from transferscope.backbones.readout import in_precision
from transferscope.cards import TransformersCard
from transferscope.errors import UserError
from transferscope.runtime.shipped import install_hint

SIZES: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 96,
    "image_size": 48, "patch_size": 16,
}  # fmt: skip
TOKENS = [
    {"name": "cls", "pooling": "cls"},
    {"name": "mean", "pooling": "mean"},
    {"name": "inner", "pooling": "cls", "layer": 1},
]


def card(folder: Path | str, size: int = 48, channels: int = 3, **changes: Any) -> TransformersCard:
    values: dict[str, Any] = {
        "source": "transformers", "name": "x", "model": str(folder), "input_size": size,
        "slots": [{"name": f"c{i}"} for i in range(channels)], "outputs": TOKENS,
    }  # fmt: skip
    return TransformersCard(**{**values, **changes})


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("transformers")


def saved(model: Any, folder: Path) -> Any:
    """Save a model with weights away from where they started, and return it."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.05
    model.eval().save_pretrained(folder)
    return model


@pytest.mark.parametrize("size", [48, 80])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_vit_embeds_as_its_own_forward(
    library: Any, tmp_path: Path, size: int, channels: int
) -> None:
    model = saved(library.ViTModel(library.ViTConfig(**SIZES, num_channels=channels)), tmp_path)
    wanted = card(tmp_path, size, channels)
    assert check_backbone(wanted, Path("x.yaml")) == []
    x = images(channels, size)
    with torch.inference_mode():
        cls, mean, inner = build_backbone(wanted, Path("x.yaml"))(x)
        out = model(x, interpolate_pos_encoding=True, output_hidden_states=True)
        tokens, second = out.last_hidden_state, model.layernorm(out.hidden_states[2])
    torch.testing.assert_close(cls, tokens[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean, tokens[:, 1:].mean(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inner, second[:, 0], rtol=1e-5, atol=1e-5)


def test_a_masked_autoencoder_sees_the_whole_image_in_its_order(
    library: Any, tmp_path: Path
) -> None:
    model = saved(library.ViTMAEModel(library.ViTMAEConfig(**SIZES)), tmp_path)
    backbone = build_backbone(card(tmp_path), Path("x.yaml"))
    x = images(3, 48)
    with torch.inference_mode():
        first, second = backbone(x), backbone(x)
        model.config.mask_ratio = 0.0
        model.embeddings.config.mask_ratio = 0.0
        tokens = model(x, noise=torch.arange(9.0).expand(2, -1)).last_hidden_state
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)
    assert tokens.shape[1] == 10
    torch.testing.assert_close(first[0], tokens[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first[1], tokens[:, 1:].mean(dim=1), rtol=1e-5, atol=1e-5)


def test_registers_are_no_patches(library: Any, tmp_path: Path) -> None:
    config = library.Dinov2WithRegistersConfig(**SIZES, num_register_tokens=4)
    model = saved(library.Dinov2WithRegistersModel(config), tmp_path)
    x = images(3, 48)
    with torch.inference_mode():
        cls, mean, _ = build_backbone(card(tmp_path), Path("x.yaml"))(x)
        tokens = model(x).last_hidden_state
    torch.testing.assert_close(cls, tokens[:, 0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mean, tokens[:, 5:].mean(dim=1), rtol=1e-5, atol=1e-5)


def test_a_convolutional_model_is_pooled(library: Any, tmp_path: Path) -> None:
    config = library.ConvNextConfig(hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1])
    model = saved(library.ConvNextModel(config), tmp_path)
    outputs = [
        {"name": "pool", "pooling": "pool"}, {"name": "stage", "pooling": "mean", "layer": 1}
    ]  # fmt: skip
    x = images(3, 64)
    with torch.inference_mode():
        pool, stage = build_backbone(card(tmp_path, 64, outputs=outputs), Path("x.yaml"))(x)
        out = model(x, output_hidden_states=True)
    expected = out.last_hidden_state.mean(dim=(2, 3))
    torch.testing.assert_close(pool, expected, rtol=1e-5, atol=1e-5)
    inner = out.hidden_states[2].mean(dim=(2, 3))
    torch.testing.assert_close(stage, inner, rtol=1e-5, atol=1e-5)


def test_reduced_precision_agrees_with_fp32(library: Any, tmp_path: Path) -> None:
    saved(library.ViTModel(library.ViTConfig(**SIZES, num_channels=4)), tmp_path)
    backbone = build_backbone(card(tmp_path, channels=4), Path("x.yaml"))
    x = images(4, 48, n=8) * torch.linspace(0.2, 2, 8)[:, None, None, None]
    with torch.inference_mode():
        pairs = zip(backbone(x), in_precision(backbone, torch.bfloat16)(x), strict=True)
        assert all(centred_cosine(a, b) > LEAST_AGREEMENT for a, b in pairs)


def test_a_missing_weight_is_an_error_and_an_untrained_pooling_is_not(
    library: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    saved(library.ViTModel(library.ViTConfig(**SIZES)), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = {n: t for n, t in load_file(path).items() if not n.startswith("pooler.")}
    save_file(weights, path, metadata={"format": "pt"})
    build_backbone(card(tmp_path), Path("x.yaml"))
    removed = next(n for n in weights if "layernorm_after.weight" in n or "norm2.weight" in n)
    save_file({n: t for n, t in weights.items() if n != removed}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks weights of ViTModel"):
        build_backbone(card(tmp_path), Path("x.yaml"))


def test_weights_that_the_library_would_leave_out_are_an_error(
    library: Any, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    saved(library.Dinov2Model(library.Dinov2Config(**SIZES)), tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    head = {"classifier.weight": torch.ones(2, 128), "classifier.bias": torch.ones(2)}
    save_file({**weights, **head}, path, metadata={"format": "pt"})
    build_backbone(card(tmp_path), Path("x.yaml"))
    registers = {"embeddings.register_tokens": torch.ones(1, 4, 64)}
    save_file({**weights, **registers}, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"does not use: embeddings\.register_tokens"):
        build_backbone(card(tmp_path), Path("x.yaml"))


def test_another_number_of_channels_is_an_error(library: Any, tmp_path: Path) -> None:
    saved(library.ViTModel(library.ViTConfig(**SIZES)), tmp_path)
    with pytest.raises(UserError, match="key model"):
        build_backbone(card(tmp_path, channels=4), Path("x.yaml"))


class Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


def test_a_hostile_pickle_is_refused_and_never_run(library: Any, tmp_path: Path) -> None:
    saved(library.ViTModel(library.ViTConfig(**SIZES)), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"w": Hostile(tmp_path / "trace")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be used"):
        build_backbone(card(tmp_path), Path("x.yaml"))
    assert not (tmp_path / "trace").exists()


def test_without_the_library_the_card_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_network, "find_spec", lambda _: None)
    problems = check_backbone(card("facebook/dino-vits16"), Path("x.yaml"))
    assert install_hint("transformers") in str(problems[0])
    with pytest.raises(UserError, match="not installed"):
        build_backbone(card("facebook/dino-vits16"), Path("x.yaml"))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"name": "a", "layer": 3}, "no layer 3"),
        ({"name": "a", "layer": 1, "pooling": "pool"}, "pools its last layer only"),
    ],
)
def test_outputs_are_checked_before_the_run(
    library: Any, tmp_path: Path, output: dict[str, Any], expected: str
) -> None:
    saved(library.ViTModel(library.ViTConfig(**SIZES)), tmp_path)
    problems = check_backbone(card(tmp_path, outputs=[output]), Path("x.yaml"))
    assert expected in str(problems[0])


def test_a_pyramid_has_no_class_token(library: Any, tmp_path: Path) -> None:
    config = library.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
    )
    model = saved(library.SwinModel(config), tmp_path)
    assert "no class token" in str(check_backbone(card(tmp_path, 32), Path("x.yaml"))[0])
    mean = [{"name": "mean", "pooling": "mean"}]
    x = images(3, 32)
    with torch.inference_mode():
        found = build_backbone(card(tmp_path, 32, outputs=mean), Path("x.yaml"))(x)[0]
        expected = model(x).last_hidden_state.mean(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_folder_without_a_model_is_named(library: Any, tmp_path: Path) -> None:
    assert "holds no config.json" in str(check_backbone(card(tmp_path), Path("x.yaml"))[0])

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from tile_stores import BF16, card, write_tiles
from transferscope.backbones.compiled import LEAST_OPERATIONS, CompiledBackbone, is_worth_compiling
from transferscope.backbones.embed import embed
from transferscope.backbones.precision import centred_cosine
from transferscope.backbones.readout import Backbone, in_precision
from transferscope.cards import Output
from transferscope.config.compute import ComputeSettings
from transferscope.stores.embedding_store import EmbeddingStore

Run = Callable[..., list[torch.Tensor]]
compiles = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler is installed")


def backbone(name: str = "vit_tiny_patch16_224", dtype: torch.dtype = torch.bfloat16) -> Backbone:
    torch.manual_seed(0)
    options = {"img_size": 32, "depth": 1} if name.startswith("vit") else {}
    network = timm.create_model(name, pretrained=False, num_classes=0, **options)
    pooling = "cls" if options else "pool"
    plain = Backbone(network, [Output(name=pooling, pooling=pooling)]).eval().requires_grad_(False)
    return plain if dtype == torch.float32 else in_precision(plain, dtype)


class Compiler:
    """Stands for `torch.compile`, which takes long: returns what a function makes of the network's.

    Parameters
    ----------
    change
        What becomes of each output; may fail.
    """

    def __init__(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.change = change
        self.sizes: list[int] = []

    def __call__(self, run: Run, **_: Any) -> Run:
        def changed(images: torch.Tensor, filled: Any) -> list[torch.Tensor]:
            self.sizes.append(len(images))
            return [self.change(found) for found in run(images, filled)]

        return changed


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    found = Compiler(lambda values: values * 1.0001)
    monkeypatch.setattr(torch, "compile", found)
    return found


@compiles
def test_a_compiled_network_gives_what_it_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain = backbone()
    compiled = CompiledBackbone(plain, 4)
    with torch.inference_mode():
        for n_images in (4, 3, 4):
            images = torch.randn(n_images, 3, 32, 32)
            (found,), (wanted,) = compiled(images), plain(images)
            assert centred_cosine(wanted, found) > 0.999
    assert compiled.is_compiled
    assert any(path.suffix == ".so" for path in tmp_path.rglob("*"))


def test_batches_of_another_size_pass_the_network_itself(compiler: Compiler) -> None:
    compiled, plain = CompiledBackbone(backbone(), 4), backbone()
    with torch.inference_mode():
        for n_images in (3, 4, 5, 4):
            images = torch.randn(n_images, 3, 32, 32)
            scale = 1.0001 if n_images == 4 else 1
            torch.testing.assert_close(compiled(images), [scale * one for one in plain(images)])
    assert compiler.sizes == [4, 4]


def fail(_: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no working C++ compiler\nand much more")


@pytest.mark.parametrize(
    ("change", "said"),
    [(fail, "not compiled: no working C++ compiler"), (lambda x: x.flip(0), "centred cosine of")],
)
def test_where_compiling_fails_or_is_wrong_the_network_itself_is_used(
    compiler: Compiler,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[torch.Tensor], torch.Tensor],
    said: str,
) -> None:
    compiler.change = change
    compiled, plain = CompiledBackbone(backbone(), 4), backbone()
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        for _ in range(2):
            images = torch.randn(4, 3, 32, 32)
            torch.testing.assert_close(compiled(images), plain(images))
    assert not compiled.is_compiled
    assert compiler.sizes == [4]
    assert [said in record.message for record in caplog.records] == [True]
    assert "much more" not in caplog.text


@pytest.mark.parametrize(
    ("name", "dtype", "known"),
    [
        ("vit_tiny_patch16_224", torch.bfloat16, True),
        ("vit_tiny_patch16_224", torch.float32, False),
        ("resnet18", torch.bfloat16, False),
    ],
)
def test_long_jobs_of_transformers_are_compiled(name: str, dtype: torch.dtype, known: bool) -> None:
    network = backbone(name, dtype)
    weights = sum(one.numel() for one in network.parameters() if one.ndim > 1)
    enough = LEAST_OPERATIONS["cpu"] * 3 / (2 * weights) * 16**2
    for pixels, long in ((0.9 * enough, False), (1.1 * enough, True)):
        settings = ComputeSettings(threads=3)
        assert is_worth_compiling(network, settings, int(pixels)) == (known and long)
        for mode in ("on", "off"):
            asked = settings.model_copy(update={"compile": mode})
            assert is_worth_compiling(network, asked, int(pixels)) == (mode == "on")


def embedded(tiles: Path, name: str, **changes: Any) -> EmbeddingStore:
    manifest = tiles.parent / f"{name}.json"
    settings = BF16.model_copy(update=changes)
    embed(tiles, card(), "replicate", manifest, settings, block_rows=16)
    return EmbeddingStore(manifest)


def test_a_store_tells_whether_its_network_was_compiled(tmp_path: Path, compiler: Compiler) -> None:
    tiles = write_tiles(tmp_path)
    plain = embedded(tiles, "plain", compile="off")
    compiled = embedded(tiles, "compiled", compile="on")
    assert compiler.sizes
    assert [one.attributes["compiled"] for one in (plain, compiled)] == [False, True]
    np.testing.assert_allclose(compiled.read(), plain.read(), rtol=1e-2, atol=1e-2)
    compiler.change, compiler.sizes = fail, []
    failed = embedded(tiles, "failed", compile="on")
    assert not failed.attributes["compiled"]
    assert len(compiler.sizes) == 1
    np.testing.assert_array_equal(failed.read(), plain.read())

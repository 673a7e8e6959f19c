"""Decoders computed together are the same as one by one, and as plain layers of torch."""

import pytest
import torch
from torch.nn import functional

from transferscope.segmentation.decoders import Decoder, Level, resized

PYRAMID = tuple(Level("map", 5 + 2 * n, 16 >> n, 8.0 * 2**n) for n in range(3))
ONE_MAP = (Level("map", 6, 4, 16.0),)
# Of a transformer of patches of 8 px, with the image in two channels: what all decoders read.
TOKENS = (
    Level("image", 2, 64, 1.0),
    *(Level("block", 6, 8, 8.0) for _ in range(3)),
    Level("map", 6, 8, 8.0),
)
LEVELS = dict.fromkeys(("linear", "conv", "unet"), PYRAMID)
LEVELS |= dict.fromkeys(("conv-image", "unetr"), TOKENS)


def maps(n_tiles: int, n_decoders: int, decoder: Decoder) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(
            n_tiles,
            n_decoders,
            decoder.levels[n].width,
            decoder.levels[n].side,
            decoder.levels[n].side,
            generator=generator,
        )
        for n in decoder.used
    ]


@pytest.mark.parametrize("name", LEVELS)
def test_decoders_together_give_what_each_gives_alone(name):
    decoder = Decoder(name, LEVELS[name], n_out=2)
    layers, levels = decoder.initial([3, 4, 5]), maps(2, 3, decoder)
    together = decoder(levels, layers)
    for number in range(3):
        own = [(w[number : number + 1], b[number : number + 1]) for w, b in layers]
        alone = decoder([level[:, number : number + 1] for level in levels], own)
        torch.testing.assert_close(together[:, number], alone[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LEVELS)
def test_the_first_weights_are_those_of_the_seed_alone(name):
    decoder = Decoder(name, LEVELS[name], n_out=1)
    for together, alone in zip(decoder.initial([8, 9]), decoder.initial([9]), strict=True):
        assert torch.equal(together[0][1], alone[0][0])
        assert torch.equal(together[1][1], alone[1][0])


def test_linear_is_one_layer_on_joined_maps():
    decoder = Decoder("linear", PYRAMID, n_out=1)
    assert decoder.used == [1, 2]
    ((weights, biases),) = decoder.initial([0])
    fine, coarse = maps(3, 1, decoder)
    joined = torch.cat(
        [fine[:, 0], functional.interpolate(coarse[:, 0], (8, 8), mode="bilinear")], dim=1
    )
    layer = torch.nn.Conv2d(16, 1, 1)
    layer.weight.data, layer.bias.data = weights[0], biases[0]
    found = decoder([fine, coarse], [(weights, biases)])
    torch.testing.assert_close(found[:, 0], layer(joined))


def test_conv_doubles_the_resolution_twice():
    decoder = Decoder("conv", ONE_MAP, 1)
    found = decoder(maps(1, 2, decoder), decoder.initial([0, 1]))
    assert found.shape == (1, 2, 1, 16, 16)


def test_unet_ends_at_the_finest_map_and_needs_several():
    decoder = Decoder("unet", PYRAMID, n_out=4)
    assert not decoder.lacks
    assert decoder(maps(1, 2, decoder), decoder.initial([0, 1])).shape == (1, 2, 4, 16, 16)
    assert "several resolutions" in Decoder("unet", ONE_MAP, 1).lacks


def gradients(decoder, layers, levels):
    """Return the gradients of a sum over the logits: of levels, and of weights."""
    inputs = [level.clone().requires_grad_() for level in levels]
    weights = [tensor.clone().requires_grad_() for layer in layers for tensor in layer]
    found = decoder(inputs, list(zip(weights[::2], weights[1::2], strict=True)))
    (found * torch.linspace(-1, 1, found.numel()).view(found.shape)).sum().backward()
    return [tensor.grad for tensor in inputs], [tensor.grad for tensor in weights]


class PlainConvImage(torch.nn.Module):
    """The published decoder without its batch norms, of layers of torch."""

    def __init__(self, width, channels, n_out):
        super().__init__()
        self.first = torch.nn.Conv2d(width, 64, 3, padding=1)
        self.second = torch.nn.Conv2d(64 + channels, 32, 3, padding=1)
        self.third = torch.nn.Conv2d(32, 32, 3, padding=1)
        self.last = torch.nn.Conv2d(32, n_out, 1)

    def forward(self, image, tokens):
        doubled = torch.nn.Upsample(scale_factor=2, mode="bilinear")(tokens)
        full = torch.nn.Upsample(image.shape[-2:], mode="bilinear")(self.first(doubled).relu())
        return self.last(self.third(self.second(torch.cat([full, image], 1)).relu()).relu())


class PlainUnetr(torch.nn.Module):
    """Four blocks, projected, at 1, 2, 4 and 4 times the resolution of patches of 8 px."""

    def __init__(self, width, n_out):
        super().__init__()
        self.projections = torch.nn.ModuleList(
            torch.nn.Conv2d(width, given, 1) for given in (32, 32, 64, 64)
        )
        self.joins = torch.nn.ModuleList(
            torch.nn.Conv2d(read, given, 3, padding=1)
            for read, given in ((128, 64), (96, 32), (64, 32))
        )
        self.last = torch.nn.Conv2d(32, n_out, 1)

    def forward(self, *blocks):
        factors = 4, 4, 2, 1
        *skipped, found = (
            torch.nn.Upsample(scale_factor=factor, mode="bilinear")(projection(block).relu())
            for factor, projection, block in zip(factors, self.projections, blocks, strict=True)
        )
        for join, finer in zip(self.joins, reversed(skipped), strict=True):
            resized_to = torch.nn.Upsample(finer.shape[-2:], mode="bilinear")(found)
            found = join(torch.cat([resized_to, finer], 1)).relu()
        return self.last(found)


@pytest.mark.parametrize(
    ("name", "plain", "n_read", "side"),
    [("conv-image", PlainConvImage(6, 2, 2), 2, 64), ("unetr", PlainUnetr(6, 2), 4, 32)],
)
def test_logits_and_gradients_are_those_of_plain_layers(name, plain, n_read, side):
    decoder = Decoder(name, TOKENS, n_out=2)
    levels = maps(3, 1, decoder)
    assert len(levels) == n_read
    layers = decoder.initial([4])
    given = list(plain.parameters())
    for parameter, value in zip(given, [t for layer in layers for t in layer], strict=True):
        parameter.data = value[0].clone()
    inputs = [level[:, 0].clone().requires_grad_() for level in levels]
    found = plain(*inputs)
    assert found.shape == (3, 2, side, side)
    together = decoder(levels, layers)[:, 0]
    torch.testing.assert_close(together, found, rtol=1e-4, atol=1e-5)
    (found * torch.linspace(-1, 1, found.numel()).view(found.shape)).sum().backward()
    of_levels, of_weights = gradients(decoder, layers, levels)
    for own, wanted in zip(
        [*(one[:, 0] for one in of_levels), *(one[0] for one in of_weights)],
        [*inputs, *given],
        strict=True,
    ):
        assert wanted.grad.abs().max() > 0
        torch.testing.assert_close(own, wanted.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", LEVELS)
def test_a_decoder_alone_reads_the_same(name):
    decoder = Decoder(name, LEVELS[name], n_out=1)
    alone = decoder.alone
    read = [[one.levels[n] for n in one.used] for one in (decoder, alone)]
    assert read[0] == read[1]
    assert alone.shapes() == decoder.shapes()
    assert not alone.lacks


def test_a_unetr_needs_four_blocks():
    assert "at least 4 blocks" in Decoder("unetr", TOKENS[2:], 1).lacks
    assert "at least 4 blocks" in Decoder("unetr", PYRAMID, 1).lacks


def test_blocks_of_small_patches_are_not_brought_beyond_half_the_input():
    for stride, wanted in ((16.0, 8), (8.0, 4), (4.0, 2), (2.0, 1)):
        levels = tuple(Level(k, 6, 8, stride) for k in ("block", "block", "block", "map"))
        decoder = Decoder("unetr", levels, 1)
        assert decoder(maps(1, 1, decoder), decoder.initial([0])).shape[-1] == 8 * wanted


def test_resizing_is_that_of_torch():
    values = torch.rand(2, 3, 4, 5, 5)
    wanted = functional.interpolate(values.flatten(0, 1), (9, 7), mode="bilinear")
    torch.testing.assert_close(resized(values, (9, 7)).flatten(0, 1), wanted)

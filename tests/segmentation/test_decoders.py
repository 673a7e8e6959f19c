"""Decoders computed together are the same as one by one, and as plain layers of torch."""

import pytest
import torch
from torch.nn import functional

from transferscope.segmentation.decoders import Decoder, resized

LEVELS = {"widths": (5, 7, 9), "sides": (16, 8, 4), "strides": (8.0, 16.0, 32.0)}


def maps(n_tiles: int, n_decoders: int, decoder: Decoder) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(
            n_tiles,
            n_decoders,
            decoder.widths[n],
            decoder.sides[n],
            decoder.sides[n],
            generator=generator,
        )
        for n in decoder.used
    ]


@pytest.mark.parametrize("name", ["linear", "conv", "unet"])
def test_decoders_together_give_what_each_gives_alone(name):
    decoder = Decoder(name, n_out=2, **LEVELS)
    layers, levels = decoder.initial([3, 4, 5]), maps(2, 3, decoder)
    together = decoder(levels, layers)
    for number in range(3):
        own = [(w[number : number + 1], b[number : number + 1]) for w, b in layers]
        alone = decoder([level[:, number : number + 1] for level in levels], own)
        torch.testing.assert_close(together[:, number], alone[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["linear", "conv", "unet"])
def test_the_first_weights_are_those_of_the_seed_alone(name):
    decoder = Decoder(name, n_out=1, **LEVELS)
    for together, alone in zip(decoder.initial([8, 9]), decoder.initial([9]), strict=True):
        assert torch.equal(together[0][1], alone[0][0])
        assert torch.equal(together[1][1], alone[1][0])


def test_linear_is_one_layer_on_joined_maps():
    decoder = Decoder("linear", n_out=1, **LEVELS)
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
    decoder = Decoder("conv", (6,), (4,), (16.0,), 1)
    found = decoder(maps(1, 2, decoder), decoder.initial([0, 1]))
    assert found.shape == (1, 2, 1, 16, 16)


def test_unet_ends_at_the_finest_map_and_needs_several():
    decoder = Decoder("unet", n_out=4, **LEVELS)
    assert decoder.is_possible
    assert decoder(maps(1, 2, decoder), decoder.initial([0, 1])).shape == (1, 2, 4, 16, 16)
    assert not Decoder("unet", (6,), (4,), (16.0,), 1).is_possible


def test_resizing_is_that_of_torch():
    values = torch.rand(2, 3, 4, 5, 5)
    wanted = functional.interpolate(values.flatten(0, 1), (9, 7), mode="bilinear")
    torch.testing.assert_close(resized(values, (9, 7)).flatten(0, 1), wanted)

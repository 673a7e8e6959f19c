"""What encoder and decoder of the masked autoencoders see and predict."""

import pytest
import torch
from torch.nn import functional

from transferscope.cards import TimmCard
from transferscope.cards.methods import (
    ChannelAgnosticMaeSettings,
    MaeSettings,
    UnetMaeSettings,
)
from transferscope.config.training import AugmentationSettings
from transferscope.pretraining.methods.base import Batch
from transferscope.pretraining.methods.mae_unet import blanked
from transferscope.pretraining.methods.masking import Mask, normalized_patches, random_mask
from transferscope.pretraining.methods.registry import build_method

SIZE, PATCH = 32, 8
N_PATCHES = (SIZE // PATCH) ** 2
CPU = torch.device("cpu")
LIGHT = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
SMALL = {"patch_size": PATCH, "embed_dim": 16, "depth": 2, "num_heads": 2}


def card(architecture, slots, **arguments):
    return TimmCard.model_validate(
        {
            "source": "timm",
            "name": "small",
            "architecture": architecture,
            "arguments": arguments,
            "pretrained": False,
            "slots": [{"name": name} for name in slots],
            "input_size": SIZE,
        }
    )


@pytest.fixture
def mae():
    settings = MaeSettings(method="mae", **LIGHT)
    slots = ["nucleus", "protein"]
    small = card("vit_tiny_patch16_224", slots, **SMALL)
    return build_method(small, settings, AugmentationSettings(), 0)


@pytest.fixture
def channel_agnostic():
    settings = ChannelAgnosticMaeSettings(method="ca-mae", **LIGHT)
    small = card("channel_agnostic_vit", ["any"], **SMALL)
    return build_method(small, settings, AugmentationSettings(), 0)


def images(channels, seed=0, batch=2):
    return torch.rand(batch, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def mask_of(n_patches, ratio=0.75, batch=2):
    return random_mask(batch, n_patches, ratio, torch.Generator().manual_seed(5), CPU)


def test_with_nothing_hidden_the_encoder_is_timms_own(mae):
    everything = Mask(torch.arange(N_PATCHES).expand(2, -1), torch.zeros(2, N_PATCHES).bool())
    found = mae.encode(images(2), everything)
    torch.testing.assert_close(found, mae.encoder.forward_features(images(2))[:, 1:])


@pytest.mark.parametrize("channels", [1, 3])
def test_with_nothing_hidden_the_encoder_for_any_channels_is_the_embedding_one(
    channel_agnostic, channels
):
    n = channels * N_PATCHES
    everything = Mask(torch.arange(n).expand(2, -1), torch.zeros(2, n).bool())
    found = channel_agnostic.encode(images(channels), everything)
    expected = channel_agnostic.encoder.forward_features(images(channels))[:, 1:]
    torch.testing.assert_close(found, expected)


def test_the_encoder_sees_no_hidden_pixel(mae):
    mask = mask_of(N_PATCHES)
    visible = blanked(images(2), mask.hidden, PATCH)
    torch.testing.assert_close(mae.encode(images(2), mask), mae.encode(visible, mask))
    seen = blanked(images(2), ~mask.hidden, PATCH)
    assert not torch.allclose(mae.encode(images(2), mask), mae.encode(seen, mask))


def test_the_loss_is_that_of_the_hidden_patches_step_by_step(mae):
    generator = torch.Generator().manual_seed(5)
    loss, _ = mae.loss(images(2), 0.0, generator)
    mask = mask_of(N_PATCHES)
    decoder = mae.decoder
    known = decoder.embed(mae.encode(images(2), mask))
    errors = []
    for image in range(2):
        tokens = decoder.mask_token[0].repeat(N_PATCHES, 1)
        for token, place in zip(known[image], mask.kept[image], strict=True):
            tokens[place] = token
        tokens = decoder.blocks((tokens + decoder.positions)[None])
        predicted = decoder.predict(decoder.norm(tokens))[0]
        for place in range(N_PATCHES):
            row, column = divmod(place, SIZE // PATCH)
            square = images(2)[
                image,
                :,
                row * PATCH : (row + 1) * PATCH,
                column * PATCH : (column + 1) * PATCH,
            ]
            # Channels are innermost, as He et al. have it.
            target = normalized_patches(square.permute(1, 2, 0).flatten())
            if mask.hidden[image, place]:
                errors.append((predicted[place] - target).square().mean())
    torch.testing.assert_close(loss, torch.stack(errors).mean())


def test_each_channel_has_patches_and_predictions_of_its_own(channel_agnostic):
    three = images(3)
    targets = channel_agnostic.targets(three)
    assert targets.shape == (2, 3 * N_PATCHES, PATCH * PATCH)
    second = functional.unfold(three[:, 1:2], PATCH, stride=PATCH).transpose(1, 2)
    torch.testing.assert_close(targets[:, N_PATCHES : 2 * N_PATCHES], second)
    mask = mask_of(3 * N_PATCHES)
    predicted = channel_agnostic.decoder(channel_agnostic.encode(three, mask), mask)
    assert predicted.shape == targets.shape
    # Hidden patches at one place differ, though nothing names their channel.
    hidden = mask.hidden.reshape(2, 3, N_PATCHES)[:, :2].all(dim=1)
    first, other = predicted.reshape(2, 3, N_PATCHES, -1)[:, :2].unbind(dim=1)
    assert hidden.any()
    assert ((first - other)[hidden].abs().amax(dim=1) > 1e-6).all()


def test_one_network_learns_from_any_number_of_channels(channel_agnostic):
    for channels in (("nucleus",), ("nucleus", "protein", "er")):
        batch = Batch(images(len(channels)), channels)
        views = channel_agnostic.views(batch, torch.Generator().manual_seed(0))
        assert views.shape == (2, len(channels), SIZE, SIZE)
        loss, _ = channel_agnostic.loss(views, 0.0, torch.Generator().manual_seed(0))
        assert loss.isfinite()


def test_squares_are_blanked_where_they_are_hidden():
    hidden = torch.zeros(1, 4, dtype=torch.bool)
    hidden[0, 1] = True
    found = blanked(torch.ones(1, 2, 4, 4), hidden, 2)
    expected = torch.ones(1, 2, 4, 4)
    expected[:, :, :2, 2:] = 0
    torch.testing.assert_close(found, expected)


def test_the_unet_sees_no_hidden_pixel_and_is_judged_on_them_alone():
    settings = UnetMaeSettings(method="mae-unet", patch_size=PATCH, decoder_width=4)
    unet = build_method(
        card("resnet18", ["nucleus", "protein"]), settings, AugmentationSettings(), 0
    ).eval()
    mask = mask_of(N_PATCHES)
    given = images(2)
    found, _ = unet.loss(given, 0.0, torch.Generator().manual_seed(5))
    maps = unet.encoder.forward_intermediates(
        blanked(given, mask.hidden, PATCH), intermediates_only=True
    )
    painted = unet.decoder(maps, (SIZE, SIZE))
    errors = []
    for image, place in mask.hidden.nonzero().tolist():
        row, column = divmod(place, SIZE // PATCH)
        squares = [
            whole[
                image,
                :,
                row * PATCH : (row + 1) * PATCH,
                column * PATCH : (column + 1) * PATCH,
            ].flatten()
            for whole in (painted, given)
        ]
        errors.append((squares[0] - normalized_patches(squares[1])).square().mean())
    # Channels lie innermost in one and outermost in the other, but the mean is the same.
    assert found.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)
